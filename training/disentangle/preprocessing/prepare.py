"""From the sequences of a study, each in its own geometry, to normalised volumes on one working grid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from ..errors import InputError
from ..parallel import in_parallel
from ..progress import Progress
from ..study import Grid, Image, Study
from . import normalization
from .bias import bias_field
from .config import PreprocessingConfig
from .laying import Overlay
from .masks import head_mask, largest_filled, stripped_foreground
from .memory import Memory, content_key
from .planes import outline, plane_grid_of, turned_grid
from .pose import AtlasPose, align_atlas
from .prepared import PreparedStudy, Step, home_of
from .registration import nearest_rotation
from .resampling import canonical_axes, coverage, resample, resample_part, slice_axes, transform_of

PREFERRED = ("T1", "T1Gd", "FLAIR", "T2", "PD")
"""References in this order, between images of equal resolution."""
UPRIGHT_DEG = 4.0
"""A brain-extracted study turned by less than this against the atlas is canonical axial already."""
_SMALLEST_ML = 1.0

BrainFinder = Callable[[Image], np.ndarray | None]
"""A whole head -> its brain, bool (K, J, I); None where it does not find one."""


def prepare(
    study: Study,
    config: PreprocessingConfig | None = None,
    reference: str | None = None,
    progress: Progress | None = None,
    memory: Memory | None = None,
    find_brain: BrainFinder | None = None,
) -> PreparedStudy:
    """Register, mask, turn, crop, resample and normalise a study.

    Every sequence is resampled once, from its own geometry to the working grid, through the composed transform. The
    result does not depend on the order of the inputs.

    Args:
        study: one subject.
        config: what the bundle asks for; None takes the defaults.
        reference: the sequence that the others are registered to; None chooses.
        progress: reports and cancels.
        memory: what earlier runs found about the same images (registrations, poses, masks) is taken from it, and what
            this one finds is put there; None searches anew.
        find_brain: finds the brain in whole heads without a mask, bool (K, J, I), or None where it cannot; this room
            knows no networks. Without it, or without an answer, the surface of :mod:`.surface` is taken.

    Raises:
        InputError: no overlap, no brain, a constant image, an unknown reference.
        Cancelled: the user asked to stop.
    """
    memory = Memory() if memory is None else memory
    config, progress = config or PreprocessingConfig(), progress or Progress()
    return _Preparation(study, config, reference, progress, memory, find_brain).run()


def choose_reference(study: Study) -> str:
    """The sequence with the finest worst axis; between equals one with a mask of its own, then :data:`PREFERRED`."""

    def key(sequence: str) -> tuple:
        image = study[sequence]
        rank = PREFERRED.index(sequence) if sequence in PREFERRED else len(PREFERRED)
        return round(float(image.spacing.max()) * 2), sequence not in study.masks, rank, sequence

    return min(study.available, key=key)


class _Preparation:
    """The steps of one :func:`prepare`, sharing the study and the record."""

    def __init__(
        self,
        study: Study,
        config: PreprocessingConfig,
        reference: str | None,
        progress: Progress,
        memory: Memory,
        find_brain: BrainFinder | None,
    ) -> None:
        if reference is not None and reference not in study:
            raise InputError(f"The reference {reference} is not in the study; it has {', '.join(study.available)}.")
        self.study, self.config, self.progress, self.memory = study, config, progress, memory
        self.find_brain = find_brain
        self.reference = reference or choose_reference(study)
        self.steps: list[Step] = []
        self.warnings: list[str] = list(study.warnings)
        self.matrices: dict[str, np.ndarray] = {self.reference: np.eye(4)}
        self._foreground: dict[str, np.ndarray] = {}
        names = list(study.images)
        self._locks = {name: threading.Lock() for name in names}
        self.stripped = self._stripped(names)
        self.what = "the brain" if self.config.mask == "auto" else "the part"
        """What the mask covers, for messages."""
        self.given = {home_of(m, study, self.reference) if s == "" else s: m for s, m in study.masks.items()}

    def run(self) -> PreparedStudy:
        # Neither needs the other, and the search for the pose keeps one core busy only.
        _, (mask, space, turn) = in_parallel(
            lambda step, progress: step(progress), (self.register, self.find_mask), self.progress.part(0.0, 0.8)
        )
        stack = self.study[self.reference].grid
        if self.config.own_slices:
            axes = slice_axes(stack.direction, stack.spacing)
        elif turn is None:
            axes = canonical_axes(stack.direction)
        else:
            axes = nearest_rotation(np.linalg.inv(self.matrices[space])[:3, :3]) @ turn
        if self.config.own_slices and self.config.mask == "none":
            # As training has them, to the pixel, see datasets/stacks.py.
            grid = plane_grid_of(turned_grid(stack, axes), self.config.spacing[:2])
            share = np.ones(grid.shape, dtype=np.float32)
        else:
            grid, share = self.working_grid(axes, mask, self.matrices[space])
        on_grid = share >= 0.5
        known = {space: share} if mask.array is self.stripped[space] else {}
        raw, seen = self.resample(grid, on_grid, known, self.progress.part(0.8, 0.95))
        return self.normalize(grid, on_grid, raw, seen, self.progress.part(0.95, 1.0))

    def record(self, name: str, started: float, sequence: str = "", skipped: str | None = None, **parameters) -> None:
        self.steps.append(Step(name, sequence, parameters, round(time.perf_counter() - started, 3), skipped))

    def _stripped(self, names: list[str]) -> dict[str, np.ndarray | None]:
        """The brains of skull-stripped sequences, None of others: bool (K, J, I), one array where brains are equal."""
        # Stacks of slices are no brains, however black their background is.
        if self.config.own_slices:
            return dict.fromkeys(names)

        def look(sequence: str, progress: Progress) -> np.ndarray | None:
            progress("mask", 0.0, f"looking at {sequence}")
            return stripped_foreground(self.study[sequence])

        found = in_parallel(look, names, self.progress.part(0.0, 0.0))
        distinct: list[np.ndarray] = []
        for foreground in found:
            if foreground is not None and not any(np.array_equal(foreground, other) for other in distinct):
                distinct.append(foreground)
        filled = in_parallel(lambda foreground, progress: largest_filled(foreground), distinct)

        def brain(foreground: np.ndarray | None) -> np.ndarray | None:
            equal = (f for d, f in zip(distinct, filled, strict=True) if np.array_equal(d, foreground))
            return next(equal, None)

        return {name: brain(foreground) for name, foreground in zip(names, found, strict=True)}

    def register(self, progress: Progress) -> None:
        """Lay every other sequence over the reference."""
        others = sorted(set(self.study.available) - {self.reference})
        overlay = Overlay(self.study, self.reference, self.config, self.foreground, self.memory)
        found = in_parallel(overlay.lay, others, progress)
        self.matrices.update({sequence: laid.matrix for sequence, laid in zip(others, found, strict=True)})
        self.steps[:0] = [laid.step for laid in found]  # what is told of the mask comes behind, whichever ended first
        self.warnings += [laid.warning for laid in found if laid.warning]

    def foreground(self, sequence: str) -> np.ndarray:
        """What a sequence shows against background, made once: bool (K, J, I)."""
        with self._locks[sequence]:
            if sequence not in self._foreground:
                stripped = self.stripped[sequence]
                self._foreground[sequence] = head_mask(self.study[sequence]) if stripped is None else stripped
            return self._foreground[sequence]

    def find_mask(self, progress: Progress) -> tuple[Image, str, np.ndarray | None]:
        """The mask, the sequence in whose space it lies, and the axes of the head there (None: not asked for)."""
        started = time.perf_counter()
        progress("mask", 0.0, "looking for the brain")
        sequence, mask, how = self._given_mask()
        image = self.study[sequence]
        needs_brain = mask is None and self.config.mask == "auto"
        found = self._found(image) if needs_brain else None
        turn = None
        if needs_brain or self.config.pose == "atlas":
            pose = self._pose(image, found if mask is None else self._on_grid_of(mask, image), progress)
            if self.config.pose == "atlas":
                turn = self._turned(pose, mask is not None, started)
                started = time.perf_counter()
            if needs_brain:
                how = "found with the atlas" if found is None else "found by a network and the atlas"
                mask = image.with_array(pose.brain_mask(image))
        if mask is None and self.config.mask == "head":
            mask, how = image.with_array(self.foreground(sequence)), "foreground"
        elif mask is None:
            mask, how = image.with_array(np.ones(image.array.shape, dtype=bool)), "everything"
        volume = float(mask.array.sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000)
        if volume < _SMALLEST_ML:
            raise InputError(
                f"No brain was found in {sequence}; check the image, or give a brain mask with the study "
                "(brainmask.nii.gz)."
            )
        self.record("mask", started, sequence, kind=how, volume_ml=round(volume, 1))
        return mask, sequence, turn

    def _found(self, image: Image) -> np.ndarray | None:
        """The brain of a whole head by :attr:`find_brain`, or remembered; None where it has no answer."""
        if self.find_brain is None:
            return None
        key = content_key("brain", image)
        known = self.memory.recall(key)
        brain = self.find_brain(image) if known is None else known["brain"].astype(bool)
        if brain is not None and known is None:
            self.memory.remember(key, {"brain": brain})
        return brain

    def _pose(self, image: Image, mask: np.ndarray | None, progress: Progress) -> AtlasPose:
        """The atlas laid over an image, or remembered."""
        key = content_key("pose", image, mask)
        known = self.memory.recall(key)
        if known is not None:
            return AtlasPose(known["matrix"], float(known["metric"]), known.get("brain"))
        pose = align_atlas(image, mask, progress)
        self.memory.remember(key, {"matrix": pose.matrix, "metric": pose.metric, "brain": pose.brain})
        return pose

    @staticmethod
    def _on_grid_of(mask: Image, image: Image) -> np.ndarray:
        """A mask on the grid of the image in whose space it lies."""
        if mask.grid.same_as(image.grid):
            return mask.array
        return resample(mask.to_sitk(), image.grid, interpolation="nearest") > 0

    def _given_mask(self) -> tuple[str, Image | None, str]:
        """A mask that came with the study, or the foreground of skull-stripped input; the reference's first."""
        order = [self.reference, *sorted(set(self.study.available) - {self.reference})]
        if self.config.mask != "none":
            for sequence in order:
                if sequence in self.given:
                    mask = self.given[sequence]
                    return sequence, mask.with_array(mask.array > 0), "given"
        if self.config.mask == "auto":
            for sequence in order:
                if self.stripped[sequence] is not None:
                    return sequence, self.study[sequence].with_array(self.stripped[sequence]), "skull-stripped input"
        return self.reference, None, ""

    def _turned(self, pose: AtlasPose, known_brain: bool, started: float) -> np.ndarray:
        """(3, 3) axes of the head in the space of the sequence that the atlas was laid over."""
        angle = round(pose.angle_deg, 2)
        upright = known_brain and angle < UPRIGHT_DEG
        reason = f"the brain is canonical axial already: it is turned by {angle:.1f} degrees only" if upright else None
        self.record("pose", started, skipped=reason, angle_deg=angle, metric=round(pose.metric, 4))
        return np.eye(3) if upright else pose.rotation

    def working_grid(self, axes: np.ndarray, mask: Image, matrix: np.ndarray) -> tuple[Grid, np.ndarray]:
        """The grid around the mask along ``axes`` (3, 3 columns), and how much of each of its voxels the mask covers.

        Args:
            matrix: (4, 4) points of the reference to points of the mask's space.
        """
        spacing, margin = np.array(self.config.spacing), np.full(3, self.config.margin_mm)
        if self.config.own_slices:
            stack = self.study[self.reference].grid
            spacing[2], margin[2] = stack.spacing[np.abs(axes[:, 2] @ stack.direction).argmax()], 0.0
        index = np.argwhere(outline(mask.array))[:, ::-1]
        points = index @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        inverse = np.linalg.inv(matrix)
        along = (points @ inverse[:3, :3].T + inverse[:3, 3]) @ axes
        low, high = along.min(axis=0) - margin, along.max(axis=0) + margin
        # Where the extent is a whole number of voxels, rounding errors must not add one.
        size = np.ceil((high - low) / spacing - 1e-6).astype(int) + 1
        size[:2] = -(-size[:2] // self.config.size_multiple) * self.config.size_multiple
        origin = (low + high) / 2 - (size - 1) * spacing / 2
        # In step with the input's voxels: where spacing and axes agree, resampling then changes nothing.
        phase = (inverse[:3, :3] @ mask.affine[:3, 3] + inverse[:3, 3]) @ axes
        origin = phase + np.round((origin - phase) / spacing) * spacing
        affine = np.eye(4)
        affine[:3, :3] = axes * spacing
        affine[:3, 3] = axes @ origin
        grid = Grid(tuple(int(n) for n in size[::-1]), affine)
        share = resample_part(mask, grid, matrix, mask.array)
        if not (share >= 0.5).any():
            raise InputError("The brain is thinner than the working grid; check that the image shows a whole brain.")
        return grid, share

    def resample(
        self, grid: Grid, mask: np.ndarray, known: Mapping[str, np.ndarray], progress: Progress
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Intensities on the grid by sequence, and where each sequence has some inside the mask; ``known`` are shares
        as of :meth:`_shares`."""
        names = list(self.study.images)
        shares = self._shares(names, grid, known, progress.part(0.0, 0.4))

        def one(sequence: str, progress: Progress) -> tuple[np.ndarray, np.ndarray, float]:
            started = time.perf_counter()
            progress("resample", 0.0, sequence)
            image, matrix = self.study[sequence], self.matrices[sequence]
            inside = mask & coverage(image.grid, grid, matrix)
            if sequence not in shares:
                values = resample_part(image, grid, matrix)
            else:
                # Weighted by the brain: its rim must not blend into a background of 0 or, after a z-score, of -4.
                values = resample_part(image, grid, matrix, self.stripped[sequence])
                values /= np.maximum(shares[sequence], 0.05)
                inside &= shares[sequence] > 0.05
            return values, inside, time.perf_counter() - started

        raw, seen = {}, {}
        found = in_parallel(one, names, progress.part(0.4, 1.0))
        for sequence, (values, inside, seconds) in zip(names, found, strict=True):
            raw[sequence], seen[sequence] = values, inside
            covered = float(inside.sum() / mask.sum())
            if covered < 0.01:
                raise InputError(
                    f"{sequence} does not show {self.what} that {self.reference} shows; check that both are of the "
                    "same subject and part of the body, or leave one out."
                )
            if covered < 0.8:
                seen_of = f"{sequence} covers only {covered:.0%} of {self.what}"
                self.warnings.append(f"{seen_of}; the rest counts as missing.")
            self.steps.append(Step("resample", sequence, {"covered": round(covered, 4)}, round(seconds, 3)))
        return raw, seen

    def _shares(
        self, names: list[str], grid: Grid, known: Mapping[str, np.ndarray], progress: Progress
    ) -> dict[str, np.ndarray]:
        """Sequence -> how much of each voxel of the working grid is brain, of those that are skull-stripped; some are
        known."""
        stripped = [name for name in (*known, *names) if self.stripped[name] is not None]
        owners = {name: next(other for other in stripped if self._same_brain(other, name)) for name in stripped}
        distinct = [name for name in dict.fromkeys(owners.values()) if name not in known]

        def one(sequence: str, progress: Progress) -> np.ndarray:
            progress("resample", 0.0, sequence)
            brain = self.stripped[sequence]
            return resample_part(self.study[sequence].with_array(brain), grid, self.matrices[sequence], brain)

        found = {**known, **dict(zip(distinct, in_parallel(one, distinct, progress), strict=True))}
        return {name: found[owner] for name, owner in owners.items()}

    def _same_brain(self, a: str, b: str) -> bool:
        """Whether two skull-stripped sequences have one mask at one place."""
        return (
            self.study[a].grid.same_as(self.study[b].grid)
            and np.array_equal(self.matrices[a], self.matrices[b])
            and np.array_equal(self.stripped[a], self.stripped[b])
        )

    def normalize(
        self,
        grid: Grid,
        mask: np.ndarray,
        raw: dict[str, np.ndarray],
        seen: dict[str, np.ndarray],
        progress: Progress,
    ) -> PreparedStudy:
        """Divide by the bias field, normalise, and put everything together."""
        config = self.config
        images, scales, fields = {}, {}, {}
        for number, (sequence, array) in enumerate(raw.items()):
            started = time.perf_counter()
            progress("normalize", number / len(raw), sequence)
            if config.bias_field and sequence != "CT":
                spacing, whole = tuple(float(v) for v in grid.spacing), config.mask == "none"
                fields[sequence] = bias_field(array, seen[sequence], spacing, whole)
                array = array / fields[sequence]
                self.record("bias field", started, sequence, method="N4")
                started = time.perf_counter()
            offset, scale = normalization.measure(array, seen[sequence], config, sequence)
            normalised = normalization.apply(array, offset, scale, config.clip)
            images[sequence] = np.where(seen[sequence], normalised, np.float32(config.background))
            scales[sequence] = (offset, scale)
            # JSON-able: one number, or one for each slice.
            levels = {"offset": np.asarray(offset).squeeze().tolist(), "scale": np.asarray(scale).squeeze().tolist()}
            self.record("normalize", started, sequence, kind=config.normalization, **levels)
        prepared = PreparedStudy(
            study=self.study,
            config=config,
            reference=self.reference,
            grid=grid,
            images=images,
            mask=mask,
            labels=None,
            transforms={s: transform_of(self.matrices[s]) for s in self.study.available},
            normalization=scales,
            bias=fields,
            steps=self.steps,
            warnings=self.warnings,
        )
        if self.study.labels is not None:
            prepared.labels = prepared.to_grid(self.study.labels, "nearest").astype(np.int16)
        for sequence, labels in self.study.sequence_labels.items():
            if sequence in raw:
                own = prepared.to_grid(labels, "nearest", sequence)
                prepared.sequence_labels[sequence] = own.astype(np.int16)
        progress("normalize", 1.0, "the study is prepared")
        return prepared
