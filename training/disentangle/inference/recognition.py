"""Which sequence a brain image is, told from the image alone, and whether it looks like a brain at all.

The brain's box is laid over that of the atlas, and about thirty figures are read: how bright fluid, grey and white
matter are against each other, how the intensities are distributed, how bright the vessels are. A linear discriminant,
fitted by ``training/benchmarks/recognition.py`` to phantoms and to the shared studies, makes sequences of them. It
needs numpy only and takes some milliseconds; the modality factors of a bundle would do the same, but only where the
bundle's encoder is told the right sequence first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..preprocessing.atlas import load_atlas
from ..resources import resource_path

LEAST_AGREEMENT = 0.03
"""The shared brains have 0.05 to 0.26, one that is cut off 0.04; hearts, abdomens and noise 0.00 to 0.02."""
CLEARER = 1.5
"""A turned head must fit the atlas so many times better than the upright one."""
SCALES, SHIFTS = (0.9, 1.0, 1.1), tuple(range(-16, 21, 4))
"""Tried along k: size of the brain against its width, shift of its top in mm."""
_STEP = 3
"""Every third voxel of the 2 mm atlas is enough to find them."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.998)
FLIPS = {"upright": (), "upside down": (0,), "back to front": (1,), "upside down and back to front": (0, 1)}
"""How a head may lie -> array axes (k, j) that are reversed."""


_Boxes = list[tuple[int, int]]
"""(first, last) index along each axis."""


@dataclass(frozen=True)
class Recognition:
    """What an image looks like.

    Attributes:
        sequence: the likeliest of the known sequences.
        probabilities: sequence -> probability among the known ones.
        distance: how far the image lies from the nearest known sequence, in units of the distance that 99 % of the
            images lie within that the discriminant was fitted to; above 1 it looks like none of them.
        orientation: the entry of :data:`FLIPS` that fits the atlas best.
        agreement: share of the intensities' variance that the atlas's tissues explain in that orientation.
        shared: mutual information with the study's reference, in nats; None where they were not compared.
        mirrored_against: a sequence of the study that this one fits better mirrored left to right; "" where none does.
    """

    sequence: str
    probabilities: dict[str, float]
    distance: float
    orientation: str
    agreement: float
    shared: float | None = None
    mirrored_against: str = ""

    @property
    def confidence(self) -> float:
        """Probability of :attr:`sequence`, lowered where the image looks like no brain MR that is known."""
        return self.probability_of(self.sequence)

    def probability_of(self, sequence: str) -> float:
        """Probability of a sequence, lowered as :attr:`confidence` is."""
        familiar = np.clip(2.0 - self.distance, 0.0, 1.0) * np.clip(self.agreement / LEAST_AGREEMENT, 0.0, 1.0)
        return self.probabilities[sequence] * float(familiar)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recognition:
        """From what :meth:`to_dict` gave."""
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__ if name in fields})

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, rounded."""
        return {
            "sequence": self.sequence,
            "confidence": round(self.confidence, 3),
            "probabilities": {name: round(p, 4) for name, p in self.probabilities.items()},
            "distance": round(self.distance, 3),
            "orientation": self.orientation,
            "agreement": round(self.agreement, 3),
            "shared": None if self.shared is None else round(self.shared, 3),
            "mirrored_against": self.mirrored_against,
        }


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Linear discriminant: one Gaussian per sequence, one covariance for all.

    Attributes:
        sequences: names.
        centre, scale: (F,) standardise the figures.
        means: (n, F) of the standardised figures; precision: (F, F), inverse of their covariance.
        reach: distance (Mahalanobis, to the nearest mean) that 99 % of the fitted images lie within.
    """

    sequences: tuple[str, ...]
    centre: np.ndarray
    scale: np.ndarray
    means: np.ndarray
    precision: np.ndarray
    reach: float

    @classmethod
    def fitted(cls, figures: np.ndarray, names: list[str], weights: np.ndarray, shrinkage: float) -> Discriminant:
        """Fit to figures (N, F) of images of the named sequences; ``shrinkage`` mixes the identity in."""
        sequences = tuple(sorted(set(names)))
        total = weights / weights.sum()
        centre = total @ figures
        # Some figures are constant: the median is 0 in units of the quartiles.
        scale = np.maximum(np.sqrt(total @ (figures - centre) ** 2), 0.01)
        x, label = (figures - centre) / scale, np.array([sequences.index(n) for n in names])
        own = [label == n for n in range(len(sequences))]
        means = np.stack([np.average(x[o], axis=0, weights=weights[o]) for o in own])
        inner = x - means[label]
        covariance = (inner * total[:, None]).T @ inner
        covariance = (1 - shrinkage) * covariance + shrinkage * np.eye(len(centre))
        model = cls(sequences, centre, scale, means, np.linalg.inv(covariance), 1.0)
        away = np.sqrt([model.squared(row).min() for row in figures])
        return cls(sequences, centre, scale, means, model.precision, float(np.quantile(away, 0.99)))

    def squared(self, figures: np.ndarray) -> np.ndarray:
        """(n,) squared distances of one image's figures (F,) to the sequences."""
        away = (figures - self.centre) / self.scale - self.means
        return np.einsum("nf,fg,ng->n", away, self.precision, away)

    def probabilities(self, figures: np.ndarray) -> np.ndarray:
        """(n,) posterior probabilities, every sequence being as likely beforehand."""
        score = -0.5 * self.squared(figures)
        share = np.exp(score - score.max())
        return share / share.sum()

    def to_json(self) -> str:
        """Text that :meth:`from_json` reads."""
        arrays = {name: np.round(getattr(self, name), 5).tolist() for name in ("centre", "scale", "means", "precision")}
        return json.dumps({"sequences": self.sequences, **arrays, "reach": round(self.reach, 4)})

    @classmethod
    def from_json(cls, text: str) -> Discriminant:
        """What :meth:`to_json` wrote."""
        read = json.loads(text)
        arrays = {name: np.array(read[name]) for name in ("centre", "scale", "means", "precision")}
        return cls(tuple(read["sequences"]), **arrays, reach=read["reach"])


