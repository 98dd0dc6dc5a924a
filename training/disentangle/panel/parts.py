"""Widgets that the boxes are made of, with name, tooltip and what they do in one call."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ctk
import qt

_MARGIN = 6
"""Pixels by which a table's rows are higher than their text."""
_ROWS_SHOWN = 12
"""A table is as high as its rows, and is scrolled where it has more than these."""


def section(layout: qt.QVBoxLayout, name: str, text: str, collapsed: bool = True) -> tuple[Any, qt.QVBoxLayout]:
    """A collapsible section before the stretch at the end of a panel's layout, and its layout."""
    box = ctk.ctkCollapsibleButton()
    box.objectName = name
    box.text = text
    inner = qt.QVBoxLayout(box)
    layout.insertWidget(layout.count() - 1, box)
    box.collapsed = collapsed
    return box, inner


def empty_where_removed(selector: Any) -> None:
    """Leave a node selector empty when its node goes from the scene: QComboBox would go to the next of the list."""

    def leaving(node: Any) -> None:
        if selector.currentNode() is node:
            selector.setCurrentNode(None)

    selector.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", leaving)


def when_chosen(selector: Any, do: Callable[[], None]) -> None:
    """Call ``do`` when a node selector has another node; it may be called twice for one choice, and must not mind.

    ``currentNodeChanged`` alone would not do: Slicer emits it where the *text* has changed
    (qMRMLNodeComboBox::setComboBox connects QComboBox::currentTextChanged since bdc4f048da), so not where the "T1" of
    one patient takes the place of the "T1" of another. ``nodeActivated`` comes then, from QComboBox::activated.
    """
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: do())
    selector.connect("nodeActivated(vtkMRMLNode*)", lambda _node: do())


def button(name: str, text: str, tooltip: str, on_click: Callable[[], None], enabled: bool = True) -> qt.QPushButton:
    """A push button."""
    made = qt.QPushButton(text)
    made.objectName = name
    made.toolTip = tooltip
    made.enabled = enabled
    made.connect("clicked(bool)", lambda _checked=False: on_click())
    return made


def check_box(
    name: str, text: str, tooltip: str, checked: bool, on_click: Callable[[bool], None] | None = None
) -> qt.QCheckBox:
    """A check box; ``on_click`` hears of what the user does, not of what programs do."""
    made = qt.QCheckBox(text)
    made.objectName = name
    made.toolTip = tooltip
    made.checked = checked
    if on_click is not None:
        made.connect("clicked(bool)", lambda value=False: on_click(value))
    return made


def text_label(name: str, text: str = "") -> qt.QLabel:
    """A label of several lines."""
    made = qt.QLabel(text)
    made.objectName = name
    made.textFormat = qt.Qt.PlainText
    made.wordWrap = True
    return made


def plain(text: str) -> str:
    """A text that a tooltip or a dialog shows as it is.

    Both take for rich text what looks like it. Names in DICOM headers and cards of models come from strangers: as rich
    text they could forge what a licence says, and load an image from another computer.
    """
    return f"<span>{html.escape(text, quote=False)}</span>".replace("\n", "<br>") if "<" in text else text


def row(layout: qt.QVBoxLayout, *widgets: qt.QWidget) -> qt.QHBoxLayout:
    """Widgets side by side; labels are as wide as their text, the others share the rest."""
    line = qt.QHBoxLayout()
    layout.addLayout(line)
    for widget in widgets:
        line.addWidget(widget, 0 if isinstance(widget, qt.QLabel) else 1)
    return line


class Table:
    """A small read-only table of texts; one without rows is not shown.

    Args:
        name: of the widget.
        titles: of the columns.
        tooltip: of the widget.
    """

    def __init__(self, name: str, titles: Sequence[str], tooltip: str) -> None:
        self.widget = qt.QTableWidget()
        self.widget.objectName = name
        self.widget.toolTip = tooltip
        self.widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self.widget.verticalHeader().visible = False
        self._height = self.widget.fontMetrics().height() + _MARGIN
        self.widget.verticalHeader().setDefaultSectionSize(self._height)
        self._items: list[Any] = []  # Qt takes them over; Python must not let go of them before
        self.titles: list[str] = []
        self.fill(titles, [])

    def fill(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show rows of texts."""
        self.titles = list(titles)
        self.widget.clear()
        self.widget.setColumnCount(len(titles))
        self.widget.setRowCount(len(rows))
        self.widget.setHorizontalHeaderLabels(list(titles))
        self._items = []
        for number, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(str(text))
                item.setToolTip(plain(str(text)))
                self._items.append(item)
                self.widget.setItem(number, column, item)
        self.widget.resizeColumnsToContents()
        shown = min(len(rows), _ROWS_SHOWN)
        height = (shown + 2) * self._height  # with the titles, and room for a scroll bar
        self.widget.setMinimumHeight(height)
        self.widget.setMaximumHeight(height)
        self.widget.visible = bool(rows)

    def texts(self) -> list[list[str]]:
        """What it shows, row by row."""
        columns = len(self.titles)
        values = [item.text() for item in self._items]
        return [values[n : n + columns] for n in range(0, len(values), columns)]
