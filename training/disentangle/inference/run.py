"""One run of a predictor: the stages that take a study from its files to what the model says about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..preprocessing import PreparedStudy, prepare
from ..progress import Progress
from ..sequences import SEQUENCES
from ..study import Image, Study, looks_like_ct
from .confidence import confidence, doubts, taken_for_stripped
from .images import bounded
from .labels import most_probable
from .report import RunReport
from .rules import Rules
from .sensitivity import Sensitivity
from .slices import intensities_of

if TYPE_CHECKING:
    from .answers import Answers
    from .backends import Network
    from .engine import Engine, Volumes, Wanted
    from .predictor import Predictor

PreviewImages = Mapping[str, Image | Sequence[Image]]
"""Slabs by target, or the slabs of every anatomy channel by sequence."""
_SHARES = {
    "load": (0.0, 0.04),
    "prepare": (0.04, 0.55),
    "style": (0.55, 0.6),
    "network": (0.6, 0.94),
    "recognize": (0.94, 0.95),
    "results": (0.95, 1.0),
}
"""What part of the progress each stage takes, so that one bar runs from 0 to 1."""


class Run:
    """One run: the study as the model sees it, times and warnings."""

    def __init__(
        self, predictor: Predictor, study: Study, progress: Progress, confirmed: frozenset[str] = frozenset()
    ) -> None:
        self.predictor = predictor
        self.bundle = predictor.bundle
        self.whole = study
        self.study = study
        self.progress = progress
        self.confirmed = confirmed
        self.report = RunReport(self.bundle, study)
        self.prepared: PreparedStudy | None = None
        self.network: Network | None = None
        self.answers: Answers | None = None
        self.sensitivity = 1.0
        """Of the segmentation to lesions, see :class:`.sensitivity.Sensitivity`."""
        self.looks: dict[str, np.ndarray] = {}
        """Target -> modality factor (Z,) of the example whose appearance it took."""

    @contextmanager
    def timed(self, stage: str, share: str | None = None) -> Iterator[Progress]:
        """Measure a stage and give the share of the progress that is its own, or another stage's."""
        start = time.perf_counter()
        yield self.progress.part(*_SHARES[share or stage])
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

    def begin(self, segment: bool) -> None:
        """Begin to load what computes."""
        with self.timed("load") as progress:
            progress("load", 0.0, f"loading the model {self.bundle.name}")
            self.predictor.networks.begin(self.study.available, segment)
        if self.predictor.networks.abilities is None:
            self.load("load")

    def load(self, share: str = "style") -> None:
        """Wait for what computes.

        Args:
            share: of the progress, whose end will be reached; one of the stages.
        """
        if self.network is None:
            with self.timed("load", share) as progress:
                self.network = self.predictor.networks.load(self.report, progress)
                backend = self.report.backend
                progress("load", 1.0, f"on {self.report.device}, {backend['name']}: {backend['reason']}")

    def use_torch(self) -> None:
        """PyTorch from now on, see :meth:`Networks.use_torch`."""
        self.network = self.predictor.networks.use_torch(self.report)

    def prepare(self) -> PreparedStudy:
        """Register, resample, mask and normalise."""
        with self.timed("prepare") as progress:
            # Slices that are not registered to each other are read, and answered, where those of the first input lie.
            abilities = self.predictor.networks.abilities
            first = None if abilities.needs_registered_input else self.study.available[0]
            self.prepared = self.predictor.prepared(self.study, first, progress)
        self.report.prepared = self.prepared
        for warning in self.prepared.warnings:
            self.report.warn(warning)
        return self.prepared

    def recognise(self) -> None:
        """Tell what the sequences look like. No slice has to wait for that."""
        with self.timed("prepare", "recognize") as progress:
            self.report.recognised = self.predictor.recognised(self.prepared, progress)
        for warning in doubts(self.report.recognised, self.confirmed, taken_for_stripped(self.prepared)):
            self.report.warn(warning)

    def styles(self, images: Mapping[str, Image]) -> dict[str, np.ndarray]:
        """Modality factors of example images.

        Raises:
            InputError: the model's modality factor is a code of the sequence (translation), the same for every image.
        """
        from .engine import Wanted

        found = {}
        for target, image in images.items():
            with self.timed("style") as progress:
                example = prepare(
                    Study({target: image}),
                    self.predictor.config,
                    progress=progress,
                    memory=self.predictor.memory,
                    find_brain=self.predictor.find_brain,
                )
                volumes = self.engine(1, 1).run(
                    example.images, example.mask, Wanted(segment=False, factors=True), progress
                )
            found[target] = volumes.modality[target]
            if np.allclose(found[target], self.network.default_style(target), atol=1e-6):
                raise InputError(
                    f"The model {self.bundle.name} has one style per sequence and cannot take that of an example "
                    f"({image.source or target}); leave the example out, or choose a model with modality factors."
                )
        self.looks = found
        return found

    def own_references(self, targets: Sequence[str]) -> dict[str, Image]:
        """Target -> the real image of it, of targets that are there and can be made of something else."""
        there = [t for t in targets if t in self.prepared.images and len(self.prepared.images) > 1]
        return {t: self.prepared.study[t] for t in there}

    def infer(
        self,
        wanted: Wanted,
        leave_out_target: bool = False,
        point: Sequence[float] | None = None,
        preview: Callable[[Image], None] | None = None,
        preview_images: Callable[[str, PreviewImages], None] | None = None,
    ) -> Volumes:
        """Send the prepared study through the system; see :meth:`Predictor.run`."""
        from .answers import join
        from .devices import memory_of_volumes
        from .engine import Volumes
        from .slices import nearest_slice

        names = self.prepared.sequences
        abilities = self.network.capabilities
        # The four or so tissues of a target, held inside the mask alone, take the memory of an image.
        images = len(wanted.targets) + len(wanted.tissues)
        images += len(names) ** 2 if wanted.cross else len(names) if wanted.factors else 0
        channels = abilities.anatomy_channels if wanted.factors or wanted.cross else 0
        self.report.memory_mb = memory_of_volumes(
            self.prepared.grid.shape, len(names), channels, len(abilities.classes) if wanted.segment else 0, images
        ) / (1 << 20)
        with self.timed("network") as progress:
            engine = self.engine(len(names), len(abilities.classes))
            apart = list(self.own_references(wanted.targets)) if leave_out_target else []
            together = replace(wanted, targets=tuple(t for t in wanted.targets if t not in apart))
            middle = None if point is None else nearest_slice(self.prepared, point, self.study.available[0])
            on_first = None
            if preview is not None or preview_images is not None:
                on_first = partial(self._preview, preview, preview_images)
            self.answers = answers = self.predictor.answers(self.network, self.prepared.mask)

            def ask(what: Wanted, progress: Progress, without: str | None = None) -> Volumes:
                """What is known of it, and what the networks say about the rest."""
                images = {name: image for name, image in self.prepared.images.items() if name != without}
                found, rest = answers.known(what, without)
                if on_first is not None and rest is not what:
                    slices = engine.first_batch(list(images), self.prepared.mask, middle)
                    on_first(slices, found.at(slices))
                if rest.anything:
                    warnings = len(self.report.warnings)
                    new = engine.run(images, self.prepared.mask, rest, progress, middle, on_first)
                    answers.keep(rest, new, without)
                    answers.notes += self.report.warnings[warnings:]
                    join(found, new)
                return found

            asked = [(together, None)] if together.anything else []
            asked += [(replace(wanted, segment=False, targets=(t,), factors=False, cross=False), t) for t in apart]
            volumes = Volumes()
            for n, (what, without) in enumerate(asked):
                join(volumes, ask(what, progress.part(n / len(asked), (n + 1) / len(asked)), without))
            for note in answers.notes:
                self.report.warn(note)
        self.recognise()
        if (wanted.factors or wanted.cross) and not volumes.rebuilt:
            self.report.warn(f"The model {self.bundle.name} does not draw what it reads: there are no reconstructions.")
        if volumes.probabilities is not None:
            if self.sensitivity != 1 and not abilities.findings:
                name = self.bundle.name
                self.report.warn(
                    f"The model {name} tells no lesions from healthy tissue; the sensitivity has no effect."
                )
            self.report.sensitivity = self.sensitivity
            adapted = self.predictor.networks.adapted
            self.report.islands_ml = self.follow_rules(volumes.probabilities, adapted=adapted)
        self.report.features = volumes.features
        self.report.confidence = confidence(
            self.report.recognised, volumes.probabilities, self.prepared.mask, abilities.classes, self.confirmed
        )
        self.report.batch_size = engine.batch_size
        self.report.device = self.network.device  # another one than at first where a GPU's memory ran out
        return volumes

    def follow_rules(self, probabilities: np.ndarray, slices: np.ndarray | None = None, adapted: bool = False) -> float:
        """Follow the bundle's rules and the user's sensitivity; ml of small pieces that were taken away.

        Args:
            probabilities: (L, K, J, I), changed in place.
            slices: adjacent ones that the probabilities are of; None for all.
            adapted: the user has taught the model: what was marked is no invention, however small.
        """
        sensitivity = Sensitivity.of(self.network.capabilities, self.sensitivity)
        rules = replace(Rules.of_card(self.bundle.card), sensitivity=sensitivity)
        if adapted:
            rules = replace(rules, islands=None)
        mask = self.prepared.mask if slices is None else self.prepared.mask[slices]
        return rules.follow(probabilities, mask, tuple(self.prepared.grid.spacing), slices is not None)

    def _preview(
        self,
        preview: Callable[[Image], None] | None,
        preview_images: Callable[[str, PreviewImages], None] | None,
        slices: np.ndarray,
        known: Volumes,
    ) -> None:
        """Hand on what is known of adjacent slices, as slabs in the space of the first input."""

        def slab(values: np.ndarray) -> Image:
            return self.prepared.working_slab(values, int(slices[0]), source="preview")

        if preview is not None and known.probabilities is not None:
            self.follow_rules(known.probabilities, slices)
            preview(slab(most_probable(known.probabilities)))
        if preview_images is None:
            return
        if known.anatomy:
            preview_images("factors", {name: [slab(maps) for maps in known.anatomy[name]] for name in known.anatomy})
        if known.synthesized:
            mask, images = self.prepared.mask[slices], {}
            for target, values in known.synthesized.items():
                values = intensities_of(self.prepared, values, slices, target)
                images[target] = slab(bounded(self.prepared, values, mask, target))
            preview_images("synthesized", images)

    def engine(self, sequences: int, classes: int) -> Engine:
        """An engine for that many sequences and classes, its batches as large as memory allows."""
        from .devices import memory_per_slice, slices_at_once
        from .engine import Engine

        abilities = self.network.capabilities
        _, height, width = self.prepared.grid.shape
        need = memory_per_slice(height, width, sequences, abilities.anatomy_channels, classes)
        step = self.predictor.networks.step_ms((height, width))
        at_once = slices_at_once(self.network.device, need, self.predictor.batch_size, step)
        background, shown = self.predictor.config.background, self.prepared.shown
        return Engine(self.network, at_once, self.report.warn, background, shown)
