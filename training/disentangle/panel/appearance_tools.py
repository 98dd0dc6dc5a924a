"""What the logic of both modules does with modality factors: slices and volumes drawn in any appearance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer

from ..bundles import find_bundle
from ..errors import InputError
from ..mrml.live import LiveVolume, point_in_view
from ..mrml.outputs import RUN
from ..mrml.plots import factor_plots, score_tables
from ..mrml.results import add_disagreement
from ..mrml.text import _
from .tasks import Job

FUSED = "fused"
"""The consensus of all sequences' anatomies."""


def blended(styles: Mapping[str, Sequence[float]], first: str, second: str, amount: float) -> list[float]:
    """A modality factor between those of two sequences: ``amount`` 0 is the first, 1 the second."""
    a, b = (np.asarray(styles[name], float) for name in (first, second))
    return ((1.0 - amount) * a + amount * b).tolist()


def units_of(first: str, second: str, amount: float) -> dict[str, float]:
    """The intensities of a blend: those of both sequences, mixed as their appearances are."""
    if first == second or amount <= 0.0:
        return {first: 1.0}
    return {second: 1.0} if amount >= 1.0 else {first: 1.0 - amount, second: amount}


class AppearanceTools:
    """Part of a logic; the rest of it offers ``work``, ``ask``, ``session``, ``runner``."""

    def __init__(self) -> None:
        self._waiting: dict | None = None
        self._drawing = False
        self._place: str = ""

    def sessionOf(self, run: str) -> str:
        """As :meth:`session`, for what belongs to one run: since its results were shown, a batch or the console may
        have computed others.

        Args:
            run: what its nodes have as attribute "Disentangle.Run".

        Raises:
            InputError: the worker has the factors of another run, or none.
        """
        session, outputs = self.session(), self.runner.run.outputs
        if outputs is None or outputs.run != run:
            raise InputError(_("The factors are no longer in memory; press Apply to compute them again."))
        return session

    def styles(self) -> dict[str, list[float]]:
        """Modality factor of each sequence of the last run (its mean), and the model's own for the others.

        Example::

            z = logic.styles()["FLAIR"]
        """
        run = self.runner.run
        if run is None or not run.styles:
            raise InputError(_("There are no factors yet; press Apply first."))
        return {**run.styles, **(run.report.get("modality") or {})}

    def drawSlice(self, live, anatomy, style, units, point=None):
        """Draw one slice of a live volume anew, as soon as the worker is free; of several waiting ones, the last.

        Example::

            live = logic.liveVolume()
            logic.drawSlice(live, "T1", logic.styles()["FLAIR"], {"FLAIR": 1.0})

        Args:
            live: the :class:`LiveVolume`.
            anatomy: a sequence of the last run, or "fused".
            style: modality factor, as many numbers as the model has.
            units: {sequence: weight}, see :func:`units_of`.
            point: LPS mm; None takes the middle of the red slice view.

        Raises:
            InputError: the factors of the live volume's run are no longer in memory.
        """
        point = point or point_in_view(slicer.mrmlScene) or (0.0, 0.0, 0.0)
        wanted = {
            "request": "draw",
            "session": self.sessionOf(live.node.GetAttribute(RUN)),
            "anatomy": anatomy,
            "style": [float(v) for v in style],
            "units": dict(units),
            "point": [float(v) for v in point],
        }
        self._window(live, units)
        self._waiting = {"request": wanted, "live": live}
        self._next_slice()

    def _window(self, live: LiveVolume, units: Mapping[str, float]) -> None:
        """Show a mixture of intensities as the sequences are shown that it is mixed from."""
        outputs = self.lastOutputs()
        drawn = {**outputs.synthetic, **outputs.aligned}
        looks = {name: (weight, drawn[name]) for name, weight in units.items() if name in drawn}
        if looks:
            live.window_like(looks)

    def _next_slice(self) -> None:
        if self._drawing or self._waiting is None:
            return
        item, self._waiting = self._waiting, None
        if not self._place:
            self._place = str(self.runner.link.folder() / "slice.npy")
        self._drawing = True

        def show(event) -> None:
            self._drawing = False
            if event["event"] == "result" and item["live"].there:
                item["live"].show_slice(event["slice"], np.load(event["output"], allow_pickle=False))
            elif event["event"] == "error":
                self.controller.log(event["message"])
            self._next_slice()

        try:
            self.ask({**item["request"], "output": self._place}, show)
        except InputError:
            self._drawing = False
            raise

    def stopDrawing(self) -> None:
        """Forget what waits to be drawn; the worker's folder has gone or goes."""
        self._waiting, self._drawing, self._place = None, False, ""

    def drawVolume(self, anatomy, style, units, live=None, wait=True, onDone=None):
        """An anatomy of the last run in any appearance, as a synthetic volume.

        Example::

            z = logic.styles()["FLAIR"]
            node = logic.drawVolume("T1", z, {"FLAIR": 1.0})

        Args:
            anatomy: a sequence of the last run, or "fused".
            style: modality factor.
            units: {sequence: weight}: in whose intensities.
            live: a live volume to fill; None makes a new one.

        Returns:
            the volume node (with ``wait=False`` the job).

        Raises:
            InputError: the factors of the live volume's run are no longer in memory.
        """
        filled = live if live is not None and live.there else None
        session = self.session() if filled is None else self.sessionOf(filled.node.GetAttribute(RUN))
        request = {"request": "redraw", "session": session, "anatomy": anatomy}
        request.update(style=[float(v) for v in style], units=dict(units))

        def done(job: Job) -> None:
            if job.error is None:
                target = live if live is not None and live.there else self.liveVolume()
                target.show_volume(job.answer["content"].array)
                self._window(target, units)
                job.answer["node"] = target.node
            if onDone is not None:
                onDone(job)

        job = self.work(Job(request=request, title=_("Drawing the volume")), False, done)
        return self._result(job)["node"] if wait else job

    def drawnUncertainty(self, style, node=None, wait=True, onDone=None, run=None):
        """How far the sequences of the last run disagree about what an appearance would make of each of them.

        Example::

            node = logic.drawnUncertainty(logic.styles()["FLAIR"])

        Args:
            style: modality factor.
            node: volume to fill again; None makes a new one.
            run: outputs that have to be those of the last run; None takes them.

        Returns:
            the volume node (with ``wait=False`` the job, whose answer holds it as "node").

        Raises:
            InputError: the run had one sequence only, or its factors are no longer in memory.
        """
        style = [float(v) for v in style]
        outputs, placement = self.lastOutputs(), self.runner.run.inputs.placement
        session = self.sessionOf((run or outputs).run)
        request = {"request": "disagreement", "session": session, "targets": [], "style": style}

        def done(job: Job) -> None:
            if job.error is None:
                there = node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None
                numbers = ", ".join(f"{v:.2f}" for v in style)
                job.answer["node"] = add_disagreement(
                    outputs, job.answer["content"], slicer.mrmlScene, placement, f"z = ({numbers})", True, there
                )
            if onDone is not None:
                onDone(job)

        job = self.work(Job(request=request, title=_("Comparing the sequences")), False, done)
        return self._result(job)["node"] if wait else job

    def liveVolume(self, run=None) -> LiveVolume:
        """A new volume for :meth:`drawSlice`, on the grid of the last run's factors.

        Example::

            live = logic.liveVolume()
            print(live.node.GetName())

        Args:
            run: outputs that have to be those of the last run; None takes them.

        Raises:
            InputError: the last run kept no factors, or is another one.
        """
        if run is not None:
            self.sessionOf(run.run)
        outputs = self.runner.run.outputs if self.runner.run is not None else None
        if outputs is None or not outputs.aligned:
            raise InputError(_("Tick 'Anatomy factors' and press Apply first."))
        name, like = next(iter(outputs.aligned.items()))
        live = LiveVolume(slicer.mrmlScene, like, outputs.reconstructions.get(name))
        outputs.mark(live.node, "live", name)
        return live

    def disentanglement(self, wait=True, onDone=None):
        """How well the factors of the last run are disentangled: tables and plots in the scene.

        Example::

            page = logic.disentanglement()
            print(page["figures"]["distance correlation"])

        Returns:
            {"tables": {name: table node}, "plots": {name: chart node}, "figures": {name: value}} (with ``wait=False``
            the job, whose answer holds it as "page").
        """
        outputs = self.runner.run.outputs if self.runner.run is not None else None
        request = {"request": "scores", "session": self.session()}

        def done(job: Job) -> None:
            if job.error is None:
                scores = job.answer["content"]
                folder = outputs.folder if outputs is not None else 0
                job.answer["page"] = {
                    "tables": score_tables(slicer.mrmlScene, scores, folder),
                    "plots": factor_plots(slicer.mrmlScene, scores, folder),
                    "figures": {name: value for name, (value, _meaning) in scores.table.items()},
                }
            if onDone is not None:
                onDone(job)

        job = self.work(Job(request=request, title=_("Scoring the factors")), False, done)
        return self._result(job)["page"] if wait else job

    def modelOfRun(self):
        """The bundle of the last run."""
        return find_bundle(self.runner.run.wanted.bundle)
