"""Finding the mask of a study, and how the head lies in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..progress import Progress
from ..study import Image, Study
from .config import PreprocessingConfig
from .foregrounds import Foregrounds
from .memory import Memory, content_key
from .pose import AtlasPose, align_atlas
from .prepared import Step, home_of
from .resampling import resample

UPRIGHT_DEG = 4.0
"""A brain-extracted study turned by less than this against the atlas is canonical axial already."""
_SMALLEST_ML = 1.0

BrainFinder = Callable[[Image], np.ndarray | None]
"""A whole head -> its brain, bool (K, J, I); None where it does not find one."""


@dataclass(frozen=True, eq=False)
class FoundMask:
    """Where the part lies that counts.

    Attributes:
        mask: bool (K, J, I).
        sequence: in whose space it lies.
        turn: (3, 3) axes of the head there; None where the bundle does not ask for them.
        steps: for the record.
        given: whether it came with the study.
    """

    mask: Image
    sequence: str
    turn: np.ndarray | None
    steps: tuple[Step, ...]
    given: bool = False


class MaskSearch:
    """Looks for the mask that ``config.mask`` asks for: a given one, skull-stripped input, or a brain that is found.

    Args:
        study: one subject.
        config: "mask", "pose" and "own_slices" count.
        reference: the sequence that is asked first.
        foregrounds: of the study's sequences.
        memory: of earlier runs.
        find_brain: for whole heads; None and where it has no answer: the surface of :mod:`.surface`.
    """

    def __init__(
        self,
        study: Study,
        config: PreprocessingConfig,
        reference: str,
        foregrounds: Foregrounds,
        memory: Memory,
        find_brain: BrainFinder | None,
    ) -> None:
        self.study, self.config, self.reference = study, config, reference
        self.foregrounds, self.memory, self.find_brain = foregrounds, memory, find_brain
        self._given = {home_of(m, study, reference) if s == "" else s: m for s, m in study.masks.items()}

    def find(self, progress: Progress) -> FoundMask:
        """The mask, and the pose of the head where the bundle asks for it.

        Raises:
            InputError: there is none.
            Cancelled: the user asked to stop.
        """
        started = time.perf_counter()
        progress("mask", 0.0, "looking for the brain")
        sequence, mask, how = self._known()
        image, steps = self.study[sequence], []
        needs_brain = mask is None and self.config.mask == "auto"
        found = self._brain(image) if needs_brain else None
        turn = None
        if needs_brain or self.config.pose == "atlas":
            progress("mask", 0.0, "the pose of the head")
            pose = self._pose(image, found if mask is None else _on_grid_of(mask, image), progress)
            if self.config.pose == "atlas":
                turn, step = _turned(pose, mask is not None, started)
                steps.append(step)
                started = time.perf_counter()
            if needs_brain:
                how = "found with the atlas" if found is None else "found by a network and the atlas"
                mask = image.with_array(pose.brain_mask(image))
        if mask is None and self.config.mask == "head":
            mask, how = image.with_array(self.foregrounds.of(sequence)), "foreground"
        elif mask is None:
            mask, how = image.with_array(np.ones(image.array.shape, dtype=bool)), "everything"
        volume = float(mask.array.sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000)
        if volume < _SMALLEST_ML:
            raise InputError(
                f"No brain was found in {sequence}; check the image, or give a brain mask with the study "
                "(brainmask.nii.gz)."
            )
        steps.append(Step.since(started, "mask", sequence, kind=how, volume_ml=round(volume, 1)))
        return FoundMask(mask, sequence, turn, tuple(steps), how == "given")

    def _known(self) -> tuple[str, Image | None, str]:
        """A mask that came with the study, or the foreground of skull-stripped input; the reference's first, but for
        those that show a part of the brain only."""
        order = [self.reference, *sorted(set(self.study.available) - {self.reference})]
        if self.config.mask != "none":
            for sequence in order:
                if sequence in self._given:
                    mask = self._given[sequence]
                    return sequence, mask.with_array(mask.array > 0), "given"
        if self.config.mask == "auto":
            partial = self.foregrounds.partial()
            for sequence in sorted(order, key=lambda name: name in partial):
                stripped = self.foregrounds.stripped[sequence]
                if stripped is not None:
                    return sequence, self.study[sequence].with_array(stripped), "skull-stripped input"
        return self.reference, None, ""

    def _brain(self, image: Image) -> np.ndarray | None:
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


def _on_grid_of(mask: Image, image: Image) -> np.ndarray:
    """A mask on the grid of the image in whose space it lies."""
    if mask.grid.same_as(image.grid):
        return mask.array
    return resample(mask.to_sitk(), image.grid, interpolation="nearest") > 0


def _turned(pose: AtlasPose, known_brain: bool, started: float) -> tuple[np.ndarray, Step]:
    """(3, 3) axes of the head in the space of the sequence that the atlas was laid over."""
    angle = round(pose.angle_deg, 2)
    upright = known_brain and angle < UPRIGHT_DEG
    reason = f"the brain is canonical axial already: it is turned by {angle:.1f} degrees only" if upright else None
    step = Step.since(started, "pose", skipped=reason, angle_deg=angle, metric=round(pose.metric, 4))
    return np.eye(3) if upright else pose.rotation, step
