"""Requests about the study that was run last: it stays encoded in the worker, so that they are answered at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..progress import Progress

Answer = dict[str, Any]
_REQUESTS = ("draw", "redraw", "subset", "sensitivity", "disagreement", "scores", "adapt", "undo", "save")


class Live:
    """Answers ``draw``, ``redraw``, ``subset``, ``sensitivity``, ``disagreement``, ``scores``, ``adapt``, ``undo`` and
    ``save`` (see the package).

    Its session is of one prediction; a later prediction takes its place.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._token = ""
        self.handlers: Mapping[str, Callable[[Mapping[str, Any], Progress], Answer]] = {
            name: getattr(self, f"_{name}") for name in _REQUESTS
        }

    def keep(self, token: str, session: Any) -> None:
        """The session of the prediction that has just ended."""
        self._token, self._session = token, session
        session.expect_drawing()

    def forget(self) -> None:
        """Free the memory of the last study."""
        self._token, self._session = "", None

    def rest(self) -> None:
        """Free what questions about the study have left on the device."""
        if self._session is not None:
            self._session.forget_factors()

    def answer(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        """Answer one of :attr:`handlers`.

        Raises:
            InputError: it is about a study that is no longer encoded, or asks for what the model cannot do.
        """
        if self._session is None or request.get("session") != self._token:
            raise InputError("The factors of that run are no longer in memory; press Apply to compute them again.")
        return self.handlers[request["request"]](request, progress)

    def _draw(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        import numpy as np

        k = self._session.slice_at(request["point"]) if "point" in request else int(request["slice"])
        values = self._session.draw(k, request["anatomy"], request["style"], request["units"])
        np.save(request["output"], values, allow_pickle=False)
        return {"output": request["output"], "slice": k}

    def _redraw(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        image = self._session.redraw(request["anatomy"], request["style"], request["units"], progress)
        return self._written(image, request)

    def _subset(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        groups = request["subsets"]
        images = {}
        for n, names in enumerate(groups):
            part = progress.part(n / len(groups), (n + 1) / len(groups))
            images["+".join(names)] = self._session.segment(names, part)
        return self._written(images, request)

    def _sensitivity(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        from .codec import read

        shown = read(request["study"])["shown"]
        return self._written(self._session.segment_again(request["sensitivity"], shown, progress), request)

    def _disagreement(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        image = self._session.disagreement(request["targets"], progress, request.get("style"))
        return self._written(image, request)

    def _scores(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        return self._written(self._session.scores(progress), request)

    def _adapt(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        from .codec import read

        images = read(request["study"])
        figures = self._session.learner.adapt(images["corrected"], progress, images.get("original"))
        segmentation = figures.pop("segmentation")
        return {**self._written(segmentation, request), "figures": figures, "learnt": self._session.learner.learnt}

    def _undo(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        self._session.learner.undo()
        return {"learnt": self._session.learner.learnt}

    def _save(self, request: Mapping[str, Any], progress: Progress) -> Answer:
        from ..bundles import list_bundles, user_folder

        name = str(request["name"]).strip()
        folder = user_folder() / "Models" / name
        if not name or Path(name).name != name or name.startswith("."):
            raise InputError(f"{name!r} cannot be the name of a model; use letters, digits and dashes.")
        if folder.exists() or name in {bundle.name for bundle in list_bundles()}:
            raise InputError(f"A model {name} is there already; choose another name.")
        return {"bundle": str(self._session.learner.save(folder, name).path)}

    @staticmethod
    def _written(value: Any, request: Mapping[str, Any]) -> Answer:
        from .codec import write

        write(value, request["output"])
        return {"output": str(request["output"])}
