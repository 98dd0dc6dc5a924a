"""Laying the sequences of a study over one of them: checked, registered, or found in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..parallel import in_parallel
from ..progress import Progress
from ..study import Image, Study
from .config import PreprocessingConfig
from .memory import Memory, content_key
from .prepared import Step
from .pyramid import Pyramid
from .registration import lay_over, overlap_gap, require_overlap, search_from_identity


@dataclass(frozen=True)
class Laid:
    """How one sequence lies on the reference.

    Attributes:
        matrix: (4, 4) points of the reference to points of the sequence, LPS mm.
        step: for the record.
        warning: a sentence that the user should see; None where there is none.
    """

    matrix: np.ndarray
    step: Step
    warning: str | None = None


class Overlay:
    """Lays sequences over a reference; sequences may be laid side by side in threads.

    Args:
        study: one subject.
        reference: the sequence that the others are laid over.
        config: "registration" and "own_slices" count.
        foreground: sequence -> bool (K, J, I), what it shows against background.
        memory: of earlier runs.
    """

    def __init__(
        self,
        study: Study,
        reference: str,
        config: PreprocessingConfig,
        foreground: Callable[[str], np.ndarray],
        memory: Memory,
    ) -> None:
        self.study, self.reference, self.config = study, reference, config
        self.foreground, self.memory = foreground, memory
        self._lock = threading.Lock()
        self._fixed: Pyramid | None = None
        self._key: str | None = None

    def lay_all(self, progress: Progress) -> dict[str, Laid]:
        """Every other sequence of the study laid over the reference, see :meth:`lay`."""
        others = sorted(set(self.study.available) - {self.reference})
        return dict(zip(others, in_parallel(self.lay, others, progress), strict=True))

    def lay(self, sequence: str, progress: Progress) -> Laid:
        """Lay one sequence over the reference.

        Raises:
            InputError: they do not overlap, or show nothing in common.
            Cancelled: the user asked to stop.
        """
        started = time.perf_counter()
        progress("register", 0.0, f"{sequence} to {self.reference}")
        moving, fixed = self.study[sequence], self.study[self.reference]

        def laid(where: np.ndarray, skipped: str | None = None, warning: str | None = None, **parameters) -> Laid:
            return Laid(where, Step.since(started, "register", sequence, skipped, **parameters), warning)

        if self.config.own_slices and overlap_gap(moving, fixed) > 0:
            matrix = np.eye(4)
            matrix[:3, 3] = moving.grid.corners().mean(axis=0) - fixed.grid.corners().mean(axis=0)
            warning = (
                f"{sequence} and {self.reference} do not overlap in space; their middles were laid over each "
                "other. Check that they show the same subject and the same part of the body."
            )
            return laid(matrix, "the headers do not overlap: middle laid over middle", warning)
        require_overlap(moving, fixed)
        if self.config.registration == "none":
            return laid(np.eye(4), "registration is switched off: the headers are trusted")
        key = content_key("register", self.config.registration, self.config.own_slices, moving, self._fixed_key())
        known = self.memory.recall(key)
        finding = known
        if finding is None:
            finding = self._find(sequence, moving, progress)
            self.memory.remember(key, finding)
        values = {n: v.item() if v.ndim == 0 else v for n, v in ((n, np.asarray(v)) for n, v in finding.items())}
        matrix, aligned = values.pop("matrix"), values.pop("aligned")
        values = {"reference": self.reference, **values}
        if known is not None:
            values["remembered"] = True
        if aligned:
            same = moving.grid.same_as(fixed.grid)
            grids = "already on one grid and aligned" if same else "the headers agree and are right"
            moved = values["error_estimate_mm"]
            return laid(matrix, f"{grids}: a search from there moved the head by {moved:.2f} mm only", **values)
        return laid(matrix, **values, matrix=matrix.round(6).tolist())

    def _find(self, sequence: str, moving: Image, progress: Progress) -> dict:
        foreground = self.foreground(sequence)
        progress("register", 0.0, f"{sequence} to {self.reference}")  # each of these steps takes tenths of a second
        m = Pyramid(moving, foreground)
        progress("register", 0.0, f"{sequence} to {self.reference}")
        f = self._fixed_pyramid()
        if self.config.registration == "auto":
            check = search_from_identity(m, f, progress.part(0.0, 0.2))
            if check.aligned:
                figures = {"error_estimate_mm": round(check.moved_mm, 3), "metric": round(check.metric, 4)}
                return {"aligned": True, "matrix": np.eye(4), **figures}
        kind = "affine" if self.config.registration == "affine" else "rigid"
        found = lay_over(m, f, kind, progress=progress.part(0.2, 1.0))
        return {
            "aligned": False,
            "matrix": found.matrix,
            "kind": kind,
            "metric": round(found.metric, 4),
            "error_estimate_mm": round(found.error_estimate_mm, 3),
            "moved_mm": round(found.moved_mm, 3),
            "start": found.start,
        }

    def _fixed_pyramid(self) -> Pyramid:
        with self._lock:
            if self._fixed is None:
                self._fixed = Pyramid(self.study[self.reference], self.foreground(self.reference))
            return self._fixed

    def _fixed_key(self) -> str:
        with self._lock:
            if self._key is None:
                self._key = content_key(self.study[self.reference])
            return self._key
