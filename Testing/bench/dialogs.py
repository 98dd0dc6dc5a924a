"""Modal dialogs: a test says beforehand what the user will answer, and reads afterwards what was shown."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from PySide6 import QtWidgets


class UnansweredDialog(RuntimeError):
    """A dialog that needs a decision opened, and the test did not say what the user does."""


@dataclass(frozen=True)
class Shown:
    """A dialog that was open: its class, window title and text (message boxes), or the caption (file dialogs)."""

    kind: str
    title: str
    text: str
    detailed_text: str = ""


shown: list[Shown] = []
"""Every dialog since the last :func:`forget`."""

_answers: deque[Any] = deque()


def answer(*values: Any) -> None:
    """What the user answers to the next dialogs: ``qt.QMessageBox.Ok``, a path for a file dialog, ..."""
    _answers.extend(values)


def forget() -> None:
    """Clear what was shown and the answers that nothing asked for."""
    shown.clear()
    _answers.clear()


def execute(dialog: QtWidgets.QDialog | QtWidgets.QMenu) -> Any:
    """Stand in for ``dialog.exec_()``.

    A message box with one button is closed with it. Everything else takes the next answer.

    Raises:
        UnansweredDialog: there is no answer left.
    """
    kind = dialog.metaObject().className()
    if isinstance(dialog, QtWidgets.QMessageBox):
        shown.append(Shown(kind, dialog.windowTitle(), dialog.text(), dialog.detailedText()))
        buttons = dialog.buttons()
        if not _answers and len(buttons) <= 1:
            return dialog.standardButton(buttons[0]) if buttons else QtWidgets.QMessageBox.StandardButton.Ok
    else:
        shown.append(Shown(kind, dialog.windowTitle(), ""))
    if not _answers:
        raise UnansweredDialog(f"{shown[-1]}: say with bench.dialogs.answer(...) what the user does")
    return _answers.popleft()


def ask(kind: str, arguments: tuple[Any, ...]) -> Any:
    """Stand in for a static function that opens a dialog: ``QFileDialog.getOpenFileName``, ``QMessageBox.question``."""
    texts = [value for value in arguments if isinstance(value, str)]
    shown.append(Shown(kind, texts[0] if texts else "", texts[1] if len(texts) > 1 else ""))
    if not _answers:
        raise UnansweredDialog(f"{shown[-1]}: say with bench.dialogs.answer(...) what the user does")
    return _answers.popleft()
