"""Digital abdomens in axial slices: dual-echo T1, T2 SPIR, contrast phases and CT of one person.

MR sequences of different breath-holds do not lie over each other (both echoes of T1-DUAL come from one); the defaults
are set such that copying the T1 masks to T2SPIR scores about 0.71 joint Dice, as in CHAOS (method-spec 2f, Table I).
CT has a field of view of its own and intensities in Hounsfield units; for unpaired use, take persons with other seeds
and leave sequences out with ``missing``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..study import Grid, Image, Study
from .body_signal import ABDOMINAL, draw_body_protocol, draw_tissues
from .heart import checked_stack
from .phantom import Phantom
from .randomness import Range, draw, stream
from .stack import available, averaged, class_labels, scan_stack, stack_points
from .trunk import KIDNEY, Lesion, Trunk

ABDOMEN_CLASSES = ("background", "liver", "right kidney", "left kidney", "spleen")
"""Label values of abdomens, in the order of CHAOS. Lesions and vessels of the liver belong to the liver."""

_MEMBERS = {
    1: ("liver", "lesion", "cyst", "liver vein"),
    2: tuple(f"right {part}" for part in KIDNEY),
    3: tuple(f"left {part}" for part in KIDNEY),
    4: ("spleen",),
}
_BREATH_HOLDS = {"T1in": 0, "T1out": 0, "T2SPIR": 1, "T1": 2, "T1arterial": 3, "T1portal": 4, "T1delayed": 5, "CT": 6}
"""Sequences with one number are acquired in one breath-hold."""
_SAMPLES = 2


@dataclass(frozen=True)
class AbdomenPhantomConfig:
    """What digital abdomens may look like. A :data:`Range` is a number, or (low, high) to draw from.

    Attributes:
        size: pixels (i, j) of a slice.
        spacing: (i, j, k) of MR in mm; k is the distance of slices, which touch.
        slices: from below the kidneys to the dome of the liver.
        sequences: which to simulate, among T1in, T1out, T2SPIR, T1, T1arterial, T1portal, T1delayed and CT; the first
            available one is the reference.
        missing: sequences to leave out, or the probability of each one being missing (one always stays).
        breathing_mm: how much lower the diaphragm is in another breath-hold.
        breathing_slice_mm: standard deviation of that from slice to slice, in T2SPIR, which takes many heart beats.
        shift_mm: standard deviation of the in-plane shift of another breath-hold, along each axis.
        ct_scale: size of CT pixels against those of MR.
        lesions: largest number of lesions (metastases, cysts) in the liver; 0 leaves it healthy.
        bias: standard deviation of the logarithm of the bias field of MR.
        noise: standard deviation of the noise of MR relative to liver.
        ct_noise: standard deviation of the noise of CT in HU.
        blur_mm: standard deviation of the in-plane point spread.
        contrast_jitter: standard deviation of unphysical changes (logarithm) of each tissue's signal in MR.
        texture: relative local variation of the signal.
    """

    size: int | tuple[int, int] = (192, 192)
    spacing: tuple[float, float, float] = (1.89, 1.89, 8.0)
    slices: int = 26
    sequences: tuple[str, ...] = ("T1in", "T1out", "T2SPIR")
    missing: float | tuple[str, ...] = ()
    breathing_mm: Range = (6.0, 18.0)
    breathing_slice_mm: float = 2.5
    shift_mm: float = 2.0
    ct_scale: Range = (0.92, 1.1)
    lesions: int = 0
    bias: Range = (0.1, 0.3)
    noise: Range = (0.02, 0.08)
    ct_noise: Range = (7.0, 18.0)
    blur_mm: Range = (0.6, 1.1)
    contrast_jitter: Range = (0.0, 0.08)
    texture: Range = (0.01, 0.04)

    def __post_init__(self) -> None:
        for name, value in checked_stack(self, ABDOMINAL, "Abdomen").items():
            object.__setattr__(self, name, value)


def abdomen_phantom(seed: int, config: AbdomenPhantomConfig | None = None, **changes: Any) -> Phantom:
    """A digital abdomen. The same seed and configuration give the same voxels.

    Anatomy, motion and each sequence's scanner have random streams of their own: one person can be had with other
    sequences, noise or voxel size.

    Args:
        changes: fields of :class:`AbdomenPhantomConfig` to replace.

    Raises:
        InputError: an impossible configuration.
    """
    if seed < 0:
        raise InputError(f"A phantom cannot have the seed {seed}; give 0 or a positive whole number.")
    config = replace(config or AbdomenPhantomConfig(), **changes)
    trunk = replace(Trunk.draw(stream(seed, 0)), lesions=_draw_lesions(stream(seed, 1), config.lesions))
    properties = draw_tissues(stream(seed, 2))

    images, truths, labels, records = {}, {}, {}, {}
    shown: dict[int, dict[str, np.ndarray]] = {}
    for sequence in available(stream(seed, 4), config.sequences, config.missing):
        grid = _grid(seed, config, sequence)
        motion = _motion(seed, sequence, config)
        ct = sequence == "CT"
        breath = _BREATH_HOLDS[sequence]
        if breath not in shown:
            shown[breath] = _tissues(trunk, grid, motion)
        truth = shown[breath]
        rng = stream(seed, 10 + ABDOMINAL.index(sequence))
        protocol = draw_body_protocol(rng, sequence, properties)
        drawn = {
            "noise": draw(rng, config.ct_noise) / 300 if ct else draw(rng, config.noise),
            "bias": draw(rng, config.bias),
            "blur_mm": draw(rng, config.blur_mm),
            "jitter": draw(rng, config.contrast_jitter),
            "texture": draw(rng, config.texture),
            "gain": float(np.exp(rng.uniform(np.log(80), np.log(1500)))),
        }
        array = scan_stack(rng, truth, grid, sequence, protocol, properties, drawn, bright="liver")
        images[sequence] = Image(array, grid.affine, sequence, f"abdomen phantom {sequence}")
        truths[sequence] = truth
        labels[sequence] = class_labels(truth, _MEMBERS)
        records[sequence] = protocol | drawn | {"motion": motion}
    first = next(iter(images))
    study = Study(
        images,
        name=f"abdomen-{seed}",
        labels=Image(labels[first], images[first].affine),
        label_names={i: name for i, name in enumerate(ABDOMEN_CLASSES) if i},
        sequence_labels={s: Image(array, images[s].affine, s) for s, array in labels.items()},
    )
    parameters = {
        "config": asdict(config),
        "trunk": trunk.shape,
        "lesions": [asdict(lesion) for lesion in trunk.lesions],
        "protocols": records,
        "labels": "labels-<SEQUENCE>.nii.gz hold for one sequence each; labels.nii.gz are those of the first",
    }
    identity = {s: sitk.Transform(3, sitk.sitkIdentity) for s in images}
    grid = images[first].grid
    return Phantom("abdomen", seed, study, truths[first], labels[first], grid, identity, parameters, labels)


def _grid(seed: int, config: AbdomenPhantomConfig, sequence: str) -> Grid:
    """Axial slices from the kidneys' lower poles to the dome; CT has pixels and a middle of its own."""
    ct = sequence == "CT"
    rng = stream(seed, 5 if ct else 3)
    spacing = np.array(config.spacing)
    if ct:
        spacing[:2] *= draw(rng, config.ct_scale)
    shape = (config.slices, config.size[1], config.size[0])
    middle = np.array([rng.normal(0, 4), rng.normal(0, 4), -84 + rng.normal(0, 5)])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = middle - spacing * (np.array(shape[::-1]) - 1) / 2
    return Grid(shape, affine)


