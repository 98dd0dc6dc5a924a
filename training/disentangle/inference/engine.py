"""Volumes through a system: slice by slice, in batches, every network step open to cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..progress import Progress
from ..systems.factors import Factors
from .backends import Network
from .framing import Frame
from .inside import Inside

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
        tissues: targets with which comes where healthy tissues are in what they are made of.
    """

    segment: bool = True
    targets: tuple[str, ...] = ()
    styles: Mapping[str, np.ndarray] = field(default_factory=dict)
    factors: bool = False
    cross: bool = False
    tissues: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether there is something to compute."""
        return bool(self.segment or self.targets or self.factors or self.cross)


@dataclass
class Volumes:
    """What came out, on the working grid (K, J, I). Images have the background's value outside the mask.

    Factors and what is rebuilt of them lie as their own sequence does, before any alignment: beside the input that
    they tell about. Segmentation and synthesis come from the anatomies as they lie on the first sequence. Where a
    sequence is not read, its factors are those of nothing: anatomies are 0, images have the background's value.

    Of everything but the probabilities only what lies inside the mask is held, see :class:`.inside.Inside`.

    Attributes:
        probabilities: (L, K, J, I) or None; outside the mask class 0 has probability 1.
        anatomy: sequence -> (C, K, J, I), see :meth:`System.anatomy_maps`; 0 outside the mask.
        features: channels of the anatomy factor itself; more than C where maps stand for groups of them.
        modality: sequence -> (Z,), the mean over the slices in which it is read, weighted by the area of the mask.
        rebuilt: (sequence of the anatomy, sequence of the appearance) -> normalised image; appearances that the
            system can draw.
        agnostic: sequence -> domain-agnostic image, where the system has such.
        synthesized: target -> normalised image.
        tissues: target -> (T, K, J, I), probabilities of the classes that are no lesions, the background first, as the
            network gives them; outside the mask 0.
    """

    probabilities: np.ndarray | None = None
    anatomy: Mapping[str, np.ndarray] = field(default_factory=dict)
    modality: dict[str, np.ndarray] = field(default_factory=dict)
    features: int = 0
    rebuilt: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    agnostic: Mapping[str, np.ndarray] = field(default_factory=dict)
    synthesized: Mapping[str, np.ndarray] = field(default_factory=dict)
    tissues: Mapping[str, np.ndarray] = field(default_factory=dict)

    def at(self, slices: np.ndarray) -> Volumes:
        """Some slices of everything, as copies: (..., n, J, I)."""
        cut = {kind: volumes.at(slices) for kind, volumes in vars(self).items() if isinstance(volumes, Inside)}
        known = None if self.probabilities is None else self.probabilities[:, slices]
        return replace(self, probabilities=known, **cut)


class Presence:
    """The sequences that are read in each slice: one that shows too little of a slice has nothing to say about it.

    A sequence alone is read in every slice, and where none shows enough, all are read: an answer from little is better
    than none.

    Args:
        names: sequences that are read together.
        shown: see :attr:`~disentangle.preprocessing.PreparedStudy.shown`; those of other sequences do not matter.
    """

    def __init__(self, names: Iterable[str], shown: Mapping[str, np.ndarray]) -> None:
        self.names = tuple(names)
        lacking = {name: shown[name] for name in self.names if name in shown}
        if len(lacking) == len(self.names):
            nobody = ~np.any(list(lacking.values()), axis=0)
            lacking = {name: there | nobody for name, there in lacking.items()}
        self._shown = {name: there for name, there in lacking.items() if not there.all()}

    def at(self, k: int) -> tuple[str, ...]:
        """The sequences that are read in a slice, in their order."""
        return tuple(name for name in self.names if name not in self._shown or self._shown[name][k])

    def alike(self, slices: Sequence[int] | np.ndarray) -> int:
        """How many of some slices, from the first on, are read from the same sequences as the first."""
        if not self._shown:
            return len(slices)
        first = self.at(slices[0])
        return next((n for n, k in enumerate(slices) if self.at(k) != first), len(slices))

    def absent(self, *names: str) -> np.ndarray:
        """Numbers of the slices in which one of the sequences is not read."""
        lacking = [~self._shown[name] for name in names if name in self._shown]
        return np.flatnonzero(np.any(lacking, axis=0)) if lacking else np.zeros(0, int)


class Engine:
    """Runs a system over volumes.

    Args:
        network: what computes.
        batch_size: slices at once; halved as often as memory demands.
        notes: receives a sentence whenever memory ran short, or slices are larger than the system reads.
        background: of normalised images, outside the mask and around slices.
        shown: see :attr:`~disentangle.preprocessing.PreparedStudy.shown`, of the study whose images will be run; in
            slices of which a sequence shows too little, the others answer.
    """

    def __init__(
        self,
        network: Network,
        batch_size: int,
        notes: Callable[[str], None],
        background: float = 0.0,
        shown: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.network = network
        self.batch_size = batch_size
        self.notes = notes
        self.background = background
        self.shown = shown or {}

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
            on_first: called with the slices of the first batch and what is known of them, (..., n, J, I): first with
                their probabilities, then with their factors, then with what is synthesised, each as far as it is
                wanted, before anything is rebuilt.

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
        presence = Presence(images, self.shown)
        store = _Store(self.network, self._frame, mask, wanted, presence, self.background)
        slices = np.roll(slices, -self._start(slices, first, presence))
        foretaste = None if on_first is None else _Foretaste(store, on_first)
        done = 0
        while done < len(slices):
            batch = _ascending(slices[done : done + self.batch_size])
            batch = batch[: presence.alike(batch)]
            report = progress.part(done / len(slices), (done + len(batch)) / len(slices))
            try:
                there = {name: images[name] for name in presence.at(batch[0])}
                self._batch(there, mask, batch, wanted, store, report, None if done else foretaste)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink()
                continue
            done += len(batch)
        progress(STAGE, 1.0, "finished the slices")
        return store.finish()

    def first_batch(self, names: Iterable[str], mask: np.ndarray, first: int | None) -> np.ndarray:
        """The slices that :meth:`run` takes first of images of some sequences."""
        presence, slices = Presence(names, self.shown), np.flatnonzero(mask.any(axis=(1, 2)))
        start = self._start(slices, first, presence)
        batch = slices[start : start + self.batch_size]
        return batch[: presence.alike(batch)]

    def _start(self, slices: np.ndarray, first: int | None, presence: Presence) -> int:
        """Where among the slices the first batch begins: it holds the first slice."""
        if first is None:
            return 0
        place = int(np.searchsorted(slices, first))
        own = min(place, len(slices) - 1)
        low, high = own + 1 - presence.alike(slices[own::-1]), own + presence.alike(slices[own:])
        return min(max(place - self.batch_size // 2, low), max(high - self.batch_size, low))

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
        foretaste: _Foretaste | None = None,
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
        tell = (lambda kind: None) if foretaste is None else partial(foretaste.tell, results)
        if wanted.segment:
            progress(STAGE, len(names) / steps, f"segmenting {at}")
            results.probabilities = network.probabilities(there)
            tell("probabilities")
        if wanted.factors or wanted.cross:
            results.features = factors.anatomy[names[0]].shape[1]
            maps = {n: network.anatomy_maps(s, inside.shape[-2:]) for n, s in factors.anatomy.items()}
            results.factors = Factors(maps, factors.modality)
            tell("factors")
        if wanted.targets:
            progress(STAGE, (len(names) + 1) / steps, f"synthesising {at}")
            styles = [wanted.styles.get(target, target) for target in wanted.targets]
            decoded = network.decode(network.synthesis_anatomy(there), styles)
            results.synthesized = dict(zip(wanted.targets, decoded, strict=True))
            tell("synthesized")
            if set(wanted.tissues) & set(wanted.targets):
                known = results.probabilities
                results.tissues = network.probabilities(there) if known is None else known
        if wanted.factors or wanted.cross:
            for n, source in enumerate(names):
                progress(STAGE, (len(names) + 2 + n) / steps, f"rebuilding from {source}, {at}")
                looks = [look for look in names if look in abilities.targets and (look == source or wanted.cross)]
                if looks:
                    decoded = network.decode(factors.anatomy[source], [factors.modality[look] for look in looks])
                    results.rebuilt.update({(source, look): d for look, d in zip(looks, decoded, strict=True)})
                if abilities.agnostic:
                    results.agnostic[source] = network.agnostic_image(factors.anatomy[source], source)
        store.add(results)


def _ascending(slices: np.ndarray) -> np.ndarray:
    """Slices up to where they begin anew from below: a batch shows one piece of the body."""
    falls = np.flatnonzero(np.diff(slices) < 0)
    return slices[: falls[0] + 1] if len(falls) else slices


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
    tissues: Any = None  # probabilities of all classes
    rebuilt: dict[tuple[str, str], Any] = field(default_factory=dict)
    agnostic: dict[str, Any] = field(default_factory=dict)
    factors: Factors | None = None  # the anatomies as they are shown
    features: int = 0


class _Foretaste:
    """Tells what the first batch holds as soon as it is there, each kind once: a batch may be repeated."""

    def __init__(self, store: _Store, listener: Callable[[np.ndarray, Volumes], None]) -> None:
        self._store, self._listener = store, listener
        self._told: set[str] = set()

    def tell(self, results: _BatchResults, kind: str) -> None:
        """Tell one of the results of a batch, an attribute of them."""
        if kind not in self._told:
            known = self._store.slab(_BatchResults(results.slices, **{kind: getattr(results, kind)}))
            self._told.add(kind)
            self._listener(results.slices, known)


class _Store:
    """Collects batches into volumes; decoded images are averaged where the blocks of adjacent slices overlap."""

    def __init__(
        self, network: Network, frame: Frame, mask: np.ndarray, wanted: Wanted, presence: Presence, background: float
    ) -> None:
        abilities, names = network.capabilities, presence.names
        self.network, self.frame, self.background = network, frame, background
        self.mask, self.presence = mask, presence
        self.slices = abilities.slices
        self.counts: dict[tuple[str, Any], np.ndarray] = {}  # kind of image and its key -> (K,) what was added
        self.areas = dict.fromkeys(names, 0.0)
        drawn = {kind: Inside(mask, background) for kind in ("synthesized", "rebuilt", "agnostic")}
        self.volumes = Volumes(anatomy=Inside(mask), tissues=Inside(mask), **drawn)
        self.tissues = list(abilities.tissues)
        if wanted.segment:
            self.volumes.probabilities = np.zeros((len(abilities.classes), *mask.shape), np.float32)
            self.volumes.probabilities[0] = 1.0
        for target in wanted.targets:
            drawn["synthesized"].begin(target)
            if target in wanted.tissues:
                self.volumes.tissues.begin(target, len(self.tissues))
        if wanted.factors or wanted.cross:
            for name in names:
                self.volumes.anatomy.begin(name, abilities.anatomy_channels)
            self.volumes.modality = {n: np.zeros(abilities.style_dim, np.float64) for n in names}
            for pair in [(a, b) for a in names for b in names if b in abilities.targets and (a == b or wanted.cross)]:
                drawn["rebuilt"].begin(pair)
            for name in names if abilities.agnostic else ():
                drawn["agnostic"].begin(name)

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
        if results.tissues is not None:
            for k, values in zip(slices, self._numpy(results.tissues, 0.0)[:, self.tissues], strict=True):
                for target in volumes.tissues:
                    volumes.tissues.add(target, k, values)
        for kind in ("synthesized", "rebuilt", "agnostic"):
            for key, tensor in getattr(results, kind).items():
                counts = self.counts.setdefault((kind, key), np.zeros(len(self.mask), np.float32))
                self._add_block(getattr(volumes, kind), key, counts, tensor, slices)
        if results.factors is not None:
            area = inside.sum(axis=(1, 2)).astype(np.float64)
            volumes.features = results.features
            for name, tensor in results.factors.anatomy.items():
                for k, maps in zip(slices, self._numpy(tensor, 0.0), strict=True):
                    volumes.anatomy.add(name, k, maps)
            for name, tensor in results.factors.modality.items():
                volumes.modality[name] += area @ self.network.array(tensor).astype(np.float64)
                self.areas[name] += area.sum()

    def slab(self, results: _BatchResults) -> Volumes:
        """The slices of a batch alone, (..., n, J, I), of what there is of it so far."""
        half = self.slices // 2
        low, high = max(results.slices[0] - half, 0), min(results.slices[-1] + half + 1, len(self.mask))
        names = () if results.factors is None else tuple(results.factors.anatomy)
        wanted = Wanted(results.probabilities is not None, tuple(results.synthesized), factors=bool(names))
        # Blocks reach beyond the batch as they do in the volume.
        part = _Store(self.network, self.frame, self.mask[low:high], wanted, Presence(names, {}), self.background)
        part.add(replace(results, slices=results.slices - low))
        return replace(part.finish(), rebuilt={}, agnostic={}).at(results.slices - low)

    def finish(self) -> Volumes:
        """The volumes, averaged and masked."""
        for (kind, key), counts in self.counts.items():
            volumes = getattr(self.volumes, kind)
            volumes.scale(key, 1.0 / np.maximum(counts, 1.0))
            # Blocks of the slices beside reach into those in which a sequence is not read.
            volumes.blank(key, self.presence.absent(*_read_for(kind, key)))
        for name in self.volumes.modality:
            self.volumes.modality[name] = (self.volumes.modality[name] / max(self.areas[name], 1.0)).astype(np.float32)
        return self.volumes

    def _offsets(self) -> range:
        return range(-(self.slices // 2), self.slices - self.slices // 2)

    def _targets(self, slices: np.ndarray, offset: int) -> list[int]:
        """Where a neighbour's output belongs; beyond the border the border slice was the input."""
        return np.clip(slices + offset, 0, len(self.mask) - 1).tolist()

    def _add_block(self, volumes: Inside, key: Any, counts: np.ndarray, tensor: Any, slices: np.ndarray) -> None:
        block = self._numpy(tensor, self.background)
        for channel, offset in enumerate(self._offsets()):
            for b, k in enumerate(self._targets(slices, offset)):
                volumes.add(key, k, block[b, channel])
                counts[k] += 1.0

    def _numpy(self, tensor: Any, value: float) -> np.ndarray:
        """(B, C, J, I) as the input has them; ``value`` where the frame did not reach."""
        return self.frame.back(self.network.array(tensor), value)


def _read_for(kind: str, key: Any) -> tuple[str, ...]:
    """The sequences without which there is no image of a kind (an attribute of :class:`Volumes`): a target comes from
    whichever are there."""
    return {"synthesized": (), "agnostic": (key,), "rebuilt": key}[kind]
