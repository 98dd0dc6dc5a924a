"""The report of a run, as the command line writes it (design.md, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundles import Bundle
from ..study import Study
from .confidence import contradicts

if TYPE_CHECKING:
    from ..preprocessing import PreparedStudy
    from .recognition import Recognition
    from .result import Result


class RunReport:
    """Collects what a run should tell.

    Attributes:
        warnings: sentences for the user, each once.
        timings: stage -> seconds.
        quality: "synthesis" (target -> figures) and "segmentation" (class -> Dice), where there is a reference.
        device: where the networks ran.
        backend: "name" of what ran them, and the "reason" why that was chosen.
        prepared: the prepared study, once there is one.
        memory_mb: estimate of the result volumes.
        batch_size: slices at once, as they ran.
        features: channels of an anatomy factor; there may be fewer maps of it, which stand for groups of channels.
        recognised: what the sequences look like.
        islands_ml: what the bundle's rule on small pieces took away.
        sensitivity: of the segmentation to lesions, 1 as the model has it.
        detail: synthesised sequence -> inputs whose finest structures it follows.
        confidence: see :func:`.confidence.confidence`.
    """

    def __init__(self, bundle: Bundle, study: Study) -> None:
        self.bundle = bundle
        self.study = study
        self.warnings: list[str] = list(dict.fromkeys(study.warnings))
        self.timings: dict[str, float] = {}
        self.quality: dict[str, Any] = {}
        self.device = ""
        self.backend: dict[str, str] = {}
        self.prepared: PreparedStudy | None = None
        self.memory_mb = 0.0
        self.batch_size = 0
        self.features = 0
        self.recognised: dict[str, Recognition] = {}
        self.islands_ml = 0.0
        self.sensitivity = 1.0
        self.detail: dict[str, list[str]] = {}
        self.confidence: dict[str, Any] = {}

    def warn(self, sentence: str) -> None:
        """Add a warning, unless it was given before."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def to_dict(self, result: Result) -> dict[str, Any]:
        """The report as JSON-able content."""
        report: dict[str, Any] = {"study": self.study.name, "inputs": self._inputs()}
        if result.segmentation is not None:
            report["labels"] = {str(c.value): c.name for c in result.classes}
            report["volumes_ml"] = volumes_ml(result)
            report["islands_ml"] = round(self.islands_ml, 3)
            report["sensitivity"] = self.sensitivity
        if result.synthesized:
            report["synthesized"] = list(result.synthesized)
            if self.detail:
                report["detail"] = self.detail
        if result.factors:
            shown = max(len(f.anatomy) for f in result.factors.values())
            report["anatomy"] = {"maps": shown, "channels": self.features}
            report["modality"] = {n: [round(float(v), 6) for v in f.modality] for n, f in result.factors.items()}
        report.update(
            quality=self.quality,
            confidence=self.confidence,
            warnings=self.warnings,
            timings_s={stage: round(seconds, 3) for stage, seconds in self.timings.items()},
            bundle={"name": self.bundle.name, "version": self.bundle.version, "checksum": self.bundle.checksum},
            device=self.device,
            backend=self.backend,
            memory_mb=round(self.memory_mb, 1),
            slices_at_once=self.batch_size,
            preprocessing=self._steps(),
        )
        return report

    def _inputs(self) -> dict[str, Any]:
        inputs = {}
        for name, image in self.study.images.items():
            guess = image.guess
            entry: dict[str, Any] = {
                "file": image.source,
                "assigned": "stated" if guess is None else guess.reason,
                "confidence": 1.0 if guess is None else round(guess.confidence, 3),
                "used": self.prepared is not None and name in self.prepared.images,
            }
            if name in self.recognised:
                contradiction = {"contradicts": contradicts(name, self.recognised)}
                entry["looks_like"] = self.recognised[name].to_dict() | contradiction
            registration = self._registration(name)
            if registration is not None:
                entry["registration"] = registration
            inputs[name] = entry
        return inputs

    def _registration(self, name: str) -> dict[str, Any] | None:
        """How a sequence came to the reference: the recorded step, with its error estimate in mm."""
        if self.prepared is None or name not in self.prepared.images:
            return None
        if name == self.prepared.reference:
            return {"reference": True}
        for step in self.prepared.steps:
            if step.name == "register" and step.sequence == name:
                if step.skipped is not None:
                    return {"skipped": step.skipped, **jsonable(step.parameters)}
                return jsonable(step.parameters)
        return None

    def _steps(self) -> list[dict[str, Any]]:
        if self.prepared is None:
            return []
        return [
            {
                "name": step.name,
                "sequence": step.sequence,
                "seconds": round(step.seconds, 3),
                "skipped": step.skipped,
                "parameters": jsonable(step.parameters),
            }
            for step in self.prepared.steps
        ]


def volumes_ml(result: Result) -> dict[str, float]:
    """Volume of each class but the background, in millilitres."""
    image = result.segmentation
    voxel = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000.0
    # Class by class: np.bincount would make eight bytes of every voxel first.
    counts = {info.name: np.count_nonzero(image.array == info.value) for info in result.classes if info.value > 0}
    return {name: round(count * voxel, 3) for name, count in counts.items()}


def jsonable(value: Any) -> Any:
    """Plain numbers, texts, lists and objects of whatever steps recorded; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value if value is None or isinstance(value, str) else str(value)