def _motion(seed: int, sequence: str, config: AbdomenPhantomConfig) -> dict[str, Any]:
    """How much lower the diaphragm is in each slice, and the in-plane shift, in mm."""
    rng = stream(seed, 30 + _BREATH_HOLDS[sequence])
    moves = _BREATH_HOLDS[sequence] > 0
    whole = float(moves) * draw(rng, config.breathing_mm) * (1.0 if rng.random() < 0.5 else -1.0)
    slices = rng.normal(0, config.breathing_slice_mm, config.slices) * float(sequence == "T2SPIR")
    shift = rng.normal(0, config.shift_mm, 2) * float(moves)
    return {"breathing_mm": (whole + slices).tolist(), "shift_mm": shift.tolist()}


def _draw_lesions(rng: np.random.Generator, most: int) -> tuple[Lesion, ...]:
    """Up to ``most`` lesions of the liver, about as many as they are small."""
    result = []
    for _ in range(int(rng.integers(0, most + 1)) if most else 0):
        x, y, z = (float(rng.uniform(low, high)) for low, high in ((-120, -20), (-50, 45), (-110, -15)))
        radius = float(np.clip(np.exp(rng.normal(np.log(9), 0.5)), 4, 28))
        result.append(Lesion("cyst" if rng.random() < 0.3 else "lesion", (x, y, z), radius))
    return tuple(result)


def _tissues(trunk: Trunk, grid: Grid, motion: dict[str, Any]) -> dict[str, np.ndarray]:
    """Fractions (K, J, I) of what a sequence shows."""
    points = stack_points(grid, _SAMPLES)
    points[:2] -= np.array(motion["shift_mm"], np.float32).reshape(2, 1, 1, 1, 1)
    down = np.array(motion["breathing_mm"], np.float32)[:, None, None, None]
    return averaged(trunk.paint(points, down, heart=True).fractions())
