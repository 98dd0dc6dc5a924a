"""Volumes through a system: slice by slice, in batches, every network step open to cancellation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..progress import Progress
from ..systems.base import Factors, System

STAGE = "network"


@dataclass(frozen=True)
class Wanted:
    """What to compute.

    Attributes:
        segment: class probabilities of the fused anatomy.
        targets: sequences to synthesise.
        styles: target -> modality factor (Z,) to use instead of its default style.
        factors: anatomy, modality factor and self-reconstruction of each sequence.
        cross: every anatomy in every appearance.
    """

    segment: bool = True
    targets: tuple[str, ...] = ()
    styles: Mapping[str, np.ndarray] = field(default_factory=dict)
    factors: bool = False
    cross: bool = False


@dataclass
class Volumes:
    """What came out, on the working grid (K, J, I); 0 outside the mask.

    Attributes:
        probabilities: (L, K, J, I) or None; outside the mask class 0 has probability 1.
        anatomy: sequence -> (C, K, J, I).
        modality: sequence -> (Z,), the mean over slices, weighted by the area of the mask.
        rebuilt: (sequence of the anatomy, sequence of the appearance) -> normalised image.
        synthesized: target -> normalised image.
    """

    probabilities: np.ndarray | None = None
    anatomy: dict[str, np.ndarray] = field(default_factory=dict)
    modality: dict[str, np.ndarray] = field(default_factory=dict)
    rebuilt: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    synthesized: dict[str, np.ndarray] = field(default_factory=dict)


class Engine:
    """Runs a system over volumes.

    Args:
        system: in evaluation mode, on the device to use.
        batch_size: slices at once; halved as often as memory demands.
        notes: receives a sentence whenever memory ran short.
    """

    def __init__(self, system: System, batch_size: int, notes: Callable[[str], None]) -> None:
        self.system = system
        self.batch_size = batch_size
        self.notes = notes
        self.device = next(system.parameters()).device

    def run(self, images: Mapping[str, np.ndarray], mask: np.ndarray, wanted: Wanted, progress: Progress) -> Volumes:
        """Encode, fuse, segment and decode.

        Args:
            images: sequence -> (K, J, I) float32, normalised, background 0.
            mask: (K, J, I) bool.
            wanted: what to compute.
            progress: stage "network".

        Raises:
            Cancelled: within a batch.
            InputError: not even one slice fits into memory, or the mask is empty.
        """
        slices = np.flatnonzero(mask.any(axis=(1, 2)))
        if not len(slices):
            raise InputError("No brain was found in the input; check the images or give a brain mask.")
        store = _Store(self.system, mask, wanted, tuple(images))
        done = 0
        while done < len(slices):
            batch = slices[done : done + self.batch_size]
            report = progress.part(done / len(slices), (done + len(batch)) / len(slices))
            try:
                self._batch(images, mask, batch, wanted, store, report)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink()
                continue
            done += len(batch)
        progress(STAGE, 1.0, "finished the slices")
        return store.finish()

    def _shrink(self) -> None:
        """React to memory running out: smaller batches, then the CPU, then a sentence."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            self.notes(f"Memory ran short on {self.device}; went on with {self.batch_size} slices at once.")
        elif self.device.type != "cpu":
            self.notes(f"Memory ran out on {self.device}; went on with the CPU.")
            self.device = torch.device("cpu")
            self.system.to(self.device)
        else:
            raise InputError("There is not enough memory for one slice; close other programs or use a smaller image.")

    @torch.inference_mode()
    def _batch(
        self,
        images: Mapping[str, np.ndarray],
        mask: np.ndarray,
        batch: np.ndarray,
        wanted: Wanted,
        store: _Store,
        progress: Progress,
    ) -> None:
        names = list(images)
        steps = 2 * len(names) + 2
        at = f"slices {batch[0] + 1} to {batch[-1] + 1} of {len(mask)}"
        inside = self._tensor(mask[batch][:, None].astype(np.float32))
        parts = []
        for n, name in enumerate(names):
            progress(STAGE, n / steps, f"{name}, {at}")
            block = neighbours(images[name], batch, self.system.capabilities.slices)
            parts.append(self.system.encode({name: self._tensor(block)}, inside))
        factors = Factors.joined(parts)
        if self.system.capabilities.aligns:
            factors = self.system.align(factors, names[0])
        # Everything is computed before anything is stored: a batch that runs out of memory is repeated.
        results = _BatchResults(batch)
        if wanted.segment:
            progress(STAGE, len(names) / steps, f"segmenting {at}")
            results.probabilities = self.system.segment(self.system.fuse(factors)).softmax(dim=1)
        if wanted.targets:
            progress(STAGE, (len(names) + 1) / steps, f"synthesising {at}")
            anatomy = self.system.synthesis_anatomy(factors)
            styles = [self._style(target, wanted, len(batch)) for target in wanted.targets]
            decoded = self.system.decode_styles(anatomy, styles)
            results.synthesized = dict(zip(wanted.targets, decoded, strict=True))
        if wanted.factors or wanted.cross:
            for n, source in enumerate(names):
                progress(STAGE, (len(names) + 2 + n) / steps, f"rebuilding from {source}, {at}")
                looks = [look for look in names if (look == source or wanted.cross)]
                decoded = self.system.decode_styles(factors.anatomy[source], [factors.modality[x] for x in looks])
                results.rebuilt.update({(source, look): d for look, d in zip(looks, decoded, strict=True)})
            maps = {n: self.system.anatomy_maps(s, inside.shape[-2:]) for n, s in factors.anatomy.items()}
            results.factors = Factors(maps, factors.modality)
        store.add(results)

    def _style(self, target: str, wanted: Wanted, count: int) -> Tensor | str:
        if target in wanted.styles:
            return self._tensor(np.tile(wanted.styles[target][None].astype(np.float32), (count, 1)))
        return target

    def _tensor(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if tensor.ndim == 4:
            tensor = pad_to_multiple(tensor, self.system.capabilities.size_multiple)
        return tensor.to(self.device)


def neighbours(volume: np.ndarray, slices: np.ndarray, count: int) -> np.ndarray:
    """(B, count, J, I): each slice with its neighbours below and above; the border slice is repeated."""
    offsets = np.arange(count) - count // 2
    index = np.clip(slices[:, None] + offsets[None], 0, len(volume) - 1)
    return volume[index]


def pad_to_multiple(tensor: Tensor, multiple: int) -> Tensor:
    """(B, S, H, W) padded with zeros at the end of H and W to a multiple."""
    height, width = tensor.shape[-2:]
    extra = (0, -width % multiple, 0, -height % multiple)
    return torch.nn.functional.pad(tensor, extra) if any(extra) else tensor


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


@dataclass
class _BatchResults:
    """Tensors of one batch, still on the device and padded."""

    slices: np.ndarray
    probabilities: Tensor | None = None
    synthesized: dict[str, Tensor] = field(default_factory=dict)
    rebuilt: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    factors: Factors | None = None  # the anatomies as they are shown


class _Store:
    """Collects batches into volumes; decoded images are averaged where the blocks of adjacent slices overlap."""

    def __init__(self, system: System, mask: np.ndarray, wanted: Wanted, names: Sequence[str]) -> None:
        abilities = system.capabilities
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
            pairs = [(a, b) for a in names for b in names if a == b or wanted.cross]
            self.volumes.rebuilt = {pair: np.zeros(mask.shape, np.float32) for pair in pairs}

    def add(self, results: _BatchResults) -> None:
        """Store a batch."""
        volumes, slices = self.volumes, results.slices
        inside = self.mask[slices]
        if results.probabilities is not None:
            values = self._numpy(results.probabilities)
            background = np.zeros(values.shape[1], np.float32)
            background[0] = 1.0
            values = np.where(inside[:, None], values, background[None, :, None, None])
            volumes.probabilities[:, slices] = values.transpose(1, 0, 2, 3)
        for name, tensor in results.synthesized.items():
            self._add_block(volumes.synthesized[name], tensor, slices)
        for pair, tensor in results.rebuilt.items():
            self._add_block(volumes.rebuilt[pair], tensor, slices)
        if results.factors is not None:
            area = inside.sum(axis=(1, 2)).astype(np.float64)
            self.area += area.sum()
            for name, tensor in results.factors.anatomy.items():
                volumes.anatomy[name][:, slices] = (self._numpy(tensor) * inside[:, None]).transpose(1, 0, 2, 3)
            for name, tensor in results.factors.modality.items():
                volumes.modality[name] += area @ tensor.detach().cpu().double().numpy()
        for offset in self._offsets():
            for k in self._targets(slices, offset):
                self.counts[k] += 1.0

    def finish(self) -> Volumes:
        """The volumes, averaged and masked."""
        weight = (self.mask / np.maximum(self.counts, 1.0)[:, None, None]).astype(np.float32)
        for images in (self.volumes.synthesized, self.volumes.rebuilt):
            for volume in images.values():
                volume *= weight
        for name in self.volumes.modality:
            self.volumes.modality[name] = (self.volumes.modality[name] / max(self.area, 1.0)).astype(np.float32)
        return self.volumes

    def _offsets(self) -> range:
        return range(-(self.slices // 2), self.slices - self.slices // 2)

    def _targets(self, slices: np.ndarray, offset: int) -> list[int]:
        """Where a neighbour's output belongs; beyond the border the border slice was the input."""
        return np.clip(slices + offset, 0, len(self.mask) - 1).tolist()

    def _add_block(self, volume: np.ndarray, tensor: Tensor, slices: np.ndarray) -> None:
        block = self._numpy(tensor)
        for channel, offset in enumerate(self._offsets()):
            for b, k in enumerate(self._targets(slices, offset)):
                volume[k] += block[b, channel]

    def _numpy(self, tensor: Tensor) -> np.ndarray:
        """(B, C, J, I) without the padding."""
        return tensor[..., : self.mask.shape[1], : self.mask.shape[2]].detach().float().cpu().numpy()
