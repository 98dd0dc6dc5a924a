"""Agreement to licences: a bundle that is not permissive runs only after the user has agreed to it once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..study import write_atomically


class LicenseError(InputError):
    """The licence of a bundle has not been agreed to yet."""


def _fingerprint(card: dict[str, Any]) -> str:
    """Changes with the licence's text, so that agreement to one text is not agreement to another."""
    text = json.dumps([card["name"], card["license"]], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # no agreement yet, or a damaged file: ask again
    return entries if isinstance(entries, dict) else {}


def has_agreed(path: Path, card: dict[str, Any]) -> bool:
    """Whether the agreement to this very licence text is recorded in the file ``path``."""
    return _read(path).get(card["name"]) == _fingerprint(card)


def agree(path: Path, card: dict[str, Any]) -> None:
    """Record the user's agreement in the file ``path``.

    Raises:
        InputError: the file cannot be written.
    """
    entries = _read(path)
    entries[card["name"]] = _fingerprint(card)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def revoke(path: Path, card: dict[str, Any]) -> None:
    """Forget the user's agreement.

    Raises:
        InputError: the file cannot be written.
    """
    entries = _read(path)
    if entries.pop(card["name"], None) is not None:
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
