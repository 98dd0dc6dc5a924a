"""Linear registration by mutual information: a start that survives large rotations, then a pyramid in millimetres."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import Cancelled, InputError
from ..parallel import in_parallel
from ..progress import Progress
from ..study import Image
from .pyramid import LEVELS_MM, Pyramid
from .resampling import matrix_of, transform_of
from .similarity import MutualInformation

RIM_MM = 10.0
"""Samples reach this far outside the foreground, so that its outline counts."""
ALIGNED_MM = 0.7
"""A search that moves the head by less than this found the identity."""
_SAMPLES = {8.0: 2500, 4.0: 8_000, 2.0: 12_000}
"""Points, inside the foreground and its rim, at which the metric is taken. Four to ten times as many moved no result of
benchmarks/registration.py by more than 0.1 mm."""
UNRELATED_NATS = 0.1
"""Sequences of one head reach 0.5 to 1.2; an image against noise stays below 0.05."""
_ANGLES = (-40.0, -20.0, 0.0, 20.0, 40.0)
_REFINED = 4
_SEED = 20
# Threads add their sums in whatever order they end: with one, results are equal to the last bit in every run.
_WORK_UNITS = 1


@dataclass(frozen=True, eq=False)
class Registration:
    """What a registration found.

    Attributes:
        transform: linear, from physical points (LPS mm) of the fixed image to those of the moving image: what
            ``SimpleITK.Resample(moving, fixed, transform)`` takes.
        metric: Mattes mutual information at the last level, nats, higher is better.
        error_estimate_mm: mean distance over the head between this result and the one found with the roles of the
            images exchanged and other samples, from a start 4 mm away. Precision, hence a lower bound of the error.
        seconds: wall-clock time.
        start: which kind of start won: "header", "centres" or "given".
        moved_mm: mean displacement of the head against the headers.
    """

    transform: sitk.AffineTransform
    metric: float
    error_estimate_mm: float
    seconds: float
    start: str = "given"
    moved_mm: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4) matrix of the transform."""
        return matrix_of(self.transform)


def register(
    moving: Image,
    fixed: Image,
    kind: str = "rigid",
    moving_mask: np.ndarray | None = None,
    fixed_mask: np.ndarray | None = None,
    initial: sitk.Transform | None = None,
    progress: Progress | None = None,
) -> Registration:
    """Find the linear transform that lays ``moving`` over ``fixed``.

    Args:
        moving, fixed: images of one subject, any geometry and contrast.
        kind: "rigid" or "affine".
        moving_mask, fixed_mask: bool (K, J, I) on the grid of the image, where there is something to align; None takes
            the foreground.
        initial: fixed points to moving points, refined without a search for a start; None searches.
        progress: reports and cancels.

    Raises:
        InputError: the images do not overlap in space, or show nothing in common.
        Cancelled: the user asked to stop.
    """
    if kind not in ("rigid", "affine"):
        raise ValueError(f"kind is 'rigid' or 'affine', not {kind!r}")
    require_overlap(moving, fixed)
    return lay_over(Pyramid(moving, moving_mask), Pyramid(fixed, fixed_mask), kind, initial, progress)


def lay_over(
    m: Pyramid,
    f: Pyramid,
    kind: str = "rigid",
    initial: sitk.Transform | None = None,
    progress: Progress | None = None,
) -> Registration:
    """:func:`register` of the pyramids of a moving and a fixed image."""
    progress = progress or Progress()
    started = time.perf_counter()
    head = f.points(8.0)
    if initial is None:
        matrix, start = _search(f, m, progress.part(0.0, 0.4))
        levels = LEVELS_MM[1:]
    else:
        matrix, start, levels = matrix_of(initial), "given", LEVELS_MM
    metric = 0.0
    for number, mm in enumerate(levels):
        part = progress.part(0.4 + 0.4 * number / len(levels), 0.4 + 0.4 * (number + 1) / len(levels))
        matrix, metric = optimise(f, m, matrix, "rigid" if mm > 4.0 else kind, mm, part)
    if metric < UNRELATED_NATS:
        raise _nothing_in_common(m, f)
    error = _precision(f, m, matrix, kind, head, progress.part(0.8, 1.0))
    progress("register", 1.0, f"{m.name} lies on {f.name}")
    return Registration(
        transform_of(matrix),
        metric,
        error,
        time.perf_counter() - started,
        start,
        displacement(matrix, np.eye(4), head),
    )


