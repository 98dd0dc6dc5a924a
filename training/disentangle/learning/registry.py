"""Systems and baselines by name."""

from ..registry import create

__all__ = ["create"]
