"""The brain of a whole head as a surface that grows until it meets the dark rim of skull and CSF.

A reimplementation of the deformable model of Smith, "Fast robust automated brain extraction", Human Brain Mapping
2002, equations 1 to 13, on a resampled volume and with all vertices at once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from ..study import Grid, Image
from .resampling import resample

_WORKING_MM = 2.0
_ITERATIONS = 150
_THRESHOLD = 0.65
_SMALLEST_RADIUS_MM, _LARGEST_RADIUS_MM = 3.33, 10.0
_INNER_MM, _OUTER_MM = 20.0, 10.0
_CORE_MM, _REACH_MM, _START = 8.0, 6.0, 0.85


@lru_cache(maxsize=1)
def icosphere(level: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere: vertices (V, 3) and triangles (F, 3), an icosahedron divided ``level`` times."""
    golden = (1 + np.sqrt(5)) / 2
    ring = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    vertices = np.array([np.roll(v, shift) for shift in range(3) for v in ring], dtype=np.float64)
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    # The faces of an icosahedron are the triples of vertices at mutual edge distance.
    near = np.linalg.norm(vertices[:, None] - vertices[None], axis=2) < 1.1
    np.fill_diagonal(near, False)
    triples = np.array([(a, b, c) for a in range(12) for b in range(a) for c in range(b)])
    a, b, c = triples.T
    faces = triples[near[a, b] & near[b, c] & near[a, c]]
    outward = np.einsum("fi,fi->f", _normals(vertices, faces), vertices[faces].mean(axis=1))
    faces[outward < 0] = faces[outward < 0][:, ::-1]
    for _ in range(level):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        unique, inverse = np.unique(edges, axis=0, return_inverse=True)
        middle = vertices[unique].mean(axis=1)
        ab, bc, ca = inverse.reshape(3, -1) + len(vertices)
        vertices = np.concatenate([vertices, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        a, b, c = faces.T
        faces = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return vertices, faces


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    return np.cross(b - a, c - a)


def brain_surface_mask(image: Image, share: np.ndarray) -> np.ndarray:
    """The brain of a whole head of any contrast in which the skull is dark.

    Args:
        image: whole head.
        share: (K, J, I) in [0, 1], the brain of the atlas laid roughly over the image: where the surface starts, and
            from which it may not stray by more than a centimetre.

    Returns:
        bool (K, J, I).
    """
    grid = _isotropic(image)
    volume = resample(image.to_sitk(), grid)
    rough = resample(image.with_array(share.astype(np.float32)).to_sitk(), grid) > 0.5
    vertices = _grow(volume, rough)
    shell = _filled(vertices, volume.shape)
    mask = Image(shell.astype(np.uint8), grid.affine).to_sitk()
    return resample(mask, image.grid) > 0.5


def _isotropic(image: Image) -> Grid:
    """A 2 mm grid over the image, along its own axes."""
    size = np.maximum(np.round(np.array(image.grid.size) * image.spacing / _WORKING_MM).astype(int), 1)
    affine = np.eye(4)
    affine[:3, :3] = image.grid.direction * _WORKING_MM
    centre = image.affine[:3, :3] @ ((np.array(image.grid.size) - 1) / 2) + image.affine[:3, 3]
    affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2)
    return Grid(tuple(int(n) for n in size[::-1]), affine)


def _grow(volume: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) of the grown surface, in (k, j, i) voxels of ``volume``."""
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(
            sitk.GetImageFromArray(rough.astype(np.uint8)), squaredDistance=False, useImageSpacing=False
        )
    )
    core = volume[distance * _WORKING_MM < -_CORE_MM]
    low, high = np.percentile(volume, 2), np.percentile(core, 98)
    median = float(np.median(core))
    threshold = low + 0.1 * (high - low)
    # Beyond the reach everything counts as dark, so that nothing grows there.
    volume = np.where(distance * _WORKING_MM > _REACH_MM, low, volume)
    sphere, faces = icosphere()
    centre = np.argwhere(rough).mean(axis=0)
    vertices = centre + sphere * (_radii(rough, centre, sphere) * _START)[:, None]
    sums = _Neighbours(faces, len(sphere))
    inner = np.arange(0, _INNER_MM / _WORKING_MM + 0.5)
    outer = inner <= _OUTER_MM / _WORKING_MM
    e = (1 / _SMALLEST_RADIUS_MM + 1 / _LARGEST_RADIUS_MM) / 2
    f = 6 / (1 / _SMALLEST_RADIUS_MM - 1 / _LARGEST_RADIUS_MM)
    limit = np.array(volume.shape) - 1
    edge = 1.0
    for iteration in range(_ITERATIONS):
        normal = sums.of_faces(_normals(vertices, faces))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        if iteration % 50 == 0:
            edge = float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())
        toward = sums.mean(vertices) - vertices
        along = (toward * normal).sum(axis=1, keepdims=True)
        tangent = toward - along * normal
        curvature = 2 * np.abs(along) / (edge**2 * _WORKING_MM)
        smooth = (1 + np.tanh(f * (curvature - e))) / 2 * along * normal
        at = np.rint(vertices[:, None] - inner[None, :, None] * normal[:, None]).astype(np.int64)
        np.clip(at, 0, limit, out=at)
        profile = volume[at[..., 0], at[..., 1], at[..., 2]]
        darkest = np.maximum(low, np.minimum(median, profile.min(axis=1)))
        brightest = np.minimum(median, np.maximum(threshold, profile[:, outer].max(axis=1)))
        local = (brightest - low) * _THRESHOLD + low
        push = 2 * (darkest - local) / np.maximum(brightest - low, 1e-6)
        vertices = vertices + 0.5 * tangent + smooth + (0.05 * edge * push)[:, None] * normal
        np.clip(vertices, 0, limit, out=vertices)
    return vertices


def _radii(rough: np.ndarray, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(V,) distance in voxels from ``centre`` to the border of a mask in each direction."""
    steps = np.arange(1.0, max(rough.shape))
    at = np.rint(centre + directions[:, None] * steps[None, :, None]).astype(int)
    inside = ((at >= 0) & (at < rough.shape)).all(axis=2)
    np.clip(at, 0, np.array(rough.shape) - 1, out=at)
    seen = rough[at[..., 0], at[..., 1], at[..., 2]] & inside
    return np.where(seen, steps, 1.0).max(axis=1)


class _Neighbours:
    """Sums over the neighbours of each vertex as one gather each: icosphere vertices have 5 or 6 neighbours."""

    def __init__(self, faces: np.ndarray, count: int) -> None:
        self.faces, self.count = _padded(np.repeat(np.arange(len(faces)), 3), faces.ravel(), count)
        pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        self.vertices, self.degree = _padded(pairs[:, 1], pairs[:, 0], count)

    def of_faces(self, values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros((1, 3))])[self.faces].sum(axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.zeros((1, 3))])[self.vertices].sum(axis=1) / self.degree[:, None]


def _padded(items: np.ndarray, owners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The items of each owner as a (count, 6) table filled up with -1, and how many there are."""
    order = np.argsort(owners, kind="stable")
    items, owners = items[order], owners[order]
    number = np.bincount(owners, minlength=count)
    place = np.arange(len(owners)) - np.repeat(np.cumsum(number) - number, number)
    table = np.full((count, number.max()), -1)
    table[owners, place] = items
    return table, number


def _filled(vertices: np.ndarray, shape: tuple[int, int, int], steps: int = 16) -> np.ndarray:
    """The inside of a closed surface: bool of ``shape``."""
    _, faces = icosphere()
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    shell = np.zeros(tuple(n + 2 for n in shape), dtype=np.uint8)
    for u in range(steps + 1):
        for v in range(steps + 1 - u):
            points = (a * u + b * v + c * (steps - u - v)) / steps
            at = np.rint(points).astype(int) + 1
            shell[tuple(at.T)] = 1
    filled = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(shell)))
    return filled[1:-1, 1:-1, 1:-1] > 0
