"""The trained models behind a protocol's table: made once, found again, resumed where they were interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...registry import settings_of
from ...systems.base import System
from ..checkpoints import load_checkpoint, system_from_checkpoint
from ..config import DEFAULTS, load_config
from ..data import SAMPLERS
from ..reuse import train_once
from .cohort import in_fold, left_out
from .settings import Condition, Method, ProtocolSettings, changed, merge

Pair = tuple[str | None, str | None]
"""(source, target) that a model is for; None where one model serves all."""


@dataclass(frozen=True)
class Repetition:
    """One of the repetitions that mean and deviation are taken over."""

    seed: int
    fold: int | None = None

    def __str__(self) -> str:
        return f"seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


@dataclass
class Models:
    """The models of a method in one condition and repetition.

    Attributes:
        method, condition, repetition: what they belong to.
        paths: (source, target) -> final checkpoint; empty for methods without weights.
        configs: (source, target) -> complete training configuration.
    """

    method: Method
    condition: Condition
    repetition: Repetition
    paths: dict[Pair, Path] = field(default_factory=dict)
    configs: dict[Pair, dict[str, Any]] = field(default_factory=dict)
    _loaded: dict[Path, System] = field(default_factory=dict)

    def system(self, source: str | None = None, target: str | None = None) -> System:
        """The model for a source and a target, in evaluation mode, on the GPU where there is one."""
        path = self.checkpoint(source, target)
        if path not in self._loaded:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._loaded[path] = system_from_checkpoint(load_checkpoint(path)).to(device)
        return self._loaded[path]

    def checkpoint(self, source: str | None = None, target: str | None = None) -> Path:
        """The final checkpoint for a source and a target.

        Raises:
            InputError: there is none for them.
        """
        any_path = next(iter(self.paths), (None, None))
        key = tuple(None if mine is None else given for mine, given in zip(any_path, (source, target), strict=True))
        if key not in self.paths:
            raise InputError(f'"{self.method.label}" has no model for source {source} and target {target}.')
        return self.paths[key]

    def about(self) -> dict[str, float]:
        """Number of models, weights in millions and minutes of training of all of them."""
        contents = [load_checkpoint(path) for path in self.paths.values()]
        weights = sum(t.numel() for c in contents for t in c["weights"].values())
        return {
            "models": len(contents),
            "weights_m": weights / 1e6,
            "steps": sum(c["iteration"] for c in contents),
            "minutes": sum(c["seconds"] for c in contents) / 60,
        }

    def forget(self) -> None:
        """Drop the loaded models."""
        self._loaded.clear()


class Runs:
    """Trains what a protocol asks for.

    Args:
        settings: of the protocol.
        say: receives a line per training.
        quiet: trainings print nothing of their own.
    """

    def __init__(self, settings: ProtocolSettings, say: Callable[[str], None], quiet: bool = True) -> None:
        self.settings = settings
        self.say = say
        self.quiet = quiet

    def models(self, method: Method, condition: Condition, repetition: Repetition) -> Models:
        """The models of a method, trained where they do not exist yet; those it is built on first.

        Raises:
            InputError: a mistake in a configuration, or a run of that name with other settings.
        """
        if method.of:
            original = self.models(self.settings.method(method.of), condition, repetition)
            return replace(original, method=method)
        models = Models(method, condition, repetition)
        if not method.trains:
            return models
        for source, target in self.pairs(method, condition):
            checkpoints = {
                label: self.models(self.settings.method(label), condition, repetition) for label in method.needs()
            }
            needed = {label: str(found.checkpoint(source, target)) for label, found in checkpoints.items()}
            config = self.config(method, condition, repetition, source, target, needed)
            models.configs[source, target] = config
            models.paths[source, target] = train_once(
                config, f"{method.label}, {repetition}", self.say, quiet=self.quiet
            )
        return models

    def config(
        self,
        method: Method,
        condition: Condition,
        repetition: Repetition,
        source: str | None = None,
        target: str | None = None,
        checkpoints: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The complete training configuration of one model.

        System settings common to all methods go to those systems only that have them, since systems differ, and
        sampling settings to another kind of sampling only as far as it has them; what a method sets itself must fit.
        """
        values = {"source": source, "target": target} | {f"run:{k}": v for k, v in (checkpoints or {}).items()}
        own = _filled(method.changes, values)
        common = changed(self.settings.common, _filled(condition.changes, values))
        system = {**DEFAULTS["system"], **common.get("system", {})}
        known = settings_of(own.get("system", {}).get("name", system["name"]))
        common["system"] = {k: v for k, v in system.items() if k == "name" or k in known}
        kind = own.get("sampling", {}).get("kind")
        if kind in SAMPLERS and kind != common.get("sampling", {}).get("kind", "registered"):
            known = [f.name for f in fields(SAMPLERS[kind][1])]
            common["sampling"] = {k: v for k, v in common.get("sampling", {}).items() if k in known}
        given = changed(common, own)
        given["seed"] = repetition.seed
        given["output"] = str(given.get("output", Path("runs") / self.settings.name))
        given["name"] = _run_name(method, condition, repetition, source, target)
        config = load_config(given)
        if repetition.fold is not None and config["data"]["dataset"]:
            return in_fold(config, repetition.fold)
        if repetition.fold is not None:
            excluded = left_out(config, repetition.fold, int(self.settings.test.get("studies", 0)))
            excluded = [*config["data"]["studies"]["exclude"], *excluded]
            config = merge(config, {"data": {"studies": {"exclude": excluded}}})
        return config

    def pairs(self, method: Method, condition: Condition) -> list[Pair]:
        """The (source, target) of each model of a method."""
        named = method.fields()
        sequences = self.settings.common.get("system", {}).get("sequences", [])
        targets = list(condition.targets or sequences) if "target" in named else [None]
        sources = list(sequences) if "source" in named else [None]
        return [(s, t) for s in sources for t in targets if s is None or s != t]


def slug(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^a-z0-9.+]+", "-", text.lower().replace("%", "percent")).strip("-")


def _run_name(
    method: Method, condition: Condition, repetition: Repetition, source: str | None, target: str | None
) -> str:
    parts = [method.run or method.label, source, f"to {target}" if source and target else target]
    # A condition that changes nothing shares its runs with protocols that have no conditions.
    parts += [condition.name if condition.changes else None, f"s{repetition.seed}"]
    parts += [None if repetition.fold is None else f"f{repetition.fold}"]
    return "-".join(slug(p) for p in parts if p)


def _filled(value: Any, values: Mapping[str, str | None]) -> Any:
    """A configuration with its "{target}", "{source}" and "{run:LABEL}" filled in."""
    if isinstance(value, Mapping):
        return {_filled(k, values): _filled(v, values) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(v, values) for v in value]
    if isinstance(value, str):
        for key, text in values.items():
            if text is not None:
                value = value.replace("{" + key + "}", text)
    return value
