"""Detail: what a synthesised image looks like in the finest structures, taken from the images it was made of.

A network that draws on a coarse working grid gives the contrast of a sequence, not its sharpness. Within a few
millimetres that contrast is nearly a linear function of the intensities that are there, and the function, unlike the
drawing, is smooth: fitted on the working grid, it is applied to the inputs in their own resolution (He, Sun and Tang,
Guided Image Filtering, PAMI 2013, with several guides; the coarse fit is their Fast Guided Filter, arXiv 1505.00996).

Between sequences that show alike (T1 and T1Gd) the function is nearly the same in all of a healthy tissue, and what the
drawing says of it in all of the brain is worth more than what it says within a few millimetres: one function per tissue
is fitted to all of it. Of T2 from T1, say, that is not so: on persons that a model never saw it costs .4 to 2.3 dB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..parallel import in_parallel
from ..preprocessing import Box, PreparedStudy
from ..preprocessing.resampling import around
from ..preprocessing.smoothing import smooth
from ..progress import Progress

_LEAST_WEIGHT = 1e-3
"""Farther outside the mask, where less of it is seen, there is no model."""
_AT_ONCE = 1 << 17
"""Voxels whose products are held at the same time."""
_STAGE, _MESSAGE = "results", "detail of the synthesised images"
_LEAST_FIELD = 1e-3
"""Where a bias field is not known it is taken for this; nothing is drawn there."""


@dataclass(frozen=True)
class Detail:
    """How closely a synthesised image follows the structures of its inputs.

    Attributes:
        sigma_mm: of the Gaussian within which a linear model is fitted.
        epsilon: variance of normalised intensities that counts as noise: what varies less is not followed.
        tissue_share: target -> from 0 (as where it is not named) to 1, how far the linear model of a voxel of healthy
            tissue is that of its tissue in all of the brain, and no longer that of its neighbourhood.
    """

    sigma_mm: float
    epsilon: float
    tissue_share: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Detail | None:
        """What a bundle states, or None."""
        rule = card.get("detail")
        if rule is None:
            return None
        shares = {target: float(share) for target, share in rule.get("tissue_share", {}).items()}
        return cls(float(rule["sigma_mm"]), float(rule["epsilon"]), shares)

    def by_tissue(self, targets: Iterable[str]) -> tuple[str, ...]:
        """The targets for which it matters where the tissues are."""
        return tuple(target for target in targets if self.tissue_share.get(target))

    def model(
        self,
        image: np.ndarray,
        guides: Mapping[str, np.ndarray],
        mask: np.ndarray,
        spacing: tuple[float, float, float],
        target: str = "",
        tissues: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> LinearModel:
        """The linear function of the guides that comes nearest to an image around each voxel and, as far as
        ``tissue_share`` says, in all of its tissue.

        Args:
            image: (K, J, I) float32, normalised.
            guides: name -> (K, J, I) float32, normalised, at least one.
            mask: bool (K, J, I), the voxels that count.
            spacing: (i, j, k) in mm.
            target: the sequence that the image shows.
            tissues: probabilities of the healthy tissues (T, K, J, I); what is missing to 1 is lesion, which has only
                the function of its neighbourhood. None where there is no segmentation: neighbourhoods alone.
            progress: reports stage "results" and cancels.

        Raises:
            Cancelled: the user asked to stop.
        """
        progress = progress or Progress()
        if tissues is None or not self.by_tissue([target]):
            return self._around(image, guides, mask, spacing, progress)
        around = self._around(image, guides, mask, spacing, progress.part(0.0, 0.9))
        progress(_STAGE, 0.9, _MESSAGE)
        healthy = np.clip(tissues[:, mask].sum(axis=0), 0, 1)
        within = self._within(image[mask], {n: g[mask] for n, g in guides.items()}, tissues[:, mask], healthy)
        return around.towards(within, self.tissue_share[target] * healthy, mask)

    def _around(
        self,
        image: np.ndarray,
        guides: Mapping[str, np.ndarray],
        mask: np.ndarray,
        spacing: tuple[float, float, float],
        progress: Progress,
    ) -> LinearModel:
        """That of each neighbourhood: the guided filter for a guide of several channels, with a Gaussian window."""
        variance = [(self.sigma_mm / mm) ** 2 for mm in spacing[::-1]]
        everything = tuple(slice(0, n) for n in mask.shape)
        box = around(mask, everything, 3 * round(float(np.sqrt(max(variance))) + 0.5)) or everything
        local = _LocalMeans(mask[box], variance)
        drawn, inputs = image[box], [guide[box] for guide in guides.values()]
        level, *levels = local.of([(a,) for a in (drawn, *inputs)], progress.part(0.0, 0.2))
        pairs = [(a, b) for n, a in enumerate(inputs) for b in inputs[: n + 1]]
        squares = iter(local.of(pairs, progress.part(0.2, 0.5)))
        spread = [[(next(squares) - a * b)[local.mask] for b in levels[: n + 1]] for n, a in enumerate(levels)]
        for n, row in enumerate(spread):
            row[n] += np.float32(self.epsilon)
        products = local.of([(drawn, a) for a in inputs], progress.part(0.5, 0.7))
        shared = [(product - level * a)[local.mask] for product, a in zip(products, levels, strict=True)]
        slopes = [_placed(values, local.mask, local.mask.shape) for values in _solved(spread, shared)]
        offset = level - sum(slope * a for slope, a in zip(slopes, levels, strict=True))
        means = local.of([(a,) for a in (*slopes, offset)], progress.part(0.7, 1.0))
        *slopes, offset = (_placed(values, box, mask.shape) for values in means)
        return LinearModel(dict(zip(guides, slopes, strict=True)), offset)

    def _within(
        self, image: np.ndarray, guides: Mapping[str, np.ndarray], tissues: np.ndarray, healthy: np.ndarray
    ) -> LinearModel:
        """That of each tissue in all of the brain, mixed as the tissues are: weighted least squares.

        Args:
            image, guides: values in the mask (N,).
            tissues: (T, N). healthy: their sum, (N,).
        """
        shares = (tissues / np.maximum(healthy, _LEAST_WEIGHT)).T  # (N, T)
        terms = np.stack([np.ones_like(image), *guides.values()], axis=1)  # (N, 1 + guides)
        columns = shares.shape[1] * terms.shape[1]
        matrix, right = np.zeros((columns, columns)), np.zeros(columns)
        for start in range(0, len(image), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            rows = (shares[part, :, None] * terms[part, None]).reshape(-1, columns)
            weighted = rows * healthy[part, None]
            matrix += weighted.T @ rows
            right += weighted.T @ image[part]
        # A slope has the noise of its guide against it; a tissue that is nowhere has the function 0.
        noise = np.tile([0.0, *[self.epsilon] * len(guides)], (shares.shape[1], 1))
        seen = (healthy @ shares)[:, None]
        matrix[np.diag_indices(columns)] += (noise * seen + 1e-6 * max(len(image), 1)).ravel()
        found = np.linalg.solve(matrix, right).reshape(shares.shape[1], -1).astype(np.float32)
        offset, *slopes = (shares @ found).T
        return LinearModel(dict(zip(guides, slopes, strict=True)), offset)

    def refined(
        self,
        image: np.ndarray,
        guides: Mapping[str, np.ndarray],
        mask: np.ndarray,
        spacing: tuple[float, float, float],
        target: str = "",
        tissues: np.ndarray | None = None,
    ) -> np.ndarray:
        """An image (K, J, I) that follows its guides, on their common grid; outside the mask as it was."""
        return np.where(mask, self.model(image, guides, mask, spacing, target, tissues).at(guides), image)


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear function of guides for every voxel, continued a little beyond the mask that it was fitted in.

    Attributes:
        slopes: guide -> (K, J, I) float32.
        offset: (K, J, I) float32.
    """

    slopes: Mapping[str, np.ndarray]
    offset: np.ndarray

    def at(self, guides: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its value where the guides have these."""
        return self.offset + sum(slope * guides[name] for name, slope in self.slopes.items())

    def towards(self, other: LinearModel, share: np.ndarray, mask: np.ndarray) -> LinearModel:
        """This function, of which a share (N,) of each voxel of a mask is another one, whose values are (N,)."""

        def mixed(own: np.ndarray, others: np.ndarray) -> np.ndarray:
            values = own.copy()
            values[mask] += share * (others - own[mask])
            return values

        slopes = {name: mixed(slope, other.slopes[name]) for name, slope in self.slopes.items()}
        return LinearModel(slopes, mixed(self.offset, other.offset))

    def through(self, move: Callable[[np.ndarray], np.ndarray]) -> LinearModel:
        """The same function on another grid."""
        return LinearModel({name: move(slope) for name, slope in self.slopes.items()}, move(self.offset))


class _LocalMeans:
    """Means over the neighbourhood of each voxel of what a mask holds.

    Args:
        mask: bool (K, J, I).
        variance: of the Gaussian along (k, j, i), in voxels squared.
    """

    def __init__(self, mask: np.ndarray, variance: Sequence[float]) -> None:
        self.mask, self._variance = mask, variance
        weight = smooth(mask.astype(np.float32), variance)
        self._known = weight > _LEAST_WEIGHT
        self._weight = np.where(self._known, weight, np.float32(1))

    def of(self, products: Sequence[tuple[np.ndarray, ...]], progress: Progress) -> list[np.ndarray]:
        """Those of products of volumes (K, J, I), float32; 0 where the mask is too far away."""

        def mean(factors: tuple[np.ndarray, ...], progress: Progress) -> np.ndarray:
            progress(_STAGE, 0.0, _MESSAGE)
            values = factors[0] if len(factors) == 1 else np.multiply(*factors)
            values = smooth(np.where(self.mask, values, np.float32(0)), self._variance)
            values /= self._weight
            values[~self._known] = 0
            return values

        return in_parallel(mean, products, progress)


def guides_of(prepared: PreparedStudy, target: str) -> dict[str, np.ndarray]:
    """The inputs whose structures a synthesised image may follow, normalised on the working grid: not the sequence
    itself, and none that covers only a part of the brain."""
    partial = prepared.seen.keys() | prepared.shown.keys()
    return {name: image for name, image in prepared.images.items() if name != target and name not in partial}


def on_first_input(
    prepared: PreparedStudy, model: LinearModel, target: str, box: Box, progress: Progress | None = None
) -> np.ndarray:
    """Intensities of a synthesised image, float32, in a part (k, j, i) of the first input, with the guides in their own
    resolution.

    Args:
        model: fitted on the working grid.
        target: the sequence that the image shows; its intensities are those of :meth:`PreparedStudy.units_of`.
        progress: reports and cancels.

    Raises:
        Cancelled: the user asked to stop.
    """
    progress = progress or Progress()
    first = prepared.first
    evenly = replace(prepared, bias={})  # the fields are known on the working grid, and brought here by themselves

    def here(values: np.ndarray) -> np.ndarray:
        progress(_STAGE, 0.0, _MESSAGE)
        return prepared.to_part(values, first, box)

    def field(name: str | None) -> np.ndarray | float:
        return here(prepared.bias[name]) if name in prepared.bias else 1.0

    def guide(name: str) -> np.ndarray:
        values = prepared.input_on(name, first, box)
        return evenly.normalize(values / np.maximum(field(name), _LEAST_FIELD), name)

    drawn = model.through(here).at({name: guide(name) for name in model.slopes})
    drawn = evenly.denormalize(drawn, target) * field(prepared.units_of(target))
    lowest, outside = prepared.least(target)
    # At the rim, voxels that the mask fills in part: as much of them is air.
    share = here(prepared.mask.astype(np.float32))
    return (outside + share * (np.maximum(drawn, lowest) - outside)).astype(np.float32)


def _placed(values: np.ndarray, where: np.ndarray | Box, shape: tuple[int, ...]) -> np.ndarray:
    """Values in their place of a volume that is 0 elsewhere, float32."""
    whole = np.zeros(shape, np.float32)
    whole[where] = values
    return whole


def _solved(matrix: list[list[np.ndarray]], right: list[np.ndarray]) -> list[np.ndarray]:
    """Solutions of many small positive definite systems at once, by elimination.

    Args:
        matrix: the lower triangle, ``matrix[n][m]`` (N,) of row n and column m <= n.
        right: one (N,) per row.
    """
    rows, right = [[value.copy() for value in row] for row in matrix], [value.copy() for value in right]
    size = len(rows)
    for pivot in range(size):
        for n in range(pivot + 1, size):
            factor = rows[n][pivot] / rows[pivot][pivot]
            for m in range(pivot + 1, n + 1):
                rows[n][m] -= factor * rows[m][pivot]
            right[n] -= factor * right[pivot]
    for n in reversed(range(size)):
        for m in range(n + 1, size):
            right[n] -= rows[m][n] * right[m]
        right[n] /= rows[n][n]
    return right
