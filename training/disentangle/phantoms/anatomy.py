"""A digital subject's healthy anatomy: the atlas, deformed, with ventricles, sulci and vessels of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from ..preprocessing.atlas import load_atlas
from ..study import Grid
from .randomness import grid_noise, sigmoid, smooth_noise

FIELD_MM = 6.0
"""Grid of the deformation field."""
CENTRE = np.array([0.0, 18.0, 5.0])
"""LPS point about which heads are scaled and rotated."""
_MARGIN_MM = 24.0


@dataclass(frozen=True, eq=False)
class AtlasMaps:
    """What is read from the atlas at deformed positions; all float32 [k, j, i] on ``grid``.

    Attributes:
        grey, white: tissue fractions.
        depth: mm below the surface of the brain mask (negative outside).
        ventricle: signed distance to the ventricles in mm (negative inside).
        normal: (3, K, J, I) unit vectors (x, y, z) away from the ventricles, smoothed.
        grid: where they lie.
    """

    grey: np.ndarray
    white: np.ndarray
    depth: np.ndarray
    ventricle: np.ndarray
    normal: np.ndarray
    grid: Grid


@lru_cache(maxsize=1)
def atlas_maps() -> AtlasMaps:
    """The atlas and the distances derived from it (made once per process, about half a second)."""
    atlas = load_atlas(2.0)
    pad = round(_MARGIN_MM / 2.0)
    grey, white, fluid, brain = (
        np.pad(np.asarray(a, dtype=np.float32), pad) for a in (atlas.gm, atlas.wm, atlas.csf, atlas.brain)
    )
    affine = atlas.grid.affine.copy()
    affine[:3, 3] -= pad * 2.0
    grid = Grid(grey.shape, affine)
    depth = _signed_distance(brain > 0.5)
    z, y, x = _axes(grid)
    central = (np.abs(x) < 42) & (y > -45) & (y < 55) & (z > -14) & (z < 36)
    parts, count = ndimage.label((fluid > 0.5) & (depth > 26) & central)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    ventricles = np.isin(parts, np.flatnonzero(sizes > 30))
    distance = -_signed_distance(ventricles)
    gradient = np.stack([ndimage.gaussian_filter(g, 1.5) for g in reversed(np.gradient(distance))])
    gradient /= np.maximum(np.linalg.norm(gradient, axis=0), 0.3)
    return AtlasMaps(grey, white, depth, distance, gradient.astype(np.float32), grid)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    inside = ndimage.distance_transform_edt(mask, sampling=2.0)
    outside = ndimage.distance_transform_edt(~mask, sampling=2.0)
    return (np.maximum(inside - 1, 0) - np.maximum(outside - 1, 0)).astype(np.float32)


def _axes(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates (z, y, x) of an axis-parallel grid, shaped to broadcast to (K, J, I)."""
    spacing, origin = np.diag(grid.affine)[:3], grid.origin
    x, y, z = (origin[a] + spacing[a] * np.arange(grid.size[a]) for a in range(3))
    return z[:, None, None], y[None, :, None], x[None, None, :]


def points_of(grid: Grid) -> np.ndarray:
    """(3, K, J, I) float32 LPS positions (x, y, z) of the voxels of an axis-parallel grid."""
    z, y, x = _axes(grid)
    return np.stack([np.broadcast_to(a, grid.shape) for a in (x, y, z)]).astype(np.float32)


def sample(volume: np.ndarray, grid: Grid, points: np.ndarray, outside: float | None = None) -> np.ndarray:
    """Linear interpolation of a volume on an axis-parallel grid at LPS points (3, ...).

    ``outside`` is the value beyond the grid; None repeats the edge.
    """
    spacing, origin = np.diag(grid.affine)[:3], grid.origin
    index = np.stack([(points[a] - origin[a]) / spacing[a] for a in (2, 1, 0)])
    mode, value = ("nearest", 0.0) if outside is None else ("constant", outside)
    return ndimage.map_coordinates(volume, index, order=1, mode=mode, cval=value, output=np.float32)