def recognise(
    array: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float], ways: Sequence[str] = tuple(FLIPS)
) -> Recognition:
    """Recognise a prepared image.

    Args:
        array: (K, J, I) on a canonical grid (k upwards, j backwards, i to the left), any units.
        mask: bool (K, J, I), the brain.
        spacing: (i, j, k) in mm.
        ways: how the head may lie, "upright" among them.
    """
    model = discriminant()
    fits = {name: placed(array, mask, spacing, FLIPS[name]) for name in ways}
    orientation = max(fits, key=lambda name: fits[name].agreement)
    if fits[orientation].agreement < CLEARER * fits["upright"].agreement:
        orientation = "upright"
    own = figures_of(fits[orientation])
    found = model.probabilities(own)
    distance = float(np.sqrt(model.squared(own).min())) / model.reach
    probabilities = {name: float(p) for name, p in zip(model.sequences, found, strict=True)}
    best = max(probabilities, key=lambda name: probabilities[name])
    return Recognition(best, probabilities, distance, orientation, fits[orientation].agreement)


@lru_cache(maxsize=1)
def discriminant() -> Discriminant:
    """The discriminant that is shipped."""
    return Discriminant.from_json(resource_path("Recognition", "brain-mr.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, eq=False)
class Placed:
    """An image laid over the atlas.

    Attributes:
        values: the image's values inside its mask, z-scored (V,).
        sampled: (K, J, I) z-scored values on the 2 mm atlas, inside: bool (K, J, I), where it has some.
        agreement: share of the variance that the atlas's tissues explain, times the Dice of the two brains.
    """

    values: np.ndarray
    sampled: np.ndarray
    inside: np.ndarray
    agreement: float


def placed(
    array: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float], reverse: tuple[int, ...] = ()
) -> Placed:
    """Lay an image over the atlas, some of its axes reversed.

    Front, back and sides of the brains are laid over each other. Where a mask ends below, and how much of the vertex
    it covers, differs from study to study: shift and scale along k are those at which the atlas's tissues explain
    most of the intensities.
    """
    array, mask = (np.flip(array, reverse), np.flip(mask, reverse)) if reverse else (array, mask)
    values = array[mask].astype(np.float32)
    values = (values - values.mean()) / (values.std() + 1e-6)
    scored = np.zeros(array.shape, np.float32)
    scored[mask] = values
    # The darkest and brightest voxels are vessels and rims, and would outweigh the tissues.
    clipped = np.clip(scored, *np.quantile(values, (0.01, 0.99)))
    brain, tissue = (_regions()[name][::_STEP, ::_STEP, ::_STEP] for name in ("brain", "tissue"))
    box = _box(mask)
    best, found = -1.0, (0.0, 1.0)
    # Rows and columns are the same at every scale and shift: taken once, a sixth of the time.
    columns = _taken(clipped, mask, _across(box, _STEP))
    for scale in SCALES:
        for shift in SHIFTS:
            agreement = _agreement(*_taken(*columns, {0: _along(box, spacing, shift, scale, _STEP)}), brain, tissue)
            if agreement > best:
                best, found = agreement, (shift, scale)
    take = _across(box, 1) | {0: _along(box, spacing, *found, 1)}
    sampled, inside = _taken(scored, mask, take)
    return Placed(values, sampled, inside, best)


def _agreement(z: np.ndarray, inside: np.ndarray, brain: np.ndarray, tissue: np.ndarray) -> float:
    use = inside & brain
    overlap = 2 * float(use.sum()) / max(float(inside.sum() + brain.sum()), 1.0)
    z, t = z[use], tissue[use]
    if len(z) < 100 or z.std() < 1e-6:
        return 0.0
    counts = np.bincount(t).astype(float)
    means = np.bincount(t, z) / np.maximum(counts, 1)
    return overlap * float((counts * (means - z.mean()) ** 2).sum() / (len(z) * z.var()))


def _across(ours: _Boxes, step: int) -> dict[int, np.ndarray]:
    """Axis -> index of the image, whose mask has the box ``ours``, for every ``step``-th voxel of the atlas along j and
    i; it may lie outside."""
    index = {}
    for axis in (1, 2):
        first = _regions()["box"][axis][0]
        places = ours[axis][0] + (np.arange(_regions()["brain"].shape[axis]) - first) * _voxels_across(ours, axis)
        index[axis] = np.rint(places[::step]).astype(int)
    return index


def _along(ours: _Boxes, spacing: tuple[float, float, float], shift: float, scale: float, step: int) -> np.ndarray:
    """As :func:`_across`, along k."""
    width = float(np.mean([_voxels_across(ours, 1) * spacing[1], _voxels_across(ours, 2) * spacing[0]]))
    top = ours[0][1] + shift / spacing[2]
    places = top + (np.arange(_regions()["brain"].shape[0]) - _regions()["box"][0][1]) * (scale * width / spacing[2])
    return np.rint(places[::step]).astype(int)


def _voxels_across(ours: _Boxes, axis: int) -> float:
    """Voxels of the image for one of the atlas, along j or i."""
    (low, high), (first, last) = ours[axis], _regions()["box"][axis]
    return (high - low) / max(last - first, 1)


def _taken(array: np.ndarray, mask: np.ndarray, index: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask at indices along some axes, and nothing where they lie outside."""
    for axis, places in index.items():
        size = mask.shape[axis]
        there = ((places >= 0) & (places < size)).reshape([-1 if a == axis else 1 for a in range(3)])
        inside = np.clip(places, 0, size - 1)
        array, mask = array.take(inside, axis), mask.take(inside, axis) & there
    return array, mask


def figures_of(image: Placed) -> np.ndarray:
    """(F,) the figures that tell sequences apart, independent of offset and scale of the intensities.

    Levels stand there twice, in units of the standard deviation and of the quartiles, which a bright tumour does not
    stretch; large ones are squashed, since how bright the brightest voxels are tells little.
    """
    regions, z = _regions(), image.sampled
    thinned = image.values[:: max(1, len(image.values) // 200_000)]
    levels = np.quantile(thinned, QUANTILES).tolist()
    levels += [_mean(z, weight * image.inside) for weight in regions["means"]]
    for region, shares in regions["quantiles"]:
        chosen = z[region & image.inside]
        levels += np.quantile(chosen, shares).tolist() if len(chosen) > 20 else [0.0] * len(shares)
    low, middle, high = np.quantile(thinned, (0.25, 0.5, 0.75))
    white = regions["means"][-1] * image.inside
    spread = np.sqrt(_mean((z - _mean(z, white)) ** 2, white))
    skewness = float(np.mean(np.clip(thinned, -4, 6) ** 3))
    robust = (np.array(levels) - middle) / max(high - low, 1e-3)
    return np.arcsinh(1.5 * np.array([*levels, *robust, spread, spread / max(high - low, 1e-3), skewness]))


def _box(mask: np.ndarray) -> _Boxes:
    """(first, last) of the mask along each axis; all of it where it is empty."""
    found = []
    for axis in range(3):
        along = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        found.append((int(along[0]), int(along[-1])) if len(along) else (0, mask.shape[axis] - 1))
    return found


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    total = float(weight.sum())
    return float((values * weight).sum() / total) if total > 0 else 0.0


@lru_cache(maxsize=1)
def _regions() -> dict[str, Any]:
    """What is read where on the 2 mm atlas."""
    import SimpleITK as sitk

    atlas = load_atlas()
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(
            sitk.GetImageFromArray(atlas.brain.astype(np.uint8)), insideIsPositive=True, squaredDistance=False
        )
    )
    depth = distance * 2.0
    i = np.arange(atlas.brain.shape[2]) * atlas.grid.spacing[0] + atlas.grid.origin[0]
    middle = np.abs(i)[None, None, :] < 7
    j = np.arange(atlas.brain.shape[1])
    back = j[None, :, None] > np.flatnonzero(atlas.brain.any((0, 2))).mean()
    ventricles = (atlas.csf > 0.6) & (depth > 26)
    shell = (depth > 0) & (depth < 5)
    tissue = np.argmax([atlas.csf, atlas.gm, atlas.wm], axis=0)
    # Ventricles and the fluid of sulci are told apart: sulci are never where the atlas has them.
    tissue = np.where(ventricles, 3, tissue)
    return {
        "brain": atlas.brain,
        "box": _box(atlas.brain),
        "tissue": tissue,
        "means": [
            (atlas.csf * (depth > 0)).astype(np.float32),
            ventricles.astype(np.float32),
            (atlas.gm * (depth < 15)).astype(np.float32),
            (atlas.gm * (depth > 30)).astype(np.float32),
            shell.astype(np.float32),
            ((atlas.wm > 0.9) & (depth > 8)).astype(np.float32),
        ],
        "quantiles": [
            (ventricles, (0.1, 0.5, 0.9, 0.98)),
            (shell, (0.05, 0.5, 0.95, 0.995)),
            (shell & middle & back, (0.5, 0.9, 0.98)),
            ((atlas.wm > 0.9) & (depth > 8), (0.1, 0.9)),
        ],
    }
