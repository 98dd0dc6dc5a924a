"""Stand-ins for the ctk widgets: drawn plainly, behaving as CTK documents."""

from __future__ import annotations

import enum
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .standins import make

_HEADER = 24
_WANTED = "visibilityToParent"
"""CTK's name for the property of a child that says whether it is to be seen."""


class Folding:
    """How ctkCollapsibleButton and ctkCollapsibleGroupBox hide their contents: what was hidden for itself, before or
    while the contents are hidden, stays so when they are shown again."""

    _forcing = False

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """Watch what comes in."""
        child = event.child()
        if event.type() == QtCore.QEvent.Type.ChildAdded and isinstance(child, QtWidgets.QWidget):
            explicit = child.testAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
            if explicit and child.testAttribute(QtCore.Qt.WidgetAttribute.WA_WState_Hidden):
                child.setProperty(_WANTED, False)
            child.installEventFilter(self)
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Remember whether somebody else shows or hides a part of the contents."""
        if not self._forcing and event.type() == QtCore.QEvent.Type.ShowToParent:
            child.setProperty(_WANTED, True)
            if self.read_collapsed():
                self._force(child, False)
        elif not self._forcing and event.type() == QtCore.QEvent.Type.HideToParent:
            child.setProperty(_WANTED, False)
        return False

    def _force(self, child: QtWidgets.QWidget, visible: bool) -> None:
        self._forcing = True
        child.setVisible(visible)
        if child.property(_WANTED) is not False:  # it was not its own wish; the next one must not count as said before
            child.setAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def _fold(self, opened: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._force(child, opened and child.property(_WANTED) is not False)


class CollapsibleButton(Folding):
    """A header that hides and shows its contents; checked means open."""

    def __init__(self, *args: Any) -> None:
        text = args[0] if args and isinstance(args[0], str) else ""
        super().__init__(args[-1] if args and isinstance(args[-1], QtWidgets.QWidget) else None)
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(6, _HEADER, 4, 4)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._on_toggled)

    def read_collapsed(self) -> bool:
        """Whether the contents are hidden."""
        return not self.isChecked()

    def write_collapsed(self, value: bool) -> None:
        """Hide or show the contents."""
        self.setChecked(not value)

    def _on_toggled(self, opened: bool) -> None:
        self._fold(opened)
        self.setMaximumHeight(16777215 if opened else _HEADER)
        self.contentsCollapsed.emit(not opened)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """Only the header is the button."""
        return position.y() < _HEADER

    def sizeHint(self) -> QtCore.QSize:
        """Header plus contents."""
        inside = self.layout().sizeHint() if self.layout() is not None and self.isChecked() else QtCore.QSize(80, 0)
        return QtCore.QSize(inside.width(), max(inside.height(), _HEADER))

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        """Header bar, arrow and text."""
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.width() - 1, _HEADER - 2)
        painter.fillRect(header, self.palette().button())
        painter.setPen(self.palette().mid().color())
        painter.drawRect(QtCore.QRect(0, 0, self.width() - 1, self.height() - 1) if self.isChecked() else header)
        painter.setPen(self.palette().buttonText().color())
        arrow = "▾ " if self.isChecked() else "▸ "
        painter.drawText(header.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, arrow + self.text())


class CollapsibleGroupBox(Folding):
    """A group box whose check box hides its contents."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._on_toggled)

    def read_collapsed(self) -> bool:
        """Whether the contents are hidden."""
        return not self.isChecked()

    def write_collapsed(self, value: bool) -> None:
        """Hide or show the contents."""
        self.setChecked(not value)

    def _on_toggled(self, opened: bool) -> None:
        self._fold(opened)


