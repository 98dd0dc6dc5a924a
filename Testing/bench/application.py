"""slicer.app: a real QApplication with what qSlicerApplication adds."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from .standins import make

_classes: dict[str, type] = {}


class Application:
    """Paths, settings, managers, the scene."""

    def setup(self, home: Path) -> None:
        """Paths and version of the imitated Slicer."""
        self.home = home
        self.testing = False
        self.paused = 0
        self.setApplicationName("Slicer")
        self.setOrganizationName("NA-MIC")
        self.setOrganizationDomain("www.na-mic.org")
        self.setApplicationVersion("5.13.0-2026-11-01")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(
            QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(home / "settings")
        )

    def put(self, **parts: Any) -> None:
        """Give the application its scene and managers."""
        self.parts = parts

    def layoutManager(self) -> Any:
        """The layout manager."""
        return self.parts["layout_manager"]

    def applicationLogic(self) -> Any:
        """The real vtkSlicerApplicationLogic."""
        return self.parts["application_logic"]

    def moduleManager(self) -> Any:
        """The module manager."""
        return self.parts["module_manager"]

    def moduleLogic(self, name: str) -> Any:
        """The C++ logic of a module."""
        return self.parts["logics"].get(name)

    def coreIOManager(self) -> Any:
        """Loads and saves."""
        return self.parts["io_manager"]

    def ioManager(self) -> Any:
        """Loads and saves."""
        return self.parts["io_manager"]

    def mrmlScene(self) -> Any:
        """The scene."""
        return self.parts["scene"]

    def userSettings(self) -> QtCore.QSettings:
        """Settings of the user."""
        return QtCore.QSettings()

    settings = userSettings

    def testingEnabled(self) -> bool:
        """Whether the application was started with --testing."""
        return self.testing

    def commandOptions(self) -> Any:
        """No command line."""
        return None

    def pythonConsole(self) -> Any:
        """No console."""
        return None

    def translate(self, _context: str, text: str) -> str:
        """No translation."""
        return text

    def pauseRender(self) -> None:
        """Count pauses, so that a test sees an unbalanced one."""
        self.paused += 1

    def resumeRender(self) -> None:
        """Undo one."""
        self.paused -= 1

    def setRenderPaused(self, pause: bool) -> None:
        """Pause or resume."""
        self.pauseRender() if pause else self.resumeRender()

    def moduleDocumentationUrl(self, name: str) -> str:
        """Where the module's page is."""
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        """The environment Slicer was started in."""
        return QtCore.QProcessEnvironment.systemEnvironment()

    environment = startupEnvironment

    def setEnvironmentVariable(self, name: str, value: str) -> None:
        """Set it for Slicer and what it starts."""
        os.environ[name] = value

    def toSlicerHomeAbsolutePath(self, path: str) -> str:
        """A path relative to Slicer's folder, made absolute."""
        return str(self.home / path)

    def read_slicerHome(self) -> str:
        """Slicer's folder."""
        return str(self.home)

    def read_temporaryPath(self) -> str:
        """The folder for temporary files."""
        folder = self.home / "temporary"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def read_slicerSharePath(self) -> str:
        """Slicer's share folder, relative to its home."""
        return "share/Slicer-5.13"

    def read_extensionsInstallPath(self) -> str:
        """Where extensions are installed."""
        return str(self.home / "extensions")

    def read_slicerUserSettingsFilePath(self) -> str:
        """The settings file."""
        return QtCore.QSettings().fileName()

    def read_os(self) -> str:
        """linux, macosx or win."""
        return {"Linux": "linux", "Darwin": "macosx"}.get(platform.system(), "win")

    def read_arch(self) -> str:
        """amd64, ..."""
        return "amd64" if platform.machine().lower() in ("x86_64", "amd64") else platform.machine()


def register_all() -> None:
    """Make the class."""
    _classes["application"] = make(
        "slicer.qSlicerApplication",
        QtWidgets.QApplication,
        Application,
        majorVersion=5,
        minorVersion=13,
        revision="31053",
        repositoryRevision="31053",
        mainApplicationName="Slicer",
        documentationBaseUrl="https://slicer.readthedocs.io/en/latest/",
        documentationVersion="latest",
        documentationLanguage="en",
        applicationLocaleName="en_US",
        isInstalled=True,
        releaseType="Preview",
        platform="linux-amd64",
        intDir="",
        mainApplicationMajorVersion=5,
        mainApplicationMinorVersion=13,
    )


def create(home: Path) -> Any:
    """The application; there is one per process."""
    existing = QtWidgets.QApplication.instance()
    if existing is not None:
        raise RuntimeError("another QApplication is already there; the bench needs its own")
    application = _classes["application"](["Slicer"])
    application.setup(home)
    return application


def delete_later() -> None:
    """Delete what was left to ``deleteLater()``: Slicer's event loop does so, ``processEvents()`` alone never does.

    Panels that stay alive follow the scenes of all later tests: each test took longer than the one before.
    """
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