@dataclass(frozen=True, eq=False)
class Deformation:
    """Where in the atlas a point of the subject comes from.

    Attributes:
        matrix: (3, 3) linear part about :data:`CENTRE`, subject to atlas.
        field: (3, K, J, I) displacement (x, y, z) in mm on ``grid``, applied after the linear part.
        grid: of the field.
    """

    matrix: np.ndarray
    field: np.ndarray
    grid: Grid

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Atlas points (3, ...) of subject points (3, ...), LPS mm."""
        centre = CENTRE.reshape((3,) + (1,) * (points.ndim - 1)).astype(np.float32)
        moved = np.tensordot(self.matrix.astype(np.float32), points - centre, axes=1) + centre
        return moved + np.stack([sample(component, self.grid, moved) for component in self.field])


def draw_deformation(rng: np.random.Generator, amount: float, ventricle_mm: float) -> tuple[Deformation, dict]:
    """A random head shape.

    Args:
        amount: 0 gives the atlas itself, 1 usual differences between adults.
        ventricle_mm: how far the walls of the ventricles move outwards.

    Returns:
        The deformation (the flow of a stationary velocity field, hence invertible, after a linear map), and the
        parameters drawn.
    """
    scale = np.exp(amount * (rng.normal(0, 0.035) + rng.normal(0, 0.025, 3)))
    angles = np.deg2rad(np.clip(amount * rng.normal(0, 3.5, 3), -9, 9))
    shear = np.eye(3) + amount * np.triu(rng.normal(0, 0.015, (3, 3)), 1)
    matrix = _rotation(angles) @ shear @ np.diag(1 / scale)

    maps = atlas_maps()
    step = round(FIELD_MM / 2.0)
    coarse = (slice(None, None, step),) * 3
    affine = maps.grid.affine.copy()
    affine[:3, :3] *= step
    distance = maps.ventricle[coarse]
    grid = Grid(distance.shape, affine)
    velocity = np.zeros((3, *grid.shape), dtype=np.float32)
    amplitudes = {32.0: 2.6, 14.0: 1.3, 9.0: 0.5}
    for scale_mm, amplitude in amplitudes.items():
        strength = amount * amplitude * rng.uniform(0.6, 1.3)
        for component in velocity:
            component += np.float32(strength) * grid_noise(rng, grid, scale_mm)
    reach = np.where(distance < 0, 8.0, 16.0)
    velocity -= ventricle_mm * np.exp(-((distance / reach) ** 2)) * maps.normal[(slice(None), *coarse)]
    parameters = {"scale": scale.tolist(), "rotation_deg": np.rad2deg(angles).tolist(), "ventricle_mm": ventricle_mm}
    return Deformation(matrix, _flow(velocity, grid), grid), parameters


def _flow(velocity: np.ndarray, grid: Grid, halvings: int = 4) -> np.ndarray:
    """Displacement after unit time along a stationary velocity field (scaling and squaring)."""
    points = points_of(grid)
    displacement = velocity / 2**halvings
    for _ in range(halvings):
        moved = points + displacement
        displacement = displacement + np.stack([sample(c, grid, moved) for c in displacement])
    return displacement


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix about x, then y, then z (radians)."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def subject_grid(deformation: Deformation, spacing: tuple[float, float, float], margin_mm: float) -> Grid:
    """The smallest axis-parallel grid of the spacing (i, j, k) around the deformed brain, with a margin."""
    maps = atlas_maps()
    # Large heads reach beyond the atlas.
    low = maps.grid.origin - 3 * FIELD_MM
    high = maps.grid.origin + (np.array(maps.grid.size) - 1) * 2.0 + 3 * FIELD_MM
    size = np.ceil((high - low) / FIELD_MM).astype(int)
    search = Grid(tuple(size[::-1]), _scaled(low, (FIELD_MM,) * 3))
    inside = sample(maps.depth, maps.grid, deformation(points_of(search)), outside=-99.0) > -FIELD_MM
    box = ndimage.find_objects(inside.astype(np.int8))[0]
    first = low + FIELD_MM * np.array([s.start for s in reversed(box)]) - margin_mm
    last = low + FIELD_MM * np.array([s.stop - 1 for s in reversed(box)]) + margin_mm
    count = np.ceil((last - first) / np.array(spacing)).astype(int) + 1
    return Grid(tuple(count[::-1]), _scaled(first, spacing))


def _scaled(origin: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Healthy tissue of one subject on one grid; arrays float32 (K, J, I).

    Attributes:
        grid: the subject's grid.
        inside: bool, the brain mask.
        tissues: fractions of "csf", "gm", "deep_gm", "pallidum", "wm", "vessel", "dura", "choroid"; their sum is 1
            inside and 0 outside.
        ventricle: signed distance to the ventricles in mm, in the atlas.
        depth: mm below the surface of the brain, in the atlas.
        position: (3, K, J, I) LPS points of the subject.
    """

    grid: Grid
    inside: np.ndarray
    tissues: dict[str, np.ndarray]
    ventricle: np.ndarray
    depth: np.ndarray
    position: np.ndarray


