"""Disentangle: anatomy and modality factors of multi-sequence medical images.

``Study`` reads the sequences of a subject; ``Predictor`` takes a study through a bundle. Both are imported on
first use, so that ``import disentangle`` costs nothing (torch alone takes 2-3 s).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["InputError", "Predictor", "Study", "__version__"]

_HOMES = {"InputError": "errors", "Predictor": "inference", "Study": "study"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
