"""Manners of both panels: reachable by keyboard, explained, readable in a dark theme, at home in a narrow dock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6 import QtCore, QtGui, QtWidgets

MODULES = ("DisentangleSeg", "DisentangleSynth")
CONTROLS = (
    QtWidgets.QAbstractButton,
    QtWidgets.QComboBox,
    QtWidgets.QAbstractSlider,
    QtWidgets.QAbstractSpinBox,
    QtWidgets.QLineEdit,
    QtWidgets.QPlainTextEdit,
    QtWidgets.QTableWidget,
)
NEED_NO_NAME = (QtWidgets.QTableWidget, QtWidgets.QPlainTextEdit)
SLICERS_OWN = ("qMRMLSegmentEditorWidget", "qMRMLSegmentationShow3DButton")
NARROW = 420
"""Pixels that the module panel has beside the views of a window of 1280 x 800."""


def panel_widget(panel: Any) -> QtWidgets.QWidget:
    return panel.parent._native


def own_controls(widget: QtWidgets.QWidget) -> list[QtWidgets.QWidget]:
    """The controls that the user works with; the parts of compound widgets (a slider with its spin box) are one."""
    found = []
    for child in widget.findChildren(QtWidgets.QWidget):
        if isinstance(child, CONTROLS) and child.objectName() and not child.objectName().startswith("qt_"):
            above = child.parentWidget()
            if type(above).__name__ not in SLICERS_OWN and type(child).__name__ not in SLICERS_OWN:
                found.append(child)
    return found


def title_of(control: QtWidgets.QWidget) -> str:
    """How a screen reader calls it: its own text, its name, or the label whose buddy it is."""
    text = control.text() if isinstance(control, QtWidgets.QAbstractButton) else control.accessibleName()
    window = control.window()
    labels = [label.text() for label in window.findChildren(QtWidgets.QLabel) if label.buddy() is control]
    return text or "".join(labels)


@pytest.fixture(params=MODULES)
def opened(request: pytest.FixtureRequest, tiny_models: Path, study: Any, load_module: Any) -> Any:
    panel = load_module(request.param)
    for section in panel_widget(panel).findChildren(QtWidgets.QAbstractButton):
        if type(section).__name__ == "ctkCollapsibleButton":
            section.setChecked(True)
    return panel


def test_every_control_says_what_it_does(opened: Any) -> None:
    silent = [w.objectName() for w in own_controls(panel_widget(opened)) if not tooltip(w)]
    assert silent == []


def tooltip(control: QtWidgets.QWidget) -> str:
    """Its tooltip, or that of the compound widget that it is a part of; headings of sections need none."""
    if type(control).__name__ in ("ctkCollapsibleButton", "ctkCollapsibleGroupBox"):
        return "a heading"
    return control.toolTip() or (control.parentWidget().toolTip() if control.parentWidget() is not None else "")


def test_every_control_is_reached_by_the_keyboard_and_has_a_name(opened: Any) -> None:
    controls = own_controls(panel_widget(opened))
    assert len(controls) > 15
    nameless = [c.objectName() for c in controls if not isinstance(c, NEED_NO_NAME) and not title_of(c)]
    assert nameless == []
    for control in controls:
        policy = control.focusPolicy()
        assert policy & QtCore.Qt.FocusPolicy.TabFocus, control.objectName()


def test_the_tab_key_goes_from_top_to_bottom(opened: Any) -> None:
    """Boxes are visited in the order in which they stand."""
    widget = panel_widget(opened)
    widget.resize(NARROW, 2000)
    widget.show()
    QtWidgets.QApplication.processEvents()
    chain, current = [], widget.nextInFocusChain()
    while current is not widget and len(chain) < 5000:
        chain.append(current)
        current = current.nextInFocusChain()
    order = {w: n for n, w in enumerate(chain)}
    sections = [
        w for w in chain if type(w).__name__ == "ctkCollapsibleButton" and w.parentWidget() is opened_root(widget)
    ]
    by_place = sorted(sections, key=lambda w: w.mapTo(widget, QtCore.QPoint(0, 0)).y())
    assert [w.objectName() for w in sorted(sections, key=order.get)] == [w.objectName() for w in by_place]
    widget.hide()


def opened_root(widget: QtWidgets.QWidget) -> QtWidgets.QWidget:
    return next(w for w in widget.findChildren(QtWidgets.QWidget) if type(w).__name__ == "qMRMLWidget")


def test_nothing_is_styled_by_hand_or_of_fixed_size(opened: Any, repository: Path) -> None:
    for child in panel_widget(opened).findChildren(QtWidgets.QWidget):
        if child.objectName() and type(child).__name__ not in SLICERS_OWN:
            assert child.styleSheet() == "", child.objectName()
    for file in (
        *repository.glob("Disentangle*/Resources/UI/*.ui"),
        *repository.glob("training/disentangle/panel/*.py"),
    ):
        text = file.read_text(encoding="utf-8")
        assert "styleSheet" not in text, file.name
        assert "setFixed" not in text, file.name


def test_a_narrow_dock_is_wide_enough(opened: Any) -> None:
    widget = panel_widget(opened)
    widget.show()
    QtWidgets.QApplication.processEvents()
    assert widget.minimumSizeHint().width() <= NARROW
    widget.hide()


def test_a_dark_theme_is_readable(opened: Any, screenshot: Any) -> None:
    """Texts take the palette's colours: light on dark, nowhere dark on dark."""
    application = QtWidgets.QApplication.instance()
    before, style = application.palette(), application.style().objectName()
    application.setStyle("Fusion")
    application.setPalette(dark_palette())
    try:
        QtWidgets.QApplication.processEvents()
        path = screenshot(f"{opened.moduleName}-dark", opened.parent)
        image = QtGui.QImage(str(path))
        values = [
            image.pixelColor(x, y).lightness() for x in range(0, image.width(), 7) for y in range(0, image.height(), 7)
        ]
        assert sum(v < 90 for v in values) > 0.8 * len(values)
        assert max(values) > 200  # texts
        for label in panel_widget(opened).findChildren(QtWidgets.QLabel):
            if label.text() and label.isEnabled():
                assert label.palette().color(QtGui.QPalette.ColorRole.WindowText).lightness() > 150, label.text()
    finally:
        application.setPalette(before)
        application.setStyle(style)


def dark_palette() -> QtGui.QPalette:
    """Like that of Slicer's dark style."""
    palette = QtGui.QPalette()
    role = QtGui.QPalette.ColorRole
    for name, color in (
        (role.Window, 45), (role.Base, 35), (role.AlternateBase, 55), (role.Button, 55), (role.ToolTipBase, 60),
    ):  # fmt: skip
        palette.setColor(name, QtGui.QColor(color, color, color))
    for name in (role.WindowText, role.Text, role.ButtonText, role.ToolTipText, role.PlaceholderText):
        palette.setColor(name, QtGui.QColor(225, 225, 225))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, name, QtGui.QColor(130, 130, 130))
    palette.setColor(role.Highlight, QtGui.QColor(42, 100, 180))
    return palette
