"""FDG PET of digital brains: uptake from tissue and lesions, point spread, counts. For zero-dose synthesis from MR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import canonical
from ..study import Grid, Image, Study
from .acquisition import blurred, draw_rigid, moved
from .anatomy import points_of
from .brain import BrainPhantomConfig, brain_phantom
from .options import check_options
from .phantom import Phantom
from .randomness import Range, draw, grid_noise, sigmoid, stream

_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
_RECONSTRUCTION_MM = 3.5
"""FWHM of the filter after the counts; it is part of the whole point spread and correlates the noise."""

# Uptake relative to normal white matter an hour after injection. Cortex takes up about four times as much; what
# enhances is drawn per person.
_UPTAKE = {
    "csf": 0.1, "gm": 3.9, "deep_gm": 4.1, "pallidum": 2.6, "wm": 1.0, "dura": 0.4, "vessel": 0.6, "choroid": 0.9,
    "lesion": 0.75, "edema": 0.7, "necrosis": 0.25, "nonenhancing": 1.2, "enhancing": 4.0, "bone": 0.2, "marrow": 0.8,
    "scalp": 0.5, "muscle": 0.8,
}  # fmt: skip


@dataclass(frozen=True)
class BrainPetConfig(BrainPhantomConfig):
    """What digital brains with FDG PET may look like; PET lies on the grid of the truth, in SUV.

    Attributes:
        sequences: among those of :class:`BrainPhantomConfig` and PET.
        psf_mm: FWHM of the point spread, reconstruction filter included.
        counts: detected per ml of white matter; fewer are noisier.
        hypermetabolic: probability that enhancing tumour takes up more than cortex, else less than white matter.
        focus: probability of a region of cortex with low uptake, as in epilepsy, which MR does not show.
        uptake_jitter: standard deviation of differences between persons (logarithm), tissue by tissue.
    """

    sequences: tuple[str, ...] = ("T1", "FLAIR", "PET")
    psf_mm: Range = (5.0, 6.0)
    counts: Range = (4e3, 2e4)
    hypermetabolic: float = 0.65
    focus: float = 0.0
    uptake_jitter: float = 0.08

    def __post_init__(self) -> None:
        check_options(self)
        names = tuple(canonical(name) for name in self.sequences)
        if names.count("PET") != 1:
            raise InputError("A brain-pet phantom has the sequence PET once; use the kind brain for MR alone.")
        missing = self.missing
        if not isinstance(missing, (int, float)):
            missing = tuple(canonical(name) for name in missing)
            if set(names) <= set(missing):
                raise InputError("All sequences of the phantom are declared missing; leave at least one.")
        # The parent knows the sequences of MR only; a study of PET alone still needs a brain.
        object.__setattr__(self, "sequences", tuple(n for n in names if n != "PET") or ("T1",))
        object.__setattr__(self, "missing", ())
        super().__post_init__()
        object.__setattr__(self, "sequences", names)
        object.__setattr__(self, "missing", missing)


def brain_pet_phantom(seed: int, config: BrainPetConfig | None = None, **changes: Any) -> Phantom:
    """A digital brain with FDG PET beside MR; MR, tissues and labels are those of :func:`brain_phantom` of the seed.

    Args:
        changes: fields of :class:`BrainPetConfig` to replace.

    Raises:
        InputError: an impossible configuration.
    """
    config = replace(config or BrainPetConfig(), **changes)
    wanted = tuple(s for s in config.sequences if s != "PET")
    named = isinstance(config.missing, tuple)
    absent = "PET" in config.missing if named else stream(seed, 41).random() < config.missing
    alone = not wanted or (named and set(wanted) <= set(config.missing))
    settings = {f.name: getattr(config, f.name) for f in fields(BrainPhantomConfig)}
    settings |= {"sequences": wanted or ("T1",), "missing": () if alone else config.missing}
    phantom = brain_phantom(seed, BrainPhantomConfig(**settings))
    if absent and not alone:
        return replace(phantom, kind="brain-pet", parameters=phantom.parameters | {"config": asdict(config)})
    image, transform, drawn = _scan(stream(seed, 40), phantom, config)
    images = ({} if alone else phantom.study.images) | {"PET": image}
    study = Study(
        {s: images[s] for s in config.sequences if s in images},
        name=f"brain-pet-{seed}",
        labels=phantom.study.labels,
        masks={k: m for k, m in phantom.study.masks.items() if k == "" or k in images},
        label_names=phantom.study.label_names,
    )
    parameters = dict(phantom.parameters)
    parameters |= {"config": asdict(config), "protocols": parameters["protocols"] | {"PET": drawn}}
    transforms = {s: t for s, t in phantom.transforms.items() if s in images} | {"PET": transform}
    return replace(phantom, kind="brain-pet", study=study, transforms=transforms, parameters=parameters)


def uptake(rng: np.random.Generator, names: list[str], config: BrainPetConfig) -> dict[str, float]:
    """Uptake of the named tissues in one person, relative to usual white matter."""
    result = {n: float(_UPTAKE[n] * np.exp(rng.normal(0, config.uptake_jitter))) for n in _UPTAKE}
    hyper, level = rng.random() < config.hypermetabolic, rng.random()
    # High-grade tumours burn as much as cortex or more; low-grade and treated ones less than white matter.
    result["enhancing"] = float(3.5 + 4.0 * level if hyper else 0.5 + 0.4 * level)
    result["nonenhancing"] = float(1.0 + 1.4 * level if hyper else 0.5 + 0.3 * level)
    return {n: result[n] for n in names}


def _scan(
    rng: np.random.Generator, phantom: Phantom, config: BrainPetConfig
) -> tuple[Image, sitk.Transform, dict[str, Any]]:
    grid = phantom.grid
    levels = uptake(rng, list(phantom.tissues), config)
    drawn: dict[str, Any] = {
        "psf_mm": draw(rng, config.psf_mm),
        "counts": draw(rng, config.counts),
        "suv": float(rng.uniform(1.8, 3.2)),
        "uptake": levels,
    }
    regions = np.exp(np.float32(0.06) * grid_noise(rng, grid, 35.0))
    activity = sum(np.float32(levels[n]) * f for n, f in phantom.tissues.items()) * regions
    focus = _focus(stream(phantom.seed, 42), phantom.tissues, grid)
    if rng.random() < config.focus:
        activity = activity * focus.pop("factor")
        drawn["focus"] = focus

    shift, turn = draw(rng, config.misregistration_mm), draw(rng, config.misregistration_deg)
    transform = draw_rigid(rng, grid.corners().mean(axis=0), shift, turn)
    inside = phantom.study.masks[""].array > 0
    if shift > 0 or turn > 0:
        back = transform.GetInverse()
        activity = moved(activity, grid, grid, back)
        inside = moved(inside.astype(np.uint8), grid, grid, back, nearest=True) > 0
    else:
        transform = sitk.Transform(3, sitk.sitkIdentity)
    array = pet_image(rng, activity, grid, drawn["psf_mm"], drawn["counts"]) * np.float32(drawn["suv"])
    if not config.skull:
        array = array * inside
    # A thousandth of an SUV is far below the noise.
    array = (np.round(1000 * array) / 1000).astype(np.float32)
    return Image(array, grid.affine, "PET", "brain phantom PET"), transform, drawn


def pet_image(rng: np.random.Generator, activity: np.ndarray, grid: Grid, psf_mm: float, counts: float) -> np.ndarray:
    """What a scanner reconstructs of an activity: float32 (K, J, I) in its unit.

    Args:
        activity: (K, J, I), not negative.
        psf_mm: FWHM of the whole point spread.
        counts: per ml where the activity is 1; 0 is no noise.
    """
    total, after = psf_mm / _FWHM, min(_RECONSTRUCTION_MM, 0.7 * psf_mm) / _FWHM
    before = float(np.sqrt(total**2 - after**2))
    result = blurred(activity.astype(np.float32), grid.spacing, (before,) * 3)
    if counts > 0:
        per_voxel = counts * float(np.prod(grid.spacing)) / 1000
        result = (rng.poisson(np.maximum(result, 0).astype(np.float64) * per_voxel) / per_voxel).astype(np.float32)
    return np.maximum(blurred(result, grid.spacing, (after,) * 3), 0)


def _focus(rng: np.random.Generator, tissues: Mapping[str, np.ndarray], grid: Grid) -> dict[str, Any]:
    """A region of cortex with low uptake: centre (LPS mm), radius, share left, and the factor (K, J, I)."""
    grey = tissues["gm"].ravel()
    points = points_of(grid)
    voxel = int(rng.choice(grey.size, p=grey / grey.sum(dtype=np.float64)))
    centre = points.reshape(3, -1)[:, voxel]
    radius, left = float(rng.uniform(10, 22)), float(rng.uniform(0.5, 0.75))
    distance = np.sqrt(((points - centre[:, None, None, None]) ** 2).sum(axis=0))
    factor = 1 - np.float32(1 - left) * sigmoid((radius - distance) / 2.0)
    return {"centre": [float(c) for c in centre], "radius_mm": radius, "left": left, "factor": factor}