@dataclass(frozen=True)
class Alignment:
    """Whether two images are aligned as their headers say.

    Attributes:
        aligned: the headers' pose is optimal within what can be resolved, and the images have something in common
            there.
        moved_mm: mean distance over the head that a search from the headers' pose moved.
        metric: mutual information at its end, nats.
    """

    aligned: bool
    moved_mm: float
    metric: float


def search_from_identity(m: Pyramid, f: Pyramid, progress: Progress | None = None) -> Alignment:
    """Check cheaply whether two images need registration: does a local search leave the headers' pose?

    Args:
        m, f: the moving and the fixed image.
        progress: reports and cancels.
    """
    matrix, metric, moved, head = np.eye(4), 0.0, 0.0, f.points(8.0)
    for number, mm in enumerate(LEVELS_MM[1:]):
        part = (progress or Progress()).part(0.5 * number, 0.5 * (number + 1))
        matrix, metric = optimise(f, m, matrix, "rigid", mm, part, step_mm=1.0)
        moved = displacement(matrix, np.eye(4), head)
        if moved < ALIGNED_MM / 2:
            break
    # Where only black background lies on the head, as after a lost origin, nothing leads the search away either.
    return Alignment(moved < ALIGNED_MM and metric >= UNRELATED_NATS, moved, metric)


def _nothing_in_common(moving: Pyramid, fixed: Pyramid) -> InputError:
    return InputError(
        f"{moving.name} cannot be laid over {fixed.name}: they show no common content; check that both show the same "
        "subject and part of the body, or leave one out."
    )


def require_overlap(moving: Image, fixed: Image) -> None:
    """Refuse images whose volumes do not meet in space.

    Raises:
        InputError: they do not.
    """
    gap = overlap_gap(moving, fixed)
    if gap > 0:
        names = [image.sequence or image.source or "an image" for image in (moving, fixed)]
        raise InputError(
            f"{names[0]} and {names[1]} do not overlap in space (they are {gap:.0f} mm apart); check that they show "
            "the same subject and the same part of the body, or leave one out."
        )


def overlap_gap(moving: Image, fixed: Image) -> float:
    """By how many mm two images miss each other in space, 0 where they meet."""
    gap = 0.0
    for axes in (fixed.grid.direction, moving.grid.direction):
        a, b = (image.grid.corners() @ axes for image in (fixed, moving))
        apart = np.maximum(a.min(axis=0), b.min(axis=0)) - np.minimum(a.max(axis=0), b.max(axis=0))
        gap = max(gap, float(apart.max()))
    return gap


def displacement(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> float:
    """Mean distance in mm between where two (4, 4) matrices put points (N, 3)."""
    difference = points @ (a - b)[:3, :3].T + (a - b)[:3, 3]
    return float(np.linalg.norm(difference, axis=1).mean())


def optimise(
    fixed: Pyramid,
    moving: Pyramid,
    matrix: np.ndarray,
    kind: str,
    mm: float,
    progress: Progress,
    seed: int = _SEED,
    rim_mm: float = RIM_MM,
    step_mm: float | None = None,
) -> tuple[np.ndarray, float]:
    """Refine a pose at one level of the pyramid.

    Args:
        fixed, moving: what to lay over each other.
        matrix: (4, 4) fixed points to moving points, mm.
        kind: "rigid", "similarity" or "affine".
        mm: the level, one of :data:`LEVELS_MM`.
        rim_mm: how far outside the fixed foreground samples are taken.
        step_mm: the first step; None takes what suits the level and kind.

    Returns:
        The pose and its mutual information in nats.
    """
    transform = _parametrised(matrix, kind, fixed.centre)
    # Steps are taken in parameters: half a voxel of shear is far too much for the matrix of an affine transform.
    step_mm = step_mm or mm / (8.0 if kind == "affine" else 2.0)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(_WORK_UNITS)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    mask = fixed.mask_level(mm, dilate_mm=rim_mm)
    inside = max(int(np.count_nonzero(sitk.GetArrayViewFromImage(mask))), 1)
    method.SetMetricSamplingPercentage(min(1.0, _SAMPLES[mm] / inside), seed)
    method.SetMetricFixedMask(mask)
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, mm / 200, 100, 0.6, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, True)
    stopped: list[Cancelled] = []

    def watch() -> None:
        try:
            progress("register", method.GetOptimizerIteration() / 100, f"{moving.name} to {fixed.name} at {mm:g} mm")
        except Cancelled as error:
            stopped.append(error)
            method.StopRegistration()  # Abort() would go on to the end of the level: half a second at 2 mm

    method.AddCommand(sitk.sitkIterationEvent, watch)
    try:
        method.Execute(fixed.level(mm), moving.level(mm))
    except RuntimeError as error:
        if stopped:
            raise stopped[0] from error
        raise _nothing_in_common(moving, fixed) from error
    finally:
        # The method holds the callback, and the callback the method: left alone, a run would leave 140 MB behind.
        method.RemoveAllCommands()
    if stopped:
        raise stopped[0]
    return matrix_of(transform), -method.GetMetricValue()


