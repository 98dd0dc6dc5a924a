"""Where the head lies against the MNI152 atlas: its pose, and the brain of whole heads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from ..parallel import in_parallel
from ..progress import Progress
from ..study import Grid, Image
from .atlas import STORED_MM, load_atlas
from .masks import near, stripped_mask
from .pyramid import Pyramid
from .registration import nearest_rotation, optimise, rotation_about
from .resampling import resample
from .similarity import MutualInformation
from .surface import brain_surface_mask

_TURNS = (-40.0, -20.0, 0.0, 20.0, 40.0)
_TURNS_Y = (-20.0, 0.0, 20.0)
_REFINED = 4
_STRETCH = (0.65, 1.35)
_TOLERANCE_MM = 3.0
_LEVELS_MM = (8.0, 4.0)
"""Of the pyramid, coarse to fine: those at which the atlas is laid over a head."""
_HEAD_SIZE = 0.95
"""MNI152 is larger than most brains. With a whole head the size is not searched: the atlas has no skull, and its
brain would swell until it filled the head."""
_TOP_TO_CENTRE_MM = (60.0, 75.0, 90.0)
"""From the top of the head down to the centre of the brain."""


@dataclass(frozen=True, eq=False)
class AtlasPose:
    """The atlas laid over an image.

    Attributes:
        matrix: (4, 4) affine, points of the atlas to points of the image, LPS mm.
        metric: mutual information of atlas tissues and intensities at the last level, nats.
        brain: bool (K, J, I) on the image's grid, the brain that the atlas was fitted to; None where none was found.
    """

    matrix: np.ndarray
    metric: float
    brain: np.ndarray | None = None

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
        """The brain of a whole head: the surface, as far as it stays near the atlas's brain; bool (K, J, I)."""
        share = self.brain_share(image.grid)
        if self.brain is None:
            return share > 0.5
        return near(self.brain, share > 0.5, image, _TOLERANCE_MM)


@lru_cache(maxsize=1)
def _brain_model() -> Pyramid:
    """Tissues as grey levels: mutual information does not care about their order, so this suits every contrast.

    The fixed foreground reaches 8 mm around the brain, so that its outline counts.
    """
    atlas = load_atlas()
    tissues = (atlas.csf + 2 * atlas.gm + 3 * atlas.wm).astype(np.float32)
    distance = _distance_mm(atlas.brain)
    return Pyramid(Image(tissues, atlas.grid.affine, source="the atlas"), distance <= 8.0)


@lru_cache(maxsize=1)
def _head_model() -> Pyramid:
    """The tissues, and around them what a head has: CSF, dark skull, scalp and air, each as a grey level of its own.

    At the skull base, where no such shells exist, the foreground ends just outside the brain.
    """
    atlas, pad = load_atlas(), 12
    tissues = np.pad(atlas.csf + 2 * atlas.gm + 3 * atlas.wm, pad).astype(np.float32)
    affine = atlas.grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, pad)
    distance = _distance_mm(np.pad(atlas.brain, pad))
    tissues[(distance > 0) & (distance <= 3)] = 1
    tissues[(distance > 8) & (distance <= 15)] = 4
    height = affine[2, 3] + affine[2, 2] * np.arange(tissues.shape[0])
    vault = (height > -20.0)[:, None, None]
    counts = (distance <= 4) | (vault & (distance <= 20))
    size = np.diag([_HEAD_SIZE] * 3 + [1.0])
    return Pyramid(Image(tissues, size @ affine, source="the atlas"), counts)


