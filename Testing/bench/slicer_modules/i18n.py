"""slicer.i18n: translation, which in the bench gives the text back.

An f-string inside ``_()`` cannot be translated; it is caught here because its text differs from call to call.
"""

from __future__ import annotations

import sys

_seen: dict[tuple[str, int, int], str] = {}


def translate(context: str, text: str) -> str:
    """The text in the language of the user interface."""
    if not isinstance(text, str) or not isinstance(context, str):
        raise TypeError("translate() takes two texts")
    return text


def tr(text: str) -> str:
    """The text in the language of the user interface.

    Raises:
        TypeError: not a text.
        AssertionError: the same line asked for two different texts: an f-string, which nobody can translate.
    """
    if not isinstance(text, str):
        raise TypeError(f"_() takes a text, not {text!r}")
    frame = sys._getframe(1)
    place = (frame.f_code.co_filename, frame.f_lineno, frame.f_lasti)
    first = _seen.setdefault(place, text)
    assert first == text, f"{place[0]}:{place[1]}: _() got {first!r} and then {text!r}; use _('... {{n}}').format(n=n)"
    return text


def getContext(source_file: str) -> str:
    """The translation context of a source file."""
    return source_file.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
