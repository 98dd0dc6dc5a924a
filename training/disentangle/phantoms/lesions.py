"""White-matter lesions and gliomas of digital subjects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..study import Image
from .anatomy import Anatomy
from .randomness import Range, draw, grid_noise, sigmoid

LESION_TISSUES = ("lesion", "edema", "necrosis", "nonenhancing", "enhancing")


@dataclass(frozen=True)
class LesionPlan:
    """One white-matter lesion before it is drawn: centre (LPS mm), half axes (x, y, z) in mm, largest fraction."""

    centre: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    strength: float


def plan_lesions(rng: np.random.Generator, anatomy: Anatomy, count: int) -> list[LesionPlan]:
    """Periventricular ovoids, deep spots and a few juxtacortical lesions, planned on a (coarse) anatomy.

    Volumes follow a log-normal distribution around 0.1 ml.
    """
    white, ventricle = anatomy.tissues["wm"].ravel(), anatomy.ventricle.ravel()
    candidates = np.flatnonzero((white > 0.6) & (anatomy.depth.ravel() > 4))
    near = np.exp(-np.clip(ventricle[candidates], 0, None) / 5.0)
    height = anatomy.position[2].ravel()[candidates]
    weight = (near * rng.uniform(2, 12) + 0.12) * sigmoid((height + 18) / 4)
    usual = np.log(2.6) + rng.normal(0, 0.2)
    plans = []
    for voxel in rng.choice(candidates, size=count, p=weight / weight.sum()):
        centre = anatomy.position.reshape(3, -1)[:, voxel] + rng.uniform(-0.5, 0.5, 3) * anatomy.grid.spacing
        radii = np.clip(np.exp(rng.normal(usual, 0.4)), 1.3, 9.0) * np.exp(rng.normal(0, 0.25, 3))
        if ventricle[voxel] < 8:
            # Ovoids along the veins that leave the ventricle (mostly left-right), or bands along its wall.
            radii *= np.array([1.5, 1.0, 0.9]) if rng.random() < 0.5 else np.array([0.8, 1.7, 1.0])
        x, y, z = (float(c) for c in centre)
        a, b, c = (float(r) for r in radii)
        plans.append(LesionPlan((x, y, z), (a, b, c), float(rng.uniform(0.75, 1.0))))
    return plans


def white_matter_lesions(rng: np.random.Generator, anatomy: Anatomy, plans: list[LesionPlan]) -> np.ndarray:
    """Fraction of white-matter lesion, float32 (K, J, I). In some subjects lesions also line the ventricles."""
    grid, ventricle = anatomy.grid, anatomy.ventricle
    result = np.zeros(grid.shape, dtype=np.float32)
    roughness = grid_noise(rng, grid, 4.0)
    for plan in plans:
        radii = np.array(plan.radii_mm)[:, None, None, None]
        box, points = _box_around(anatomy, np.array(plan.centre), 1.6 * max(plan.radii_mm) + 1)
        offset = (points - np.array(plan.centre)[:, None, None, None]) / radii
        distance = np.sqrt((offset**2).sum(axis=0)) * np.exp(0.22 * roughness[box])
        softness = max(0.12, 0.21 / float(radii.mean()))
        fraction = plan.strength * sigmoid((1 - distance) / softness)
        result[box] = np.maximum(result[box], fraction.astype(np.float32))
    if rng.random() < 0.3:
        # Long disease: lesions run together along the walls of the lateral ventricles.
        reach = rng.uniform(1.5, 7.0) * (1 + 0.5 * grid_noise(rng, grid, 9.0) + 0.2 * roughness)
        band = sigmoid((reach - ventricle) / 0.7) * sigmoid((anatomy.position[2] - 2) / 3)
        result = np.maximum(result, band.astype(np.float32))
    return result * np.clip(anatomy.tissues["wm"] + 0.4 * anatomy.tissues["gm"], 0, 1)


def _box_around(anatomy: Anatomy, centre: np.ndarray, radius: float) -> tuple[tuple[slice, ...], np.ndarray]:
    """Slices [k, j, i] of a cube of half width ``radius`` mm, and the positions (3, ...) in it."""
    grid = anatomy.grid
    middle = (centre - grid.origin) / grid.spacing
    reach = radius / grid.spacing
    box = tuple(slice(max(int(middle[a] - reach[a]), 0), max(int(middle[a] + reach[a]) + 2, 0)) for a in (2, 1, 0))
    return box, anatomy.position[(slice(None), *box)]


def periventricular_rim(rng: np.random.Generator, anatomy: Anatomy, strength: float) -> np.ndarray:
    """Thin rim of slightly altered white matter at the ventricles, normal in adults and unlabelled (fraction)."""
    width = rng.uniform(1.0, 2.5)
    rim = np.exp(-((np.clip(anatomy.ventricle, 0, None) / width) ** 2)) * (anatomy.ventricle < 10)
    return (strength * rim * anatomy.tissues["wm"]).astype(np.float32)


@dataclass(frozen=True)
class GliomaPlan:
    """A glioma before it is drawn.

    Attributes:
        centre: LPS mm in the subject.
        radius_mm: of the core.
        edema_mm: how far edema reaches from the core along white matter.
        push: 0 to 0.5, strength of the mass effect.
        enhancing: whether it has an enhancing rim (high grade) or at most nodules (low grade).
        rim_mm: thickness of the enhancing rim.
    """

    centre: tuple[float, float, float]
    radius_mm: float
    edema_mm: float
    push: float
    enhancing: bool
    rim_mm: float

    def mass_effect(self) -> Callable[[np.ndarray], np.ndarray]:
        """Map of points (3, ...) to where they were before the tumour pushed them outwards (monotone in the radius)."""
        centre = np.array(self.centre, dtype=np.float32)
        reach = 2.0 * self.radius_mm + 12.0

        def before(points: np.ndarray) -> np.ndarray:
            offset = points - centre.reshape((3,) + (1,) * (points.ndim - 1))
            squared = (offset**2).sum(axis=0) / reach**2
            return points - offset * (self.push * np.exp(-squared))

        return before


def plan_glioma(
    rng: np.random.Generator, anatomy: Anatomy, radius_mm: Range = (7.0, 24.0), edema_mm: Range | None = None
) -> GliomaPlan:
    """Where a glioma grows and how large it gets, drawn on a (coarse) anatomy without it.

    Args:
        radius_mm: of the core.
        edema_mm: how far edema reaches; None draws 3 to 22 mm around an enhancing core, 1 to 10 mm around another.
    """
    x, _, z = anatomy.position
    weight = anatomy.tissues["wm"] + 0.5 * anatomy.tissues["gm"]
    weight = weight * (anatomy.depth > 8) * (anatomy.ventricle > 4)
    weight = weight * sigmoid((z + 12) / 6) * sigmoid((np.abs(x) - 8) / 3)
    weight = weight.ravel() / weight.sum()
    voxel = rng.choice(weight.size, p=weight)
    centre = anatomy.position.reshape(3, -1)[:, voxel]
    enhancing = bool(rng.random() < 0.7)
    radius = draw(rng, radius_mm)
    if edema_mm is None:
        edema_mm = (3.0, 22.0) if enhancing else (1.0, 10.0)
    return GliomaPlan(
        centre=tuple(float(c) for c in centre),
        radius_mm=radius,
        edema_mm=draw(rng, edema_mm),
        push=float(rng.uniform(0.05, 0.4)),
        enhancing=enhancing,
        rim_mm=float(rng.uniform(1.8, 5.5)),
    )


def glioma(rng: np.random.Generator, anatomy: Anatomy, plan: GliomaPlan) -> dict[str, np.ndarray]:
    """Fractions (float32 (K, J, I)) of "necrosis", "nonenhancing", "enhancing" and "edema"; their sum is at most 1."""
    grid = anatomy.grid
    x, y, z = anatomy.position
    stretch = np.exp(rng.normal(0, 0.15, 3))
    distance = np.sqrt(sum(((p - c) / s) ** 2 for p, c, s in zip((x, y, z), plan.centre, stretch, strict=True)))
    shape = grid_noise(rng, grid, max(0.6 * plan.radius_mm, 5.0))
    fine = grid_noise(rng, grid, 4.5)
    patches = grid_noise(rng, grid, 0.5 * plan.radius_mm + 2.0)
    radius = distance * np.exp(0.2 * shape + 0.06 * fine)

    # Tumour displaces or invades tissue but does not fill ventricles, nor cross the falx through fluid.
    fluid = anatomy.tissues["csf"]
    resists = np.clip((radius / plan.radius_mm) ** 2, 0, 1) + sigmoid((1.5 - anatomy.ventricle) / 0.6)
    allowed = anatomy.inside * (1 - fluid * np.clip(resists, 0, 1)) * _same_side(x, plan.centre[0])
    core = sigmoid((plan.radius_mm - radius) / 0.8) * allowed
    if plan.enhancing:
        thickness = plan.rim_mm * np.exp(0.45 * patches)
        inner = sigmoid((plan.radius_mm - thickness - radius) / 0.7)
        holes = sigmoid((fine + 0.6 * patches + rng.uniform(0.6, 1.8)) / 0.25)
        enhancing = core * (1 - inner) * holes
        rest = core - enhancing
        solid = rng.uniform(-1.0, 1.2)
        necrotic = sigmoid((shape - patches - solid) / 0.3) * inner
    else:
        nodules = sigmoid((fine + patches - rng.uniform(1.6, 3.5)) / 0.2)
        enhancing = core * nodules
        rest = core - enhancing
        necrotic = sigmoid((patches - rng.uniform(0.8, 2.5)) / 0.3) * sigmoid((0.7 * plan.radius_mm - radius) / 1.0)
    necrosis = rest * necrotic
    arrival = _arrival(anatomy, core, plan, fine)
    edema = sigmoid((plan.edema_mm - arrival) / 1.2) * (anatomy.tissues["wm"] + 0.45 * anatomy.tissues["gm"])
    edema *= rng.uniform(0.8, 1.0) * (1 - core) * anatomy.inside
    parts = {"necrosis": necrosis, "nonenhancing": rest - necrosis, "enhancing": enhancing, "edema": edema}
    return {name: np.maximum(part, 0).astype(np.float32) for name, part in parts.items()}


def _same_side(x: np.ndarray, centre: float) -> np.ndarray:
    """1 on the tumour's side of the falx, soft at the midline (a tumour at the midline takes both sides)."""
    side = np.sign(centre) if centre else 1.0
    return sigmoid((x * side + max(0.0, 9.0 - abs(centre)) + 1.0) / 1.0)