def _distance_mm(mask: np.ndarray) -> np.ndarray:
    """Distance to a mask of the 2 mm atlas in mm, negative inside."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=False)
    return sitk.GetArrayFromImage(distance) * STORED_MM


def brain_mask(image: Image, progress: Progress | None = None) -> np.ndarray:
    """The brain in an image without a mask of its own, skull-stripped or whole head: bool (K, J, I).

    Raises:
        InputError: the image shows nothing.
        Cancelled: the user asked to stop.
    """
    stripped = stripped_mask(image)
    return align_atlas(image, progress=progress).brain_mask(image) if stripped is None else stripped


def align_atlas(image: Image, mask: np.ndarray | None = None, progress: Progress | None = None) -> AtlasPose:
    """Lay the atlas over an image, whole head or brain.

    A whole head is first laid rigidly under a model of head and brain; from there a surface grows to the borders of
    the brain, and the atlas is fitted to what it encloses.

    Args:
        image: any contrast, turned by up to 40 degrees against the patient axes.
        mask: bool (K, J, I), the brain where it is known; None finds it.
        progress: reports and cancels.

    Raises:
        InputError: the image shows nothing.
        Cancelled: the user asked to stop.
    """
    progress = progress or Progress()
    if mask is not None:
        return _fit_brain(image, mask, progress)
    head = Pyramid(image, None, _LEVELS_MM)
    matrix = _search(_head_model(), head, "rigid", _centre() * _HEAD_SIZE, progress.part(0.0, 0.4))
    matrix, metric = optimise(_head_model(), head, matrix, "rigid", 4.0, progress.part(0.4, 0.5), rim_mm=0.0)
    rough = AtlasPose(matrix @ np.diag([_HEAD_SIZE] * 3 + [1.0]), metric)
    surface = brain_surface_mask(image, rough.brain_share(image.grid))
    if not surface.any():
        return rough
    fitted = _fit_brain(image, surface, progress.part(0.6, 1.0))
    return AtlasPose(fitted.matrix, fitted.metric, surface)


def _fit_brain(image: Image, mask: np.ndarray, progress: Progress) -> AtlasPose:
    """Lay the atlas over a known brain."""
    # What lies outside a known brain would only mislead.
    outside = float(np.percentile(image.array[mask], 0.1)) if mask.any() else 0.0
    brain = Pyramid(image.with_array(np.where(mask, image.array, outside).astype(np.float32)), mask, _LEVELS_MM)
    progress("mask", 0.0, "the pose of the head")
    matrix = _search(_brain_model(), brain, "similarity", _centre(), progress.part(0.0, 0.6))
    matrix, metric = optimise(_brain_model(), brain, matrix, "similarity", 4.0, progress.part(0.6, 0.8), rim_mm=0.0)
    affine, better = optimise(_brain_model(), brain, matrix, "affine", 4.0, progress.part(0.8, 1.0), rim_mm=0.0)
    stretch = np.linalg.svd(affine[:3, :3])[1]
    if better > metric and stretch.min() > _STRETCH[0] and stretch.max() < _STRETCH[1]:
        matrix, metric = affine, better
    return AtlasPose(matrix, metric, mask)


@lru_cache(maxsize=1)
def _centre() -> np.ndarray:
    """(3,) centre of the atlas's brain, LPS mm."""
    atlas = load_atlas()
    index = np.argwhere(atlas.brain).mean(axis=0)[::-1]
    return atlas.grid.affine[:3, :3] @ index + atlas.grid.affine[:3, 3]


def _search(fixed: Pyramid, moving: Pyramid, kind: str, centre: np.ndarray, progress: Progress) -> np.ndarray:
    """A start at 8 mm: turned every way; for heads ("rigid") at several depths below the top of the head."""
    compare = MutualInformation(fixed.level(8.0), moving.level(8.0), fixed.mask_level(8.0))
    points = moving.points(8.0)
    turns = [(x, y, z) for x in _TURNS for y in _TURNS_Y for z in _TURNS]
    candidates = []
    for number, turn in enumerate(turns):
        progress("mask", 0.7 * number / len(turns), "the pose of the head")
        rotation = rotation_about(turn, centre, centre)[:3, :3]
        for size, target in _placements(points, rotation, kind):
            matrix = np.eye(4)
            matrix[:3, :3] = rotation * size
            matrix[:3, 3] = target - matrix[:3, :3] @ centre
            candidates.append((compare.score(matrix), matrix))
    candidates.sort(key=lambda c: -c[0])

    def refine(matrix: np.ndarray, progress: Progress) -> np.ndarray:
        return optimise(fixed, moving, matrix, kind, 8.0, progress, rim_mm=0.0)[0]

    refined = in_parallel(refine, [matrix for _, matrix in candidates[:_REFINED]], progress.part(0.7, 1.0))
    return max(refined, key=compare.score)


def _placements(points: np.ndarray, rotation: np.ndarray, kind: str) -> list[tuple[float, np.ndarray]]:
    """Sizes and positions of the atlas's centre to try for one rotation, from the foreground points (N, 3)."""
    if kind == "similarity":
        return [(size, points.mean(axis=0)) for size in (0.9, 1.05)]
    along = points @ rotation
    top = np.percentile(along[:, 2], 99.5)
    vault = along[along[:, 2] > top - 90.0]
    middle = (vault.min(axis=0) + vault.max(axis=0)) / 2
    return [(1.0, rotation @ np.array([middle[0], middle[1], top - depth])) for depth in _TOP_TO_CENTRE_MM]