_KINDS = {
    "rigid": lambda: sitk.Euler3DTransform(),
    "similarity": lambda: sitk.Similarity3DTransform(),
    "affine": lambda: sitk.AffineTransform(3),
}


def _parametrised(matrix: np.ndarray, kind: str, centre: np.ndarray) -> sitk.Transform:
    """A transform of the wanted kind nearest to a matrix, turning about ``centre``."""
    transform, linear = _KINDS[kind](), matrix[:3, :3]
    if kind != "affine":
        scale = np.cbrt(np.linalg.det(linear)) if kind == "similarity" else 1.0
        linear = nearest_rotation(linear) * scale
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    return transform


def nearest_rotation(linear: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) nearest to a linear map with positive determinant."""
    u, _, vt = np.linalg.svd(linear)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def rotation_about(axes_deg: tuple[float, float, float], centre: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(4, 4): turn by Euler angles (x, y, z in degrees) about ``centre`` and bring it to ``target``."""
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*(float(np.deg2rad(v)) for v in axes_deg))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(euler.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = target - matrix[:3, :3] @ centre
    return matrix


def _search(fixed: Pyramid, moving: Pyramid, progress: Progress) -> tuple[np.ndarray, str]:
    """The best pose at 8 mm: the headers' and the centres of mass, each turned by up to 40 degrees every way."""
    compare = MutualInformation(fixed.level(8.0), moving.level(8.0), fixed.mask_level(8.0, dilate_mm=RIM_MM))
    angles = [(x, y, z) for x in _ANGLES for y in _ANGLES for z in _ANGLES]
    targets = {"header": fixed.centre, "centres": moving.centre}
    candidates = []
    for number, turn in enumerate(angles):
        progress("register", 0.5 * number / len(angles), f"a start for {moving.name}")
        for start, target in targets.items():
            matrix = rotation_about(turn, fixed.centre, target)
            candidates.append((compare.score(matrix), start, matrix))
    # The headers as they are always take part: they are right far more often than not.
    upright = [c for c in candidates if np.array_equal(c[2], np.eye(4))] or [
        (compare.score(np.eye(4)), "header", np.eye(4))
    ]
    candidates.sort(key=lambda c: -c[0])
    best: tuple[float, str, np.ndarray] | None = None
    chosen = upright + candidates[:_REFINED]

    def refine(candidate: tuple[float, str, np.ndarray], progress: Progress) -> np.ndarray:
        return optimise(fixed, moving, candidate[2], "rigid", 8.0, progress)[0]

    for (_, start, _), refined in zip(chosen, in_parallel(refine, chosen, progress.part(0.5, 1.0)), strict=True):
        score = compare.score(refined)
        if best is None or score > best[0] * 1.01:
            best = (score, start, refined)
    return best[2], best[1]


def _precision(
    fixed: Pyramid, moving: Pyramid, matrix: np.ndarray, kind: str, head: np.ndarray, progress: Progress
) -> float:
    """Disagreement in mm with the registration the other way round (see :class:`Registration`)."""
    nudge = rotation_about((1.5, -1.5, 1.5), moving.centre, moving.centre + 2.0)
    back = np.linalg.inv(matrix) @ nudge
    for number, mm in enumerate(LEVELS_MM[1:]):
        part = progress.part(0.5 * number, 0.5 * (number + 1))
        back, _ = optimise(moving, fixed, back, kind, mm, part, seed=_SEED + 1)
    return displacement(np.linalg.inv(back), matrix, head)
