"""What came out of the networks, as images: in the geometry and the intensities of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..bundles import ClassInfo
from ..errors import InputError
from ..parallel import cores, in_parallel
from ..preprocessing import Box, PreparedStudy
from ..progress import Progress
from ..study import Image
from . import overview
from .detail import guides_of, on_first_input
from .labels import most_probable
from .result import Result, SequenceFactors
from .rules import Rules

if TYPE_CHECKING:
    from .engine import Volumes, Wanted
    from .run import Run

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Output:
    """Turns volumes on the working grid into images: in the space of the first input, in the inputs' intensities."""

    def __init__(self, run: Run, prepared: PreparedStudy, volumes: Volumes, wanted: Wanted) -> None:
        self.run = run
        self.prepared = prepared
        self.volumes = volumes
        self.wanted = wanted
        self.first = run.study.available[0]

    def result(self, probabilities: bool, references: Mapping[str, Image], uncertainty: bool = False) -> Result:
        """Everything as images, with the report and the pictures."""
        run = self.run
        result = Result(report={})
        with run.timed("results") as progress:
            progress("results", 0.0, "returning to the geometry of the first input")
            if self.wanted.segment:
                result.classes = run.bundle.classes
                result.segmentation, result.probabilities = self.segmentation(probabilities, progress.part(0.0, 0.4))
                if uncertainty:
                    result.uncertainty = self._entropy(self.volumes.probabilities)
                    result.lesion_uncertainty = self._lesion_uncertainty()
            progress("results", 0.4, "intensities of the synthesised images")
            drawn, share = self.volumes, progress.part(0.4, 0.8)
            result.synthesized = _each(drawn.synthesized, self._synthesized, share.part(0.0, 0.3))
            if self.wanted.factors:
                result.factors = _each(drawn.anatomy, self._factors, share.part(0.3, 0.6))
            if self.wanted.cross:
                result.cross = _each(drawn.rebuilt, self._rebuilt, share.part(0.6, 1.0))
            progress("results", 0.8, "scores and pictures")
            self._score(result, references, progress)
            progress("results", 0.95, "pictures")
            self._draw(result, progress)
            progress("results", 1.0, "done")
        result.report = run.report.to_dict(result)
        return result

    def segmentation(self, keep: bool, progress: Progress | None = None) -> tuple[Image, dict[str, Image]]:
        """Probabilities interpolated linearly, then the most probable class; few classes at once, to spare memory."""
        probabilities, kept = self.volumes.probabilities, {}
        target, classes = self.prepared.study[self.first], self.run.bundle.classes
        best, labels = np.zeros(target.array.shape, np.float32), np.zeros(target.array.shape, np.uint8)

        def on_input(info: ClassInfo, progress: Progress) -> tuple[Box | None, np.ndarray | None]:
            progress("results", 0.0, f"{info.name} in the geometry of the first input")
            volume, outside = probabilities[info.value], 1.0 if info.value == 0 else 0.0
            if keep:
                whole = self.prepared.to_input(volume, self.first, "linear", outside, masked=True)
                return (slice(None),) * 3, whole.array
            # One class of every voxel has at least the mean probability: below it, none is the best. The background is
            # certain outside the mask, and counts up to there.
            where = self.prepared.mask if info.value == 0 else volume >= 1.0 / len(probabilities)
            box = self.prepared.reached(self.first, where)
            return box, None if box is None else self.prepared.to_part(volume, self.first, box, "linear", outside)

        progress, at_once = progress or Progress(), cores()
        for start in range(0, len(classes), at_once):
            some = classes[start : start + at_once]
            share = progress.part(start / len(classes), (start + len(some)) / len(classes))
            for info, (box, values) in zip(some, in_parallel(on_input, some, share), strict=True):
                if box is not None:
                    np.copyto(labels[box], info.value, where=values > best[box])
                    np.maximum(best[box], values, out=best[box])
                if keep:
                    kept[info.name] = Image(values, target.affine)
        return Image(labels, target.affine, source="segmentation"), kept

    def _lesion_uncertainty(self) -> Image | None:
        """Entropy of whether a voxel is of a lesion, whatever its class. None where the model tells no lesions from
        healthy tissue (organs alone, say)."""
        lesions = list(self.run.network.capabilities.findings)
        if not lesions:
            return None
        # Sums of rounded probabilities may leave [0, 1].
        p = np.clip(self.volumes.probabilities[lesions].sum(axis=0), 0.0, 1.0)
        return self._entropy((p, 1.0 - p))

    def _entropy(self, probabilities: Sequence[np.ndarray]) -> Image:
        """Entropy of probabilities (K, J, I) that add up to 1; 0 where one is certain, 1 where all are alike."""
        entropy = np.zeros(self.prepared.mask.shape, np.float32)
        for values in probabilities:  # one by one, to spare memory
            entropy -= values * np.log(np.maximum(values, 1e-12))
        entropy *= self.prepared.mask / np.float32(np.log(max(len(probabilities), 2)))
        image = self.prepared.to_input(entropy, self.first, "linear", 0.0, masked=True)
        return Image(image.array, image.affine, source="uncertainty")

    def _synthesized(self, target: str, progress: Progress) -> Image:
        """In intensity units, see ``PreparedStudy.units_of``; 0 (air, where a window gives the units) outside the mask,
        and not below 0 where the units have no negative values."""
        array = self._detailed(target, progress)
        if array is None:
            values = self.prepared.denormalize(self.volumes.synthesized[target], target)
            values = bounded(self.prepared, values, self.prepared.mask, target)
            _, outside = self.prepared.least(target)
            array = self.prepared.to_input(values, self.first, "linear", outside, masked=True).array
        affine = self.prepared.study[self.first].affine
        return Image(array, affine, sequence=target, source=f"synthesised by {self.run.bundle.name}")

    def _detailed(self, target: str, progress: Progress) -> np.ndarray | None:
        """The same as it follows the structures of its inputs, (K, J, I); None where the bundle states no detail, or
        nothing can be followed."""
        detail, guides = Rules.of_card(self.run.bundle.card).detail, guides_of(self.prepared, target)
        box = self.prepared.reached(self.first)
        if detail is None or not guides or box is None:
            return None
        spacing = tuple(self.prepared.grid.spacing)
        drawn, mask = self.volumes.synthesized[target], self.prepared.mask
        tissues = self.volumes.tissues.get(target)
        model = detail.model(drawn, guides, mask, spacing, target, tissues, progress.part(0.0, 0.5))
        _, outside = self.prepared.least(target)
        array = np.full(self.prepared.study[self.first].array.shape, outside, np.float32)
        array[box] = on_first_input(self.prepared, model, target, box, progress.part(0.5, 1.0))
        self.run.report.detail[target] = list(guides)
        return array

    def _factors(self, name: str, _: Progress) -> SequenceFactors:
        channels, mask = self.volumes.anatomy[name], self.prepared.mask
        rebuilt, agnostic = self.volumes.rebuilt.get((name, name)), self.volumes.agnostic.get(name)
        winner = np.where(mask, most_probable(channels) + 1, 0).astype(np.uint8)
        return SequenceFactors(
            anatomy=[self.prepared.working_image(channel) for channel in channels],
            argmax=self.prepared.working_image(winner),
            modality=self.volumes.modality[name],
            input=self._working(self.prepared.images[name], name),
            reconstruction=None if rebuilt is None else self._working(rebuilt, name),
            agnostic=None if agnostic is None else self.prepared.working_image(agnostic),
        )

    def _rebuilt(self, pair: tuple[str, str], _: Progress) -> Image:
        """The anatomy of one sequence in the appearance of another, or of itself."""
        return self._working(self.volumes.rebuilt[pair], pair[1])

    def _working(self, volume: np.ndarray, units: str) -> Image:
        values = np.where(self.prepared.mask, self.prepared.denormalize(volume, units), 0.0).astype(np.float32)
        return self.prepared.working_image(values, units)

    def _score(self, result: Result, references: Mapping[str, Image], progress: Progress) -> None:
        from .reference import score_segmentation, score_synthesis

        quality = self.run.report.quality
        for target, reference in references.items():
            try:
                scores, difference = score_synthesis(
                    result.synthesized[target], reference, self.prepared, self.first, progress.part(0.8, 0.95)
                )
            except InputError as error:  # no reason to throw a finished run away
                self.run.report.warn(f"The synthetic {target} was not scored against its reference. {error}")
                continue
            quality.setdefault("synthesis", {})[target] = scores
            result.differences[target] = difference
        if result.segmentation is not None:
            scores = score_segmentation(result, self.run.whole, self.prepared, self.first)
            if scores:
                quality["segmentation"] = scores

    def _draw(self, result: Result, progress: Progress) -> None:
        classes = self.run.bundle.classes
        labels = None if self.volumes.probabilities is None else most_probable(self.volumes.probabilities)
        colors = np.array([c.color for c in classes] or [(0, 0, 0)], np.uint8)
        rebuilt = {n: self.volumes.rebuilt[n, n] for n in self.prepared.images if (n, n) in self.volumes.rebuilt}
        result.overview = overview.study_overview(
            self.prepared.images,
            self.prepared.mask,
            self.volumes.anatomy,
            rebuilt,
            labels,
            colors,
            self.run.network.capabilities.lesions,
            self.volumes.synthesized,
            self.volumes.agnostic,
        )
        progress("results", 0.98, "pictures")
        if self.volumes.rebuilt and self.wanted.cross:
            result.cross_overview = overview.cross_overview(
                self.prepared.images, self.prepared.mask, self.volumes.rebuilt
            )


def _each(keys: Iterable[K], make: Callable[[K, Progress], V], progress: Progress) -> dict[K, V]:
    """What is made of each key and its share of the progress; who cancels waits for one of them at most (all together
    take a second)."""
    keys, made = list(keys), {}
    for n, key in enumerate(keys):
        progress("results", n / len(keys), "images of what was computed")
        made[key] = make(key, progress.part(n / len(keys), (n + 1) / len(keys)))
    return made


def bounded(prepared: PreparedStudy, values: np.ndarray, mask: np.ndarray, target: str) -> np.ndarray:
    """Intensities of a synthesised image, not below the least that there can be, with those of air outside the mask."""
    lowest, outside = prepared.least(target)
    return np.where(mask, np.maximum(values, lowest), outside).astype(np.float32)
