"""Volumes through a system: slice by slice, in batches, every network step open to cancellation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from ..progress import Progress
from ..systems.factors import Factors
from .backends import Network
from .framing import Frame

STAGE = "network"


@dataclass(frozen=True)
class Wanted:
    """What to compute.

    Attributes:
        segment: class probabilities of the fused anatomy.
        targets: sequences to synthesise.
        styles: target -> modality factor (Z,) to use instead of its default style.
        factors: anatomy, modality factor and, where the system has them, self-reconstruction and domain-agnostic image
            of each sequence.
        cross: every anatomy in every appearance.
    """

    segment: bool = True
    targets: tuple[str, ...] = ()
    styles: Mapping[str, np.ndarray] = field(default_factory=dict)
    factors: bool = False
    cross: bool = False


@dataclass
class Volumes:
    """What came out, on the working grid (K, J, I). Images have the background's value outside the mask.

    Factors and what is rebuilt of them lie as their own sequence does, before any alignment: beside the input that
    they tell about. Segmentation and synthesis come from the anatomies as they lie on the first sequence.

    Attributes:
        probabilities: (L, K, J, I) or None; outside the mask class 0 has probability 1.
        anatomy: sequence -> (C, K, J, I), see :meth:`System.anatomy_maps`; 0 outside the mask.
        features: channels of the anatomy factor itself; more than C where maps stand for groups of them.
        modality: sequence -> (Z,), the mean over slices, weighted by the area of the mask.
        rebuilt: (sequence of the anatomy, sequence of the appearance) -> normalised image; appearances that the
            system can draw.
        agnostic: sequence -> domain-agnostic image, where the system has such.
        synthesized: target -> normalised image.
    """

    probabilities: np.ndarray | None = None
    anatomy: dict[str, np.ndarray] = field(default_factory=dict)
    modality: dict[str, np.ndarray] = field(default_factory=dict)
    features: int = 0
    rebuilt: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    agnostic: dict[str, np.ndarray] = field(default_factory=dict)
    synthesized: dict[str, np.ndarray] = field(default_factory=dict)


class Engine:
    """Runs a system over volumes.

    Args:
        network: what computes.
        batch_size: slices at once; halved as often as memory demands.
        notes: receives a sentence whenever memory ran short, or slices are larger than the system reads.
        background: of normalised images, outside the mask and around slices.
    """

    def __init__(
        self, network: Network, batch_size: int, notes: Callable[[str], None], background: float = 0.0
    ) -> None:
        self.network = network
        self.batch_size = batch_size
        self.notes = notes
        self.background = background

    def run(
        self,
        images: Mapping[str, np.ndarray],
        mask: np.ndarray,
        wanted: Wanted,
        progress: Progress,
        first: int | None = None,
        on_first: Callable[[np.ndarray, Volumes], None] | None = None,
    ) -> Volumes:
        """Encode, fuse, segment and decode.

        Args:
            images: sequence -> (K, J, I) float32, normalised, the background's value outside the mask.
            mask: (K, J, I) bool.
            wanted: what to compute.
            progress: stage "network".
            first: the slice that the first batch holds (what the user looks at); None starts with the lowest.
            on_first: called after the first batch with its slices and the volumes, which are unfinished elsewhere.

        Raises:
            Cancelled: within a batch.
            InputError: not even one slice fits into memory, or the mask is empty.
        """
        slices = np.flatnonzero(mask.any(axis=(1, 2)))
        if not len(slices):
            raise InputError("No brain was found in the input; check the images or give a brain mask.")
        abilities = self.network.capabilities
        self._frame = Frame(mask, abilities.size_multiple, abilities.size)
        if self._frame.lost(mask) > 0:
            height, width = self._frame.size
            self.notes(
                f"The model reads slices of {height} x {width} pixels; what lies farther from the middle, "
                f"{self._frame.lost(mask):.0%} of each slice, was left out."
            )
        store = _Store(self.network, self._frame, mask, wanted, tuple(images), self.background)
        slices = np.roll(slices, -self._start(slices, first))
        done = 0
        while done < len(slices):
            batch = slices[done : done + self.batch_size]
            report = progress.part(done / len(slices), (done + len(batch)) / len(slices))
            try:
                self._batch(images, mask, batch, wanted, store, report)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink()
                continue
            if not done and on_first is not None:
                on_first(batch, store.volumes)
            done += len(batch)
        progress(STAGE, 1.0, "finished the slices")
        return store.finish()

    def first_batch(self, mask: np.ndarray, first: int | None) -> np.ndarray:
        """The slices that :meth:`run` takes first."""
        slices = np.flatnonzero(mask.any(axis=(1, 2)))
        start = self._start(slices, first)
        return slices[start : start + self.batch_size]

    def _start(self, slices: np.ndarray, first: int | None) -> int:
        """Where among the slices the first batch begins."""
        if first is None:
            return 0
        start = int(np.searchsorted(slices, first)) - self.batch_size // 2
        return min(max(start, 0), max(len(slices) - self.batch_size, 0))

    def _shrink(self) -> None:
        """React to memory running out: smaller batches, then the CPU, then a sentence."""
        device = self.network.device
        if device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            self.notes(f"Memory ran short on {device}; went on with {self.batch_size} slices at once.")
        elif not device.startswith("cpu"):
            self.notes(f"Memory ran out on {device}; went on with the CPU.")
            self.network.place("cpu")
        else:
            raise InputError("There is not enough memory for one slice; close other programs or use a smaller image.")

    def _batch(
        self,
        images: Mapping[str, np.ndarray],
        mask: np.ndarray,
        batch: np.ndarray,
        wanted: Wanted,
        store: _Store,
        progress: Progress,
    ) -> None:
        names, network = list(images), self.network
        steps = 2 * len(names) + 2
        at = f"slices {batch[0] + 1} to {batch[-1] + 1} of {len(mask)}"
        abilities = network.capabilities
        inside = self._frame.into(mask[batch][:, None].astype(np.float32), 0.0)
        parts = []
        for n, name in enumerate(names):
            progress(STAGE, n / steps, f"{name}, {at}")
            block = self._frame.into(neighbours(images[name], batch, abilities.slices), self.background)
            parts.append(network.encode({name: block}, inside, styles=wanted.factors or wanted.cross))
        factors = Factors.joined(parts)
        there = network.align(factors, names[0]) if wanted.segment or wanted.targets else factors
        # Everything is computed before anything is stored: a batch that runs out of memory is repeated.
        results = _BatchResults(batch)
        if wanted.segment:
            progress(STAGE, len(names) / steps, f"segmenting {at}")
            results.probabilities = network.probabilities(there)
        if wanted.targets:
            progress(STAGE, (len(names) + 1) / steps, f"synthesising {at}")
            styles = [wanted.styles.get(target, target) for target in wanted.targets]
            decoded = network.decode(network.synthesis_anatomy(there), styles)
            results.synthesized = dict(zip(wanted.targets, decoded, strict=True))
        if wanted.factors or wanted.cross:
            for n, source in enumerate(names):
                progress(STAGE, (len(names) + 2 + n) / steps, f"rebuilding from {source}, {at}")
                looks = [look for look in names if look in abilities.targets and (look == source or wanted.cross)]
                if looks:
                    decoded = network.decode(factors.anatomy[source], [factors.modality[look] for look in looks])
                    results.rebuilt.update({(source, look): d for look, d in zip(looks, decoded, strict=True)})
                if abilities.agnostic:
                    results.agnostic[source] = network.agnostic_image(factors.anatomy[source], source)
            results.features = factors.anatomy[names[0]].shape[1]
            maps = {n: network.anatomy_maps(s, inside.shape[-2:]) for n, s in factors.anatomy.items()}
            results.factors = Factors(maps, factors.modality)
        store.add(results)


def neighbours(volume: np.ndarray, slices: np.ndarray, count: int) -> np.ndarray:
    """(B, count, J, I): each slice with its neighbours below and above; the border slice is repeated."""
    offsets = np.arange(count) - count // 2
    index = np.clip(slices[:, None] + offsets[None], 0, len(volume) - 1)
    return volume[index]


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in text or "can't allocate memory" in text


@dataclass
class _BatchResults:
    """Handles of one batch, still on the device and in the system's frame."""

    slices: np.ndarray
    probabilities: Any = None
    synthesized: dict[str, Any] = field(default_factory=dict)
    rebuilt: dict[tuple[str, str], Any] = field(default_factory=dict)
    agnostic: dict[str, Any] = field(default_factory=dict)
    factors: Factors | None = None  # the anatomies as they are shown
    features: int = 0


