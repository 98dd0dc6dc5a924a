"""Where the head lies against the MNI152 atlas: its pose, and the brain of whole heads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from ..progress import Progress
from ..study import Grid, Image
from .atlas import load_atlas
from .masks import foreground_like_brain
from .pyramid import Pyramid
from .registration import nearest_rotation, optimise, rotation_about
from .resampling import resample
from .similarity import MutualInformation

_RIM_MM = 6.0
"""Around the brain, samples reach into CSF and skull, so that the outline counts but the scalp does not."""
_TURNS = (-40.0, -20.0, 0.0, 20.0, 40.0)
_SIZES = (0.9, 1.05)
_HEIGHTS_MM = (-20.0, 0.0, 20.0, 40.0)
_REFINED = 3


@dataclass(frozen=True, eq=False)
class AtlasPose:
    """The atlas laid over an image.

    Attributes:
        matrix: (4, 4) affine, points of the atlas to points of the image, LPS mm.
        metric: mutual information of atlas tissues and intensities at the last level, nats.
    """

    matrix: np.ndarray
    metric: float

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) rotation whose columns are the head's left, posterior and superior axes in the image's space."""
        return nearest_rotation(self.matrix[:3, :3])

    @property
    def angle_deg(self) -> float:
        """How far the head is turned against the axes of space, in degrees."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1) / 2, -1, 1))))

    def brain_share(self, grid: Grid) -> np.ndarray:
        """The atlas's brain on a grid in the image's space: float32 (K, J, I) in [0, 1]."""
        atlas = load_atlas()
        brain = Image(atlas.brain.astype(np.float32), atlas.grid.affine).to_sitk()
        return resample(brain, grid, np.linalg.inv(self.matrix))

    def brain_mask(self, image: Image) -> np.ndarray:
        """The brain of a whole head: the atlas's, corrected by the intensities around its border; bool (K, J, I)."""
        return foreground_like_brain(image, self.brain_share(image.grid))


@lru_cache(maxsize=1)
def _atlas_pyramid() -> Pyramid:
    """Tissues as grey levels: mutual information does not care about their order, so this suits every contrast."""
    atlas = load_atlas()
    tissues = atlas.csf + 2 * atlas.gm + 3 * atlas.wm
    return Pyramid(Image(tissues.astype(np.float32), atlas.grid.affine, source="the atlas"), atlas.brain)


def align_atlas(image: Image, mask: np.ndarray | None = None, progress: Progress | None = None) -> AtlasPose:
    """Lay the atlas over an image, whole head or brain.

    Args:
        image: any contrast, turned by up to 40 degrees against the patient axes.
        mask: bool (K, J, I), the brain where it is known; None takes the whole head.
        progress: reports and cancels.

    Raises:
        InputError: the image shows nothing.
        Cancelled: the user asked to stop.
    """
    progress = progress or Progress()
    fixed = _atlas_pyramid()
    if mask is not None:
        # What lies outside a known brain would only mislead.
        outside = float(np.percentile(image.array[mask], 0.1)) if mask.any() else 0.0
        moving = Pyramid(image.with_array(np.where(mask, image.array, outside).astype(np.float32)), mask)
    else:
        moving = Pyramid(image, None)
    matrix = _search(fixed, moving, mask is not None, progress.part(0.0, 0.5))
    metric = 0.0
    for number, mm in enumerate((8.0, 4.0)):
        part = progress.part(0.5 + 0.25 * number, 0.75 + 0.25 * number)
        matrix, metric = optimise(fixed, moving, matrix, "affine", mm, part, rim_mm=_RIM_MM)
    return AtlasPose(matrix, metric)


def _search(fixed: Pyramid, moving: Pyramid, is_brain: bool, progress: Progress) -> np.ndarray:
    """A rigid start, scaled: turned every way, and for whole heads at several heights above the head's centre."""
    small = moving.level(8.0)
    compare = MutualInformation(fixed.level(8.0), small, fixed.mask_level(8.0, dilate_mm=8.0))
    heights = (0.0,) if is_brain else _HEIGHTS_MM
    candidates = []
    turns = [(x, y, z) for x in _TURNS for y in _TURNS for z in _TURNS]
    for number, turn in enumerate(turns):
        progress("mask", 0.7 * number / len(turns), "the pose of the head")
        for height in heights:
            for size in _SIZES:
                matrix = rotation_about(turn, fixed.centre, np.zeros(3))
                matrix[:3, :3] *= size
                # Up along the head's own axis from the centre of what is seen.
                target = moving.centre + matrix[:3, 2] * height
                matrix[:3, 3] = target - matrix[:3, :3] @ fixed.centre
                candidates.append((compare.score(matrix), matrix))
    candidates.sort(key=lambda c: -c[0])
    best, best_score = candidates[0][1], -1.0
    for number, (_, matrix) in enumerate(candidates[:_REFINED]):
        part = progress.part(0.7 + 0.3 * number / _REFINED, 0.7 + 0.3 * (number + 1) / _REFINED)
        refined, _ = optimise(fixed, moving, matrix, "affine", 8.0, part, rim_mm=8.0)
        score = compare.score(refined)
        if score > best_score:
            best, best_score = refined, score
    return best
