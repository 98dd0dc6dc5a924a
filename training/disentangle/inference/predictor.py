"""The predictor: a bundle and a study in, everything that the model can say about it out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundles import Bundle, find_bundle
from ..errors import InputError
from ..preprocessing import PreparedStudy, PreprocessingConfig, prepare
from ..progress import Progress, ProgressCallback
from ..sequences import SEQUENCES, canonical
from ..study import Image, Study, looks_like_ct
from . import overview
from .devices import check_device_name
from .report import RunReport
from .result import Result, SequenceFactors

if TYPE_CHECKING:
    from ..systems.base import System
    from .engine import Volumes, Wanted

_SHARES = {
    "load": (0.0, 0.04),
    "prepare": (0.04, 0.55),
    "style": (0.55, 0.6),
    "network": (0.6, 0.95),
    "results": (0.95, 1.0),
}
"""What part of the progress each stage takes, so that one bar runs from 0 to 1."""


class Predictor:
    """Runs a bundle on studies. The system is loaded on the first run and stays for the next ones.

    Args:
        bundle: a bundle, its name, or its folder.
        device: "auto", "cpu", "cuda", "cuda:n" or "mps"; a device that is not there falls back to the CPU with a
            warning in the report.
        threads: CPU threads of torch for the whole process; None leaves them as they are.
        batch_size: slices at once, at most.

    Raises:
        InputError: no such bundle or device name.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        device: str = "auto",
        threads: int | None = None,
        batch_size: int = 8,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else find_bundle(bundle)
        self.device = check_device_name(device)
        self.threads = threads
        self.batch_size = batch_size
        self.config = PreprocessingConfig.from_dict(self.bundle.preprocessing)
        self._system: System | None = None

    def run(
        self,
        study: Study,
        segment: bool | None = None,
        synthesize: Sequence[str] = (),
        factors: bool = False,
        cross_reconstructions: bool = False,
        probabilities: bool = False,
        reference_images: Mapping[str, Image] | None = None,
        style_images: Mapping[str, Image] | None = None,
        progress: Progress | ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Run on one study.

        Args:
            study: sequences that the bundle does not know are left out with a warning.
            segment: fused segmentation; None segments where the model can.
            synthesize: sequences to make, also of those that are there.
            factors: anatomy channels, modality factor and self-reconstruction per sequence.
            cross_reconstructions: every anatomy in every appearance.
            probabilities: also class probabilities on the grid of the first input.
            reference_images: real images to score the synthesised ones with.
            style_images: images, of any subject, whose appearance a synthesised sequence takes.
            progress: a ``Progress``, or a callback ``(stage, fraction, message)`` whose fraction runs from 0 to 1 over
                the whole run; the stages are "load", those of the preprocessing ("register", "mask", "resample",
                "normalize"), "network" and "results".
            cancelled: polled often; True stops with ``Cancelled``.

        Raises:
            InputError: nothing in the study can be used, the model cannot do what was asked, or the input is bad.
            Cancelled: asked to stop.
        """
        if not isinstance(progress, Progress):
            progress = Progress(progress, cancelled)
        run = _Run(self, study, progress)
        targets = self._targets(synthesize)
        segment = bool(self.bundle.classes) if segment is None else segment
        if segment and not self.bundle.classes:
            raise InputError(f"The model {self.bundle.name} does not segment; choose one whose card lists classes.")
        references = _by_target("A reference", reference_images, targets)
        examples = _by_target("An example", style_images, targets)
        run.select()
        run.load()
        prepared = run.prepare()
        from .engine import Wanted

        wanted = Wanted(segment, targets, run.styles(examples), factors, cross_reconstructions)
        volumes = run.infer(wanted)
        return _Output(run, prepared, volumes, wanted).result(probabilities, references)

    def _targets(self, names: Sequence[str]) -> tuple[str, ...]:
        targets = tuple(dict.fromkeys(canonical(name) for name in names))
        for target in targets:
            if target not in self.bundle.targets:
                known = ", ".join(self.bundle.targets) or "nothing"
                raise InputError(f"The model {self.bundle.name} cannot synthesise {target}; it can synthesise {known}.")
        return targets

    def system(self, device: Any) -> System:
        """The bundle's system on a device, loaded once."""
        if self._system is None:
            self._system = self.bundle.system().fold()
        return self._system.to(device)


def _by_target(what: str, images: Mapping[str, Image] | None, targets: Sequence[str]) -> dict[str, Image]:
    """Images by canonical sequence, each of a sequence that is to be made."""
    found = {canonical(name): image for name, image in (images or {}).items()}
    for target in found:
        if target not in targets:
            raise InputError(f"{what} of {target} was given, but {target} is not to be made; ask for it too.")
    return found


class _Run:
    """One run: the study as the model sees it, times and warnings."""

    def __init__(self, predictor: Predictor, study: Study, progress: Progress) -> None:
        self.predictor = predictor
        self.bundle = predictor.bundle
        self.whole = study
        self.study = study
        self.progress = progress
        self.report = RunReport(self.bundle, study)
        self.prepared: PreparedStudy | None = None
        self.system: System | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[Progress]:
        """Measure a stage and give the share of the progress that is its own."""
        start = time.perf_counter()
        yield self.progress.part(*_SHARES[stage])
        self.report.timings[stage] = self.report.timings.get(stage, 0.0) + time.perf_counter() - start

    def select(self) -> None:
        """Keep the sequences that the model knows; refuse what it must not get."""
        known = self.bundle.sequences
        usable = [name for name in self.whole.available if name in known]
        modalities = {SEQUENCES[name].modality for name in known}
        for name in self.whole.available:
            wrong = SEQUENCES[name].modality == "CT" if name in SEQUENCES else False
            if "CT" not in modalities and (wrong or looks_like_ct(self.whole[name])):
                where = f" ({self.whole[name].source})" if self.whole[name].source else ""
                raise InputError(
                    f"The {name} image{where} is a CT, and the model {self.bundle.name} reads MR only "
                    f"({', '.join(known)}); leave it out or choose a model for CT."
                )
        if not usable:
            raise InputError(
                f"The model {self.bundle.name} reads {', '.join(known)}, but the study has only "
                f"{', '.join(self.whole.available)}; give one of the model's sequences or choose another model."
            )
        for name in self.whole.available:
            if name not in known:
                self.report.warn(f"{name} was left out: the model {self.bundle.name} does not know it.")
        self.study = self.whole.subset(usable)

    def load(self) -> None:
        """Load the system onto the device."""
        from .devices import choose_device, describe_device

        with self.timed("load") as progress:
            progress("load", 0.0, f"loading the model {self.bundle.name}")
            import torch

            if self.predictor.threads:
                torch.set_num_threads(self.predictor.threads)
            device, note = choose_device(self.predictor.device)
            if note:
                self.report.warn(note)
            self.system = self.predictor.system(device)
            self.report.device = describe_device(device)
            progress("load", 1.0, f"on {self.report.device}")

    def prepare(self) -> PreparedStudy:
        """Register, resample, mask and normalise."""
        with self.timed("prepare") as progress:
            # Slices that are not registered to each other are read, and answered, where those of the first input lie.
            first = None if self.system.capabilities.needs_registered_input else self.study.available[0]
            self.prepared = prepare(self.study, self.predictor.config, first, progress)
        self.report.prepared = self.prepared
        for warning in self.prepared.warnings:
            self.report.warn(warning)
        return self.prepared

    def styles(self, images: Mapping[str, Image]) -> dict[str, np.ndarray]:
        """Modality factors of example images."""
        from .engine import Wanted

        found = {}
        for target, image in images.items():
            with self.timed("style") as progress:
                example = prepare(Study({target: image}), self.predictor.config, progress=progress)
                volumes = self._engine(1, 1).run(
                    example.images, example.mask, Wanted(segment=False, factors=True), progress
                )
            found[target] = volumes.modality[target]
        return found

    def infer(self, wanted: Wanted) -> Volumes:
        """Send the prepared study through the system."""
        from .devices import memory_of_volumes

        names = self.prepared.sequences
        images = len(wanted.targets) + (len(names) ** 2 if wanted.cross else len(names) if wanted.factors else 0)
        abilities = self.system.capabilities
        channels = abilities.anatomy_channels if wanted.factors or wanted.cross else 0
        self.report.memory_mb = memory_of_volumes(
            self.prepared.grid.shape, len(names), channels, len(abilities.classes) if wanted.segment else 0, images
        ) / (1 << 20)
        with self.timed("network") as progress:
            engine = self._engine(len(names), len(abilities.classes))
            volumes = engine.run(self.prepared.images, self.prepared.mask, wanted, progress)
        if (wanted.factors or wanted.cross) and not volumes.rebuilt:
            self.report.warn(f"The model {self.bundle.name} draws no images: there are no reconstructions.")
        self.report.features = volumes.features
        self.report.batch_size = engine.batch_size
        return volumes

    def _engine(self, sequences: int, classes: int):
        from .devices import memory_per_slice, slices_at_once
        from .engine import Engine

        device = next(self.system.parameters()).device
        abilities = self.system.capabilities
        _, height, width = self.prepared.grid.shape
        need = memory_per_slice(height, width, sequences, abilities.anatomy_channels, classes)
        at_once = slices_at_once(device, need, self.predictor.batch_size)
        return Engine(self.system, at_once, self.report.warn, self.predictor.config.background)


class _Output:
    """Turns volumes on the working grid into images: in the geometry and intensities of the inputs."""

    def __init__(self, run: _Run, prepared: PreparedStudy, volumes: Volumes, wanted: Wanted) -> None:
        self.run = run
        self.prepared = prepared
        self.volumes = volumes
        self.wanted = wanted
        self.first = run.study.available[0]

    def result(self, probabilities: bool, references: Mapping[str, Image]) -> Result:
        """Everything as images, with the report and the pictures."""
        run = self.run
        result = Result(report={})
        with run.timed("results") as progress:
            progress("results", 0.0, "returning to the geometry of the first input")
            if self.wanted.segment:
                result.classes = run.bundle.classes
                result.segmentation, result.probabilities = self._segmentation(probabilities)
            progress("results", 0.4, "intensities of the synthesised images")
            result.synthesized = {name: self._synthesized(name) for name in self.volumes.synthesized}
            if self.wanted.factors:
                result.factors = {name: self._factors(name) for name in self.volumes.anatomy}
            if self.wanted.cross:
                result.cross = {
                    (source, look): self._working(volume, look)
                    for (source, look), volume in self.volumes.rebuilt.items()
                }
            progress("results", 0.8, "scores and pictures")
            self._score(result, references, progress)
            self._draw(result)
            progress("results", 1.0, "done")
        result.report = run.report.to_dict(result)
        return result

    def _segmentation(self, keep: bool) -> tuple[Image, dict[str, Image]]:
        """Probabilities interpolated linearly, then the most probable class; class by class, to spare memory."""
        best = labels = affine = None
        kept: dict[str, Image] = {}
        for info, volume in zip(self.run.bundle.classes, self.volumes.probabilities, strict=True):
            image = self.prepared.to_input(volume, self.first, "linear", 1.0 if info.value == 0 else 0.0)
            if best is None:
                best, labels, affine = image.array.copy(), np.zeros(image.array.shape, np.uint8), image.affine
            else:
                higher = image.array > best
                labels[higher] = info.value
                best[higher] = image.array[higher]
            if keep:
                kept[info.name] = image
        return Image(labels, affine, source="segmentation"), kept

    def _synthesized(self, target: str) -> Image:
        """In intensity units, see ``PreparedStudy.units_of``; 0 (air, where a window gives the units) outside the mask,
        and not below 0 where the units have no negative values."""
        values = self.prepared.denormalize(self.volumes.synthesized[target], target)
        lowest, outside = self.prepared.least(target)
        values = np.where(self.prepared.mask, np.maximum(values, lowest), outside).astype(np.float32)
        image = self.prepared.to_input(values, self.first, "linear", outside)
        return Image(image.array, image.affine, sequence=target, source=f"synthesised by {self.run.bundle.name}")

    def _factors(self, name: str) -> SequenceFactors:
        channels, mask = self.volumes.anatomy[name], self.prepared.mask
        rebuilt, agnostic = self.volumes.rebuilt.get((name, name)), self.volumes.agnostic.get(name)
        winner = np.where(mask, channels.argmax(axis=0) + 1, 0).astype(np.uint8)
        return SequenceFactors(
            anatomy=[self.prepared.working_image(channel) for channel in channels],
            argmax=self.prepared.working_image(winner),
            modality=self.volumes.modality[name],
            input=self._working(self.prepared.images[name], name),
            reconstruction=None if rebuilt is None else self._working(rebuilt, name),
            agnostic=None if agnostic is None else self.prepared.working_image(agnostic),
        )

    def _working(self, volume: np.ndarray, units: str) -> Image:
        values = np.where(self.prepared.mask, self.prepared.denormalize(volume, units), 0.0).astype(np.float32)
        return self.prepared.working_image(values, units)

    def _score(self, result: Result, references: Mapping[str, Image], progress: Progress) -> None:
        from .reference import score_segmentation, score_synthesis

        quality = self.run.report.quality
        for target, reference in references.items():
            quality.setdefault("synthesis", {})[target] = score_synthesis(
                result.synthesized[target], reference, self.prepared, self.first, progress.part(0.8, 0.95)
            )
        if result.segmentation is not None and self.run.whole.labels is not None:
            scores = score_segmentation(result, self.run.whole, self.prepared, self.first)
            if scores:
                quality["segmentation"] = scores

    def _draw(self, result: Result) -> None:
        classes = self.run.bundle.classes
        labels = None if self.volumes.probabilities is None else self.volumes.probabilities.argmax(axis=0)
        colors = np.array([c.color for c in classes] or [(0, 0, 0)], np.uint8)
        healthy = set(self.run.system.capabilities.healthy) | {0}
        rebuilt = {n: self.volumes.rebuilt[n, n] for n in self.prepared.images if (n, n) in self.volumes.rebuilt}
        result.overview = overview.study_overview(
            self.prepared.images,
            self.prepared.mask,
            self.volumes.anatomy,
            rebuilt,
            labels,
            colors,
            [c.value for c in classes if c.value not in healthy],
            self.volumes.synthesized,
            self.volumes.agnostic,
        )
        if self.volumes.rebuilt and self.wanted.cross:
            result.cross_overview = overview.cross_overview(
                self.prepared.images, self.prepared.mask, self.volumes.rebuilt
            )