def build_anatomy(
    rng: np.random.Generator,
    deformation: Deformation,
    grid: Grid,
    atrophy: float,
    mass_effect: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Anatomy:
    """Tissue fractions of a subject.

    Args:
        atrophy: 0 (tight sulci) to 1 (wide sulci, thin cortex).
        mass_effect: map of the subject's points (3, ...) to where they were before a tumour pushed; the outline of
            the brain, held by the skull, stays.
    """
    maps = atlas_maps()
    position = points_of(grid)
    origin = deformation(position)
    depth = sample(maps.depth, maps.grid, origin, outside=-99.0)
    edge = rng.uniform(-0.5, 2.2) - 0.8 * atrophy
    inside = depth > edge + 0.6 * grid_noise(rng, grid, 6.0)
    parts, count = ndimage.label(inside)
    if count > 1:
        inside = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    inside = ndimage.binary_fill_holes(inside)

    # Everything below is computed for the voxels of the brain only.
    at, deep = origin[:, inside], depth[inside]
    if mass_effect is not None:
        here = position[:, inside]
        at = deformation(here + (mass_effect(here) - here) * np.clip(deep / 15, 0, 1))
    grey = sample(maps.grey, maps.grid, at)
    white = sample(maps.white, maps.grid, at)
    ventricle = sample(maps.ventricle, maps.grid, at)
    noise = [grid_noise(rng, grid, s)[inside] for s in (4.0, 9.0, 4.0)]

    # The average brain is blurred; sharper odds, with a share of chance, give an individual one.
    power = rng.uniform(1.6, 2.4)
    fluid = np.clip(1 - grey - white, 0, 1)
    odds = np.stack([fluid * np.exp(0.15 + 0.9 * atrophy), grey, white * np.exp(rng.normal(0.15, 0.1))]) + 1e-3
    odds = odds**power * np.exp(0.35 * np.stack([noise[0], np.zeros_like(grey), noise[1]]))
    fluid, grey, white = odds / odds.sum(axis=0)
    fluid, grey, white = _fold(rng, at, deep, ventricle, (fluid, grey, white), atrophy)

    tissues = {"csf": fluid, "gm": grey, "wm": white}
    _split_deep_grey(at, deep, tissues)
    _add_vessels(at, deep, ventricle, noise, tissues, rng)
    volumes = {name: np.zeros(grid.shape, dtype=np.float32) for name in tissues}
    for name, volume in volumes.items():
        volume[inside] = tissues[name]
    full = np.full(grid.shape, 99.0, dtype=np.float32)
    full[inside] = ventricle
    return Anatomy(grid, inside, volumes, full, depth, position)


def _fold(
    rng: np.random.Generator,
    at: np.ndarray,
    depth: np.ndarray,
    ventricle: np.ndarray,
    tissues: Sequence[np.ndarray],
    atrophy: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sulci of the individual: sheets of fluid with a band of cortex, perpendicular to the surface.

    They are the zero level of a random field that is constant along the radius, so that they run inwards.
    """
    _, grey, white = tissues
    radii = np.array([62.0, 80.0, 62.0])
    direction = (at - CENTRE[:, None]) / radii[:, None]
    direction /= np.maximum(np.linalg.norm(direction, axis=0), 1e-3)
    cube = Grid((64, 64, 64), _scaled(np.full(3, -1.26), (0.04,) * 3))
    scale = rng.uniform(0.115, 0.165)

    def over_sphere(scale: float) -> np.ndarray:
        return sample(smooth_noise(rng, cube.shape, cube.spacing, scale), cube, direction)

    # A unit of the field corresponds to about 0.7 knot distances; the radius is about 68 mm.
    distance = np.abs(over_sphere(scale)) * scale * 68 * 0.62
    bottom = 11 + 5 * over_sphere(0.25) + 4 * atrophy
    distance = distance + np.clip(depth - bottom, 0, None)
    cerebellum = sigmoid((at[1] - 37) / 2) * sigmoid((-16 - 0.3 * np.abs(at[0]) - at[2]) / 2)
    stem = sigmoid((12 - np.hypot(at[0], at[1] - 22)) / 2) * sigmoid((-10 - at[2]) / 2)
    allowed = sigmoid((ventricle - 9) / 1.5) * (1 - cerebellum) * (1 - stem)
    width = 0.45 + 0.9 * atrophy + 0.25 * np.clip(over_sphere(0.3), -1, 2)
    sheet = np.exp(-((distance / np.maximum(width, 0.3)) ** 2)) * rng.uniform(0.55, 0.95) * allowed
    band = sigmoid((np.maximum(width, 0.3) + 1.8 - 0.5 * atrophy - distance) / 0.5) * 0.85 * allowed

    # Folia: fine shells about the fourth ventricle.
    radius = np.linalg.norm(at - np.array([0.0, 38.0, -30.0])[:, None], axis=0)
    shells = 0.5 + 0.5 * np.cos(2 * np.pi * (radius / 6.0 + 0.25 * over_sphere(0.2)))
    sheet = np.maximum(sheet, 0.35 * cerebellum * shells**4 * (grey > 0.3))

    grey = (grey + band * white) * (1 - sheet)
    white = (1 - band) * white * (1 - sheet)
    return 1 - grey - white, grey, white


def _ball(at: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """Soft ellipsoid in atlas space, mirrored to both sides (1 inside, 0 outside)."""
    x, y, z = np.abs(at[0]) - centre[0], at[1] - centre[1], at[2] - centre[2]
    return sigmoid((1 - np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)) * 6)


def _split_deep_grey(at: np.ndarray, depth: np.ndarray, tissues: dict[str, np.ndarray]) -> None:
    """Split the grey matter of thalamus and basal ganglia, and the iron-rich nuclei, off the cortex."""
    region = sigmoid((depth - 24) / 2) * sigmoid((32 - np.abs(at[0])) / 2) * sigmoid((30 - at[1]) / 2)
    region *= sigmoid((at[1] + 28) / 2) * sigmoid((at[2] + 14) / 2)
    # Pallidum; red nucleus and substantia nigra; dentate nucleus.
    iron = _ball(at, (20.0, 3.0, -1.0), (5.5, 9.0, 5.0)) + _ball(at, (8.0, 18.0, -11.0), (4.5, 5.0, 4.0))
    iron += _ball(at, (15.0, 55.0, -34.0), (5.0, 7.0, 4.5))
    iron = np.clip(iron, 0, 1) * (tissues["gm"] + tissues["wm"]) * 0.85
    rest = 1 - iron / np.maximum(tissues["gm"] + tissues["wm"], 1e-6)
    tissues["wm"] = tissues["wm"] * rest
    grey = tissues["gm"] * rest
    tissues["gm"], tissues["deep_gm"], tissues["pallidum"] = grey * (1 - region), grey * region, iron


def _add_vessels(
    at: np.ndarray,
    depth: np.ndarray,
    ventricle: np.ndarray,
    noise: Sequence[np.ndarray],
    tissues: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Vessels, sinuses, dura and choroid plexus take their share of the fluid (and of the outermost voxels)."""
    x, y, z = at
    surface = sigmoid((5.0 - depth) / 0.7)
    sinus = sigmoid((3.5 - np.abs(x)) / 0.8) * surface * sigmoid((y + 40) / 4) * sigmoid((z + 20) / 4)
    transverse = surface * sigmoid((y - 62) / 3) * sigmoid((5 - np.abs(z + 24)) / 1.2)
    willis = _ball(at, (4.0, -4.0, -20.0), (14.0, 10.0, 5.0)) + _ball(at, (38.0, -2.0, -8.0), (8.0, 9.0, 10.0))
    # Where two random surfaces meet there is a line: pial vessels.
    lines = np.exp(-((noise[0] / 0.32) ** 2) - ((noise[2] / 0.32) ** 2))
    pial = lines * np.clip(2.5 * tissues["csf"], 0, 1) * sigmoid((ventricle - 5) / 1.0)
    vessel = np.clip(rng.uniform(0.5, 0.95) * (sinus + 0.8 * transverse) + 0.9 * pial * (0.5 + willis), 0, 0.95)
    falx = sigmoid((1.2 - np.abs(x)) / 0.4) * sigmoid((z - 5) / 5) * np.clip(3 * tissues["csf"], 0, 1) * 0.5
    shell = sigmoid((1.2 - depth) / 0.5) * np.clip(0.35 + 0.5 * noise[1], 0, 1)
    dura = np.clip(falx + rng.uniform(0.2, 1.0) * shell, 0, 0.9) * (1 - vessel)
    plexus = _ball(at, (22.0, 34.0, 8.0), (7.0, 9.0, 8.0)) + _ball(at, (6.0, 12.0, 16.0), (4.5, 14.0, 3.0))
    choroid = sigmoid((0.5 - ventricle) / 0.7) * np.clip(plexus, 0, 1) * sigmoid(3 * noise[2]) * rng.uniform(0.4, 0.9)
    pituitary = _ball(at, (0.0, -4.0, -30.0), (6.0, 5.0, 5.0))
    choroid = np.clip(choroid + pituitary, 0, 0.95) * (1 - vessel) * (1 - dura)
    rest = np.clip(1 - vessel - dura - choroid, 0, 1)
    for name in tissues:
        tissues[name] = tissues[name] * rest
    total = vessel + dura + choroid + sum(tissues.values())
    for name, value in (("vessel", vessel), ("dura", dura), ("choroid", choroid)):
        tissues[name] = value
    for name in tissues:
        tissues[name] = (tissues[name] / total).astype(np.float32)
