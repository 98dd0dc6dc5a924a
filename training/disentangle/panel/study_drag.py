"""Dragging the name of a row of the Study box onto another row, whose volume then comes in exchange.

A filter of mouse events, which PythonQt lets Python classes be (the script repository of Slicer filters the main
window's events so); views with drag and drop of their own cannot hold the combo boxes of nodes. Of an event only the
type is read: Qt 6 gives up ``QMouseEvent.globalPos()``, and Slicer is built on 5 and on 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import qt

from ..mrml.text import _
from .study_row import StudyRow


class RowDrag(qt.QObject):
    """Watches the names of rows.

    Args:
        parent: the widget that holds the rows.
        rows: gives the rows there are.
        on_drop: called with the row that was dragged and the one that it was dropped on.
    """

    def __init__(
        self, parent: qt.QWidget, rows: Callable[[], Iterable[StudyRow]], on_drop: Callable[[StudyRow, StudyRow], None]
    ) -> None:
        qt.QObject.__init__(self, parent)
        self._rows, self._on_drop = rows, on_drop
        self._dragged: StudyRow | None = None

    def watch(self, row: StudyRow) -> None:
        """Let the name of a row be dragged."""
        row.label.setCursor(qt.QCursor(qt.Qt.OpenHandCursor))
        row.label.installEventFilter(self)

    def eventFilter(self, watched: qt.QObject, event: qt.QEvent) -> bool:
        """Called by Qt for every event of the names; True keeps it from them."""
        kind = event.type()
        if kind == qt.QEvent.MouseButtonPress:
            self._dragged = next((row for row in self._rows() if row.label == watched), None)
            self._show(qt.Qt.ClosedHandCursor)
            return True
        if self._dragged is None:
            return False
        if kind == qt.QEvent.MouseMove:
            self._tell(qt.QCursor.pos())
            return True
        if kind == qt.QEvent.MouseButtonRelease:
            target = self._at(qt.QCursor.pos())
            self._show(qt.Qt.OpenHandCursor)
            dragged, self._dragged = self._dragged, None
            qt.QToolTip.hideText()
            if target is not None and target is not dragged:
                self._on_drop(dragged, target)
            return True
        return False

    def _at(self, place: qt.QPoint) -> StudyRow | None:
        """The row under a point of the screen."""
        for row in self._rows():
            for widget in (row.label, row.combo, row.guess):
                if widget.rect.contains(widget.mapFromGlobal(place)):
                    return row
        return None

    def _tell(self, place: qt.QPoint) -> None:
        """Say what letting go would do."""
        target = self._at(place)
        if target is None or target is self._dragged:
            qt.QToolTip.hideText()
            return
        sentence = _("{first} and {second} change their volumes")
        text = sentence.format(first=self._dragged.sequence, second=target.sequence)
        qt.QToolTip.showText(place, text)

    def _show(self, cursor: int) -> None:
        if self._dragged is not None:
            self._dragged.label.setCursor(qt.QCursor(cursor))
