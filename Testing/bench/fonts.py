"""Text in screenshots: a font must be there, even on a bare machine."""

from __future__ import annotations

from pathlib import Path

from PySide6 import QtGui, QtWidgets


def ensure() -> None:
    """Use DejaVu Sans: the system's, else the one that matplotlib ships.

    Raises:
        RuntimeError: neither is there, and screenshots would have no text.
    """
    family = "DejaVu Sans"
    if family not in QtGui.QFontDatabase.families():
        import matplotlib

        file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        if QtGui.QFontDatabase.addApplicationFont(str(file)) < 0 and not QtGui.QFontDatabase.families():
            raise RuntimeError("no font found; install fontconfig with a font, or matplotlib")
    QtWidgets.QApplication.setFont(QtGui.QFont(family, 9))
    QtWidgets.QApplication.setStyle("Fusion")
