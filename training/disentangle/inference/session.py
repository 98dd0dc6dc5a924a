"""A study that stays encoded after its run: slices drawn in other appearances, other subsets, scores."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..bundles import Bundle
from ..errors import InputError
from ..parallel import in_a_thread
from ..progress import Progress
from ..study import Image
from ..systems.factors import Factors
from .devices import MAX_BATCH
from .engine import STAGE, Presence, Volumes, Wanted, neighbours
from .framing import Frame
from .images import Output
from .learner import Learner
from .scores import FactorScores, score_factors
from .sensitivity import checked
from .slices import intensities_of, nearest_slice

if TYPE_CHECKING:
    from .backends import Network
    from .run import Run

FUSED = "fused"
"""Stands for the consensus of all sequences' anatomies where an anatomy is asked for."""
_CACHED = 96
"""Slices whose factors are kept; at 160 x 192 pixels, four channels and four sequences 0.5 MB each."""


class Session:
    """Answers questions about a study that has been run, without preparing it again.

    Args:
        run: a finished run; its prepared study and its network are kept.
        segmentation: what the run answered, on the grid of the first input; None where it did not segment.

    Attributes:
        learner: learns from corrections of the segmentation.
    """

    def __init__(self, run: Run, segmentation: Image | None) -> None:
        self.run = run
        self.bundle: Bundle = run.bundle
        self.prepared = run.prepared
        self.first = run.study.available[0]
        abilities = self.network.capabilities
        self.frame = Frame(self.prepared.mask, abilities.size_multiple, abilities.size)
        self._background = run.predictor.config.background
        self._factors: OrderedDict[int, Factors] = OrderedDict()
        self.learner = Learner(self, segmentation)

    @property
    def network(self) -> Network:
        """What computes; PyTorch as soon as something is learnt."""
        return self.run.network

    # -- single slices ---------------------------------------------------------------------------------------------

    def slice_at(self, point: Sequence[float]) -> int:
        """Number k of the working slice nearest to a point (LPS mm in the space of the first input)."""
        return nearest_slice(self.prepared, point, self.first)

    def expect_drawing(self) -> Future[None] | None:
        """Make ready, in a thread, for :meth:`draw`: the first touch of a slider must not wait for a compiler. None
        where nothing is drawn."""
        if not self.bundle.targets:
            return None
        return in_a_thread(partial(self.network.ready_to_decode, self.frame.size))

    def styles(self) -> dict[str, np.ndarray]:
        """Modality factors (Z,) that sliders start from: the default style of every target."""
        return {t: self.network.default_style(t) for t in self.bundle.targets}

    def factors_of(self, k: int) -> Factors:
        """Anatomy factors of one working slice, of all sequences that are read there, aligned to the first; kept for
        the next question."""
        if k not in self._factors:
            self._factors[k] = self._encode(np.array([k]), list(self.prepared.images))
            if len(self._factors) > _CACHED:
                self._factors.popitem(last=False)
        self._factors.move_to_end(k)
        return self._factors[k]

    def forget_factors(self) -> None:
        """Free the memory of the slices that were drawn; the next drawing encodes them again."""
        self._factors.clear()

    def draw(self, k: int, anatomy: str, style: Sequence[float], units: Mapping[str, float]) -> np.ndarray:
        """One working slice of an anatomy in an appearance.

        Args:
            k: number of the slice.
            anatomy: the sequence whose anatomy is drawn, or :data:`FUSED`.
            style: modality factor (Z,).
            units: sequence -> weight (their sum is 1): the intensities are those of these sequences.

        Returns:
            (J, I) float32 intensities, 0 outside the mask.
        """
        self._check(anatomy, style, units)
        return self._draw(self.factors_of(k), np.array([k]), anatomy, style, units)[0]

    def redraw(self, anatomy: str, style: Sequence[float], units: Mapping[str, float], progress: Progress) -> Image:
        """:meth:`draw` of every slice, as an image on the working grid in the space of the first input."""
        self._check(anatomy, style, units)
        volume = np.zeros(self.prepared.grid.shape, np.float32)
        for batch in self._batches(progress, "drawing"):
            volume[batch] = self._draw(self._encode(batch, list(self.prepared.images)), batch, anatomy, style, units)
        return self.prepared.working_image(volume, next(iter(units)))

    def _check(self, anatomy: str, style: Sequence[float], units: Mapping[str, float]) -> None:
        known = (FUSED, *self.prepared.images)
        if anatomy not in known:
            raise InputError(f"There is no anatomy {anatomy!r} in this run; there are {', '.join(known)}.")
        self._check_style(style)
        if not units:
            raise InputError("Say in the intensities of which sequence to draw.")

    def _check_style(self, style: Sequence[float]) -> None:
        if not self.bundle.targets:
            raise InputError(f"The model {self.bundle.name} does not draw images.")
        dimensions = self.network.capabilities.style_dim
        if len(style) != dimensions or not np.all(np.isfinite(style)):
            raise InputError(f"A modality factor of this model has {dimensions} numbers.")

    def _draw(
        self, factors: Factors, slices: np.ndarray, anatomy: str, style: Sequence[float], units: Mapping[str, float]
    ) -> np.ndarray:
        if anatomy != FUSED and anatomy not in factors.anatomy:
            # The sequence does not show these slices.
            return np.zeros((len(slices), *self.prepared.grid.shape[1:]), np.float32)
        drawn = self.network.synthesis_anatomy(factors) if anatomy == FUSED else factors.anatomy[anatomy]
        (decoded,) = self.network.decode(drawn, [np.asarray(style, np.float32)])
        block = self.frame.back(self.network.array(decoded), self._background)
        centre = block[:, block.shape[1] // 2]
        values = sum(weight * intensities_of(self.prepared, centre, slices, name) for name, weight in units.items())
        return np.where(self.prepared.mask[slices], values, 0.0).astype(np.float32)

    def _encode(self, batch: np.ndarray, names: Sequence[str], styles: bool = False) -> Factors:
        """Factors of slices that are read from the same sequences, of those of the named ones, aligned to the first;
        without modality factors unless they are asked for: no drawing of an anatomy takes them."""
        slices, names = self.network.capabilities.slices, self._presence(names).at(int(batch[0]))

        inside = self.frame.into(self.prepared.mask[batch][:, None].astype(np.float32), 0.0)
        blocks = {
            n: self.frame.into(neighbours(self.prepared.images[n], batch, slices), self._background) for n in names
        }
        return self.network.align(self.network.encode(blocks, inside, styles), names[0])

    def _batches(self, progress: Progress, what: str, size: int = MAX_BATCH):
        slices = np.flatnonzero(self.prepared.mask.any(axis=(1, 2)))
        presence, done = self._presence(self.prepared.images), 0
        while done < len(slices):
            progress(STAGE, done / len(slices), f"{what}, slice {slices[done] + 1} of {len(self.prepared.mask)}")
            batch = slices[done : done + size]
            batch = batch[: presence.alike(batch)]
            yield batch
            done += len(batch)
        progress(STAGE, 1.0, f"{what}: done")

    def _presence(self, names: Iterable[str]) -> Presence:
        return Presence(names, self.prepared.shown)

    # -- other subsets ---------------------------------------------------------------------------------------------

    def segment(self, sequences: Sequence[str], progress: Progress) -> Image:
        """Class values on the grid of the first input, from some of the sequences only.

        Raises:
            InputError: the model does not segment, or the study lacks a sequence.
        """
        if not self.bundle.classes:
            raise InputError(f"The model {self.bundle.name} does not segment.")
        lacking = [name for name in sequences if name not in self.prepared.images]
        if lacking or not sequences:
            raise InputError(f"This run has {', '.join(self.prepared.images)}, not {', '.join(lacking) or 'nothing'}.")
        return self._labels(sequences, progress)

    def segment_again(self, sensitivity: float, shown: Image, progress: Progress) -> Image:
        """The segmentation from all sequences with more lesions or with fewer, in a moment: the networks have answered.

        It stays in force for whatever this session segments.

        Args:
            sensitivity: as of :meth:`.predictor.Predictor.run`.
            shown: class values on the grid of the first input as the user sees them, of which what was drawn stays;
                :data:`.learner.UNTAUGHT` where segments are shown that are no class of the model.

        Raises:
            InputError: the run did not segment, or there is no such sensitivity. Cancelled: asked to stop; everything
            is as it was.
        """
        before, odds = self.run.sensitivity, checked(sensitivity)
        drawn = self.learner.drawn(shown)
        self.run.sensitivity = odds
        try:
            image = self._labels(list(self.prepared.images), progress)
        except BaseException:
            self.run.sensitivity = before
            raise
        return self.learner.answered(image, shown, drawn)

    def _labels(self, sequences: Sequence[str], progress: Progress) -> Image:
        """What the networks say about some sequences, as class values on the grid of the first input."""
        wanted, volumes = Wanted(segment=True), Volumes()
        if list(sequences) == list(self.prepared.images) and self._answers_hold:
            volumes, _ = self.run.answers.known(wanted)
        if volumes.probabilities is None:
            engine = self.run.engine(len(sequences), len(self.bundle.classes))
            images = {name: self.prepared.images[name] for name in sequences}
            volumes = engine.run(images, self.prepared.mask, wanted, progress)
        self.run.follow_rules(volumes.probabilities, adapted=self.learner.learnt > 0)
        return Output(self.run, self.prepared, volumes, wanted).segmentation(False)[0]

    @property
    def _answers_hold(self) -> bool:
        """Whether what the networks said in the run is what they would say now."""
        return self.run.answers.of(self.network) and not self.run.predictor.networks.adapted

    def disagreement(self, targets: Sequence[str], progress: Progress, style: Sequence[float] | None = None) -> Image:
        """How far the sequences disagree about synthetic ones: what each of them alone would give differs from what the
        others would by so much.

        Args:
            targets: made in the appearance that the run gave them; one that the study has is not made from itself.
            style: modality factor (Z,) of a drawing that is judged in place of targets, made from every sequence.

        Returns:
            standard deviation over the sources, mean over the targets, in normalised intensities (with the z-score of
            brains: 1 is the spread of all intensities in the brain), on the grid of the first input.

        Raises:
            InputError: fewer than two sequences can be compared.
        """
        names = list(self.prepared.images)
        if style is None:
            drawings = [(self.run.looks.get(t, t), [n for n in names if n != t]) for t in targets]
        else:
            self._check_style(style)
            drawings = [(np.asarray(style, np.float32), names)]
        drawings = [(look, sources) for look, sources in drawings if len(sources) > 1]
        if not drawings:
            raise InputError("One sequence alone does not tell how uncertain what is made from it is; add another one.")
        volume = np.zeros(self.prepared.grid.shape, np.float32)
        for batch in self._batches(progress, "comparing what the sequences would give"):
            anatomy = self._encode(batch, names).anatomy
            for look, sources in drawings:
                there = [n for n in sources if n in anatomy]
                if len(there) < 2:
                    continue
                drawn = [self.network.array(self.network.decode(anatomy[n], [look])[0]) for n in there]
                spread = self.frame.back(np.std(drawn, axis=0), 0.0)
                volume[batch] += spread[:, spread.shape[1] // 2] / len(drawings)
        image = self.prepared.to_input(volume * self.prepared.mask, self.first, "linear", 0.0, masked=True)
        return Image(image.array, image.affine, source="disagreement")

    def scores(self, progress: Progress) -> FactorScores:
        """How alike the sequences' factors are, and how they lie."""
        anatomy: dict[str, list[np.ndarray]] = {name: [] for name in self.prepared.images}
        modality: dict[str, list[np.ndarray]] = {name: [] for name in self.prepared.images}
        kept: list[int] = []
        presence = self._presence(self.prepared.images)
        for batch in self._batches(progress.part(0.0, 0.8), "comparing factors"):
            if presence.at(int(batch[0])) != presence.names:
                continue
            chosen = batch[::2]  # neighbours hardly differ
            kept += chosen.tolist()
            factors = self._encode(chosen, list(self.prepared.images), styles=True)
            for name, maps in factors.anatomy.items():
                anatomy[name].append(self.network.array(maps))
                modality[name].append(self.network.array(factors.modality[name]))
        if not kept:
            raise InputError("No slice shows all of these sequences, so that their factors cannot be compared.")
        progress("results", 0.85, "scores of disentanglement")
        return score_factors(
            {n: np.concatenate(v) for n, v in anatomy.items()},
            {n: np.concatenate(v) for n, v in modality.items()},
            np.array(kept),
        )
