"""Volumes of which only what lies inside a mask is held: a brain fills a quarter of its working grid."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import Any

import numpy as np


class Inside(MutableMapping[Any, np.ndarray]):
    """Volumes (K, J, I) or (C, K, J, I) by key, of one mask and with one value outside it; exact, in float32.

    What is put in loses what it has outside the mask; what is taken out is complete and the taker's own.

    Args:
        mask: bool (K, J, I); not copied, not to be changed.
        outside: the value outside the mask, or one per channel (C,).
    """

    def __init__(self, mask: np.ndarray, outside: float | np.ndarray = 0.0) -> None:
        self._mask, self._outside = mask, np.asarray(outside, np.float32)
        self._starts = np.concatenate([[0], np.cumsum(mask.sum(axis=(1, 2)))])
        self._values: dict[Hashable, np.ndarray] = {}  # (..., voxels of the mask)

    @property
    def nbytes(self) -> int:
        """Bytes of the values that are held."""
        return sum(values.nbytes for values in self._values.values())

    def begin(self, key: Hashable, *channels: int) -> None:
        """Hold zeros inside the mask, (K, J, I) or, with channels, (C, K, J, I)."""
        self._values[key] = np.zeros((*channels, int(self._starts[-1])), np.float32)

    def add(self, key: Hashable, k: int, values: np.ndarray) -> None:
        """Add (..., J, I) to a slice of a volume."""
        self._row(key, k)[...] += values[..., self._mask[k]]

    def scale(self, key: Hashable, factors: np.ndarray) -> None:
        """Multiply the slices of a volume by factors (K,)."""
        self._values[key] *= np.repeat(factors.astype(np.float32), np.diff(self._starts))

    def blank(self, key: Hashable, slices: np.ndarray) -> None:
        """Give some slices of a volume the value outside, everywhere."""
        for k in slices:
            self._row(key, k)[...] = self._outside

    def only(self, wanted: Callable[[Any], bool]) -> Inside:
        """The volumes whose keys are wanted; the memory is shared."""
        found = Inside(self._mask, self._outside)
        found._values = {key: values for key, values in self._values.items() if wanted(key)}
        return found

    def joined(self, more: Inside) -> Inside:
        """These and others of the same mask, which come first where both have a key; the memory is shared."""
        found = self.only(lambda key: True)
        found._values.update(more._values)
        return found

    def at(self, slices: np.ndarray) -> dict[Any, np.ndarray]:
        """Some slices (..., n, J, I) of every volume."""
        part = Inside(self._mask[slices], self._outside)
        for key in self._values:
            rows = [self._row(key, k) for k in slices]
            part._values[key] = np.concatenate(rows, axis=-1) if rows else self._values[key][..., :0]
        return dict(part)

    def __getitem__(self, key: Hashable) -> np.ndarray:
        values = self._values[key]
        whole = np.empty((*values.shape[:-1], *self._mask.shape), np.float32)
        whole[...] = self._outside.reshape(-1, 1, 1, 1) if self._outside.ndim else self._outside
        whole[..., self._mask] = values
        return whole

    def __setitem__(self, key: Hashable, volume: np.ndarray) -> None:
        self._values[key] = volume[..., self._mask].astype(np.float32, copy=False)

    def __delitem__(self, key: Hashable) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def _row(self, key: Hashable, k: int) -> np.ndarray:
        """The values (..., voxels) of a slice, to be changed in place."""
        return self._values[key][..., self._starts[k] : self._starts[k + 1]]
