"""When compiled programs cannot be used: OpenVINO does not load or fails, or the files in the cache are damaged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from ...errors import InputError

_LONGEST = 160


class Unusable(InputError):
    """Compiled programs cannot be used here. The message is for who asked for them by name.

    Args:
        reason: one clause, for a report that tells that PyTorch took their place.
        damaged: the programs were at fault and are deleted, so that they are made anew.
    """

    def __init__(self, reason: str, damaged: bool = False) -> None:
        self.reason, self.damaged = reason, damaged
        again = "and were deleted; run again, which makes them anew" if damaged else "; install it again"
        what = f"The compiled programs cannot be used ({reason}) " if damaged else f"OpenVINO cannot be used ({reason})"
        super().__init__(f"{what}{again}, or use the backend torch.")


@contextmanager
def openvino_may_fail() -> Iterator[None]:
    """Whatever OpenVINO raises in the block becomes an :class:`Unusable`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a broken installation raises what it likes: ImportError, AttributeError, OSError ...
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # OpenVINO's own errors begin with places in its source and end with what is wrong.
        raise Unusable(lines[-1].strip()[:_LONGEST].rstrip(".")) from error


def load_openvino() -> ModuleType:
    """The library.

    Raises:
        Unusable: it is installed, but does not load.
    """
    with openvino_may_fail():
        import openvino

        openvino.Core  # noqa: B018  what is left of a half-removed installation imports, and is empty
        return openvino


def torch_instead(reason: str) -> str:
    """The sentence for a report, which the log gets too, once in a process."""
    sentence = f"The compiled backend could not be used ({reason}); went on with PyTorch."
    _log_once(sentence)
    return sentence


@cache
def _log_once(sentence: str) -> None:
    logging.getLogger(__name__).warning(sentence)