def _arrival(anatomy: Anatomy, core: np.ndarray, plan: GliomaPlan, noise: np.ndarray) -> np.ndarray:
    """Geodesic distance from the core in mm of white matter: grey matter is slow, fluid closed."""
    grid = anatomy.grid
    middle = ((np.array(plan.centre) - grid.origin) / grid.spacing)[::-1]
    reach = (1.7 * plan.radius_mm + plan.edema_mm + 4) / grid.spacing[::-1]
    box = tuple(
        slice(max(int(m - r), 0), min(int(m + r) + 2, n)) for m, r, n in zip(middle, reach, grid.shape, strict=True)
    )
    tissues = {n: a[box] for n, a in anatomy.tissues.items()}
    speed = tissues["wm"] + 0.35 * (tissues["gm"] + tissues["deep_gm"]) + 0.02
    speed = np.clip(speed * np.exp(0.35 * noise[box]), 0.02, 2.0)
    inside = core[box] > 0.5
    result = np.full(grid.shape, 1e3, dtype=np.float32)
    seeds = np.argwhere(inside)
    if len(seeds) == 0:
        return result
    speed[inside] = 50.0
    marching = sitk.FastMarchingImageFilter()
    marching.SetStoppingValue(plan.edema_mm + 6)
    # One seed per connected core would do; every eighth voxel keeps separate pieces reached.
    for k, j, i in seeds[:: max(len(seeds) // 400, 1)]:
        marching.AddTrialPoint([int(i), int(j), int(k)])
    affine = np.diag([*grid.spacing, 1.0])
    times = sitk.GetArrayFromImage(marching.Execute(Image(speed.astype(np.float32), affine).to_sitk()))
    result[box] = np.minimum(times, 1e3)
    return result