class SliderWidget:
    """A slider and a spin box for one number."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._spin = QtWidgets.QDoubleSpinBox()
        self._spin.setDecimals(2)
        self._spin.setMaximum(99.0)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._slider.setRange(0, 1000)
        self._slider.valueChanged.connect(self._from_slider)
        self._spin.valueChanged.connect(self._from_spin)

    def _from_slider(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + (high - low) * position / 1000)

    def _from_spin(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        """Put the handle where the number lies in the range."""
        low, high, value = self._spin.minimum(), self._spin.maximum(), self._spin.value()
        blocker = QtCore.QSignalBlocker(self._slider)
        self._slider.setValue(round(1000 * (value - low) / (high - low)) if high > low else 0)
        blocker.unblock()

    def read_value(self) -> float:
        """The number."""
        return self._spin.value()

    def write_value(self, value: float) -> None:
        """Set the number; clipped to the range as in Qt."""
        self._spin.setValue(float(value))

    def read_minimum(self) -> float:
        """Lower end."""
        return self._spin.minimum()

    def write_minimum(self, value: float) -> None:
        """Set the lower end."""
        self._spin.setMinimum(value)
        self._place()

    def read_maximum(self) -> float:
        """Upper end."""
        return self._spin.maximum()

    def write_maximum(self, value: float) -> None:
        """Set the upper end."""
        self._spin.setMaximum(value)
        self._place()

    def write_decimals(self, value: int) -> None:
        """Digits shown."""
        self._spin.setDecimals(value)

    def write_suffix(self, value: str) -> None:
        """Text after the number."""
        self._spin.setSuffix(value)

    def write_prefix(self, value: str) -> None:
        """Text before the number."""
        self._spin.setPrefix(value)

    def write_singleStep(self, value: float) -> None:
        """Step of the arrows."""
        self._spin.setSingleStep(value)

    def write_spinBoxVisible(self, value: bool) -> None:
        """Show the spin box or the slider alone."""
        self._spin.setVisible(value)

    def setValue(self, value: float) -> None:
        """The slot behind ``value``."""
        self.write_value(value)

    def setDecimals(self, value: int) -> None:
        """The slot behind ``decimals``."""
        self.decimals = value


class PathFilter(enum.Enum):
    """What a line for a path takes."""

    Dirs = 0x001
    Files = 0x002


class PathLineEdit:
    """A line for a path, with a browse button."""

    Dirs, Files = PathFilter.Dirs, PathFilter.Files

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QtWidgets.QLineEdit()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line, 1)
        layout.addWidget(QtWidgets.QToolButton(text="..."))
        self._line.textChanged.connect(self.currentPathChanged.emit)

    def read_currentPath(self) -> str:
        """The path as text."""
        return self._line.text()

    def write_currentPath(self, path: str) -> None:
        """Set the path."""
        self._line.setText(path)

    def setCurrentPath(self, path: str) -> None:
        """The slot behind ``currentPath``."""
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """The bench keeps no history."""


class DirectoryButton:
    """A button that shows and chooses a directory."""

    def write_directory(self, directory: str) -> None:
        """Show the directory."""
        self.findChild(QtWidgets.QPushButton).setText(directory)
        self.directoryChanged.emit(directory)

    def __init__(self, *args: Any) -> None:
        super().__init__(args[-1] if args and isinstance(args[-1], QtWidgets.QWidget) else None)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QtWidgets.QPushButton())


def register_all() -> None:
    """Make every ctk stand-in."""
    widget = QtWidgets.QWidget
    make("ctk.ctkCollapsibleButton", QtWidgets.QAbstractButton, CollapsibleButton)
    make("ctk.ctkCollapsibleGroupBox", QtWidgets.QGroupBox, CollapsibleGroupBox)
    make("ctk.ctkSliderWidget", widget, SliderWidget, decimals=2, spinBoxVisible=True, singleStep=1.0, tracking=True)
    make("ctk.ctkPathLineEdit", widget, PathLineEdit)
    make("ctk.ctkDirectoryButton", widget, DirectoryButton)
    make("ctk.ctkComboBox", QtWidgets.QComboBox)
    make("ctk.ctkCheckBox", QtWidgets.QCheckBox)
    make("ctk.ctkPushButton", QtWidgets.QPushButton)
    make("ctk.ctkMenuButton", QtWidgets.QPushButton)
    make("ctk.ctkSearchBox", QtWidgets.QLineEdit)
    make("ctk.ctkFittedTextBrowser", QtWidgets.QTextBrowser)
    make("ctk.ctkExpandButton", QtWidgets.QToolButton)
    make("ctk.ctkMessageBox", QtWidgets.QMessageBox)
