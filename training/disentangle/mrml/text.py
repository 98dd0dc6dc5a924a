"""Translation of what the user reads."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:  # outside the application nobody reads the panels

    def _(text: str) -> str:
        return text


__all__ = ["_"]