class _Store:
    """Collects batches into volumes; decoded images are averaged where the blocks of adjacent slices overlap."""

    def __init__(
        self, network: Network, frame: Frame, mask: np.ndarray, wanted: Wanted, names: Sequence[str], background: float
    ) -> None:
        abilities = network.capabilities
        self.network, self.frame, self.background = network, frame, background
        self.mask = mask
        self.slices = abilities.slices
        self.volumes = Volumes()
        self.counts = np.zeros(len(mask), np.float32)
        self.area = 0.0
        if wanted.segment:
            self.volumes.probabilities = np.zeros((len(abilities.classes), *mask.shape), np.float32)
            self.volumes.probabilities[0] = 1.0
        self.volumes.synthesized = {t: np.zeros(mask.shape, np.float32) for t in wanted.targets}
        if wanted.factors or wanted.cross:
            channels = abilities.anatomy_channels
            self.volumes.anatomy = {n: np.zeros((channels, *mask.shape), np.float32) for n in names}
            self.volumes.modality = {n: np.zeros(abilities.style_dim, np.float64) for n in names}
            pairs = [(a, b) for a in names for b in names if b in abilities.targets and (a == b or wanted.cross)]
            self.volumes.rebuilt = {pair: np.zeros(mask.shape, np.float32) for pair in pairs}
            shown = names if abilities.agnostic else ()
            self.volumes.agnostic = {n: np.zeros(mask.shape, np.float32) for n in shown}

    def add(self, results: _BatchResults) -> None:
        """Store a batch."""
        volumes, slices = self.volumes, results.slices
        inside = self.mask[slices]
        if results.probabilities is not None:
            values = self._numpy(results.probabilities, 0.0)
            known = inside & (values.sum(axis=1) > 0)
            background = np.zeros(values.shape[1], np.float32)
            background[0] = 1.0
            values = np.where(known[:, None], values, background[None, :, None, None])
            volumes.probabilities[:, slices] = values.transpose(1, 0, 2, 3)
        for kind in ("synthesized", "rebuilt", "agnostic"):
            for key, tensor in getattr(results, kind).items():
                self._add_block(getattr(volumes, kind)[key], tensor, slices)
        if results.factors is not None:
            area = inside.sum(axis=(1, 2)).astype(np.float64)
            self.area += area.sum()
            volumes.features = results.features
            for name, tensor in results.factors.anatomy.items():
                volumes.anatomy[name][:, slices] = (self._numpy(tensor, 0.0) * inside[:, None]).transpose(1, 0, 2, 3)
            for name, tensor in results.factors.modality.items():
                volumes.modality[name] += area @ self.network.array(tensor).astype(np.float64)
        for offset in self._offsets():
            for k in self._targets(slices, offset):
                self.counts[k] += 1.0

    def finish(self) -> Volumes:
        """The volumes, averaged and masked."""
        weight = (self.mask / np.maximum(self.counts, 1.0)[:, None, None]).astype(np.float32)
        for images in (self.volumes.synthesized, self.volumes.rebuilt, self.volumes.agnostic):
            for volume in images.values():
                volume *= weight
                volume[~self.mask] = self.background
        for name in self.volumes.modality:
            self.volumes.modality[name] = (self.volumes.modality[name] / max(self.area, 1.0)).astype(np.float32)
        return self.volumes

    def _offsets(self) -> range:
        return range(-(self.slices // 2), self.slices - self.slices // 2)

    def _targets(self, slices: np.ndarray, offset: int) -> list[int]:
        """Where a neighbour's output belongs; beyond the border the border slice was the input."""
        return np.clip(slices + offset, 0, len(self.mask) - 1).tolist()

    def _add_block(self, volume: np.ndarray, tensor: Any, slices: np.ndarray) -> None:
        block = self._numpy(tensor, self.background)
        for channel, offset in enumerate(self._offsets()):
            for b, k in enumerate(self._targets(slices, offset)):
                volume[k] += block[b, channel]

    def _numpy(self, tensor: Any, value: float) -> np.ndarray:
        """(B, C, J, I) as the input has them; ``value`` where the frame did not reach."""
        return self.frame.back(self.network.array(tensor), value)
