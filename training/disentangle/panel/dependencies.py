"""The interpreter of the worker, and what it lacks."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import slicer

from ..errors import Cancelled, InputError
from ..mrml.text import _
from ..worker.checks import check_interpreter
from ..worker.client import WorkerClient, worker_python

SETTING = "Disentangle/WorkerPython"
_OWN_PACKAGES = ("numpy", "SimpleITK")
"""Slicer's own builds: pip must never replace them."""
_found_complete: set[str] = set()
"""Interpreters that had everything earlier in this session: looking again would hold up every Apply by 15 ms."""


def interpreter() -> str:
    """The worker's interpreter: the setting, else $DISENTANGLE_PYTHON, else Slicer's own."""
    return worker_python(chosen_python() or None)


def chosen_python() -> str:
    """The interpreter that the user has chosen; "" where none is."""
    return setting(SETTING)


def setting(name: str, default: str = "") -> str:
    """A setting of the user as text."""
    return str(slicer.util.settingsValue(name, default) or default)


def use_python(path: str) -> None:
    """Have another interpreter compute from the next run on; "" goes back to Slicer's own."""
    if path != chosen_python():
        slicer.app.userSettings().setValue(SETTING, path)


def is_own(python: str) -> bool:
    """Whether that is the Python of the running Slicer."""
    return Path(python).resolve() == Path(sys.executable).resolve()


def complete() -> bool:
    """Whether the running Slicer has all that is needed; may be called in a thread."""
    return check_interpreter(devices=False)["ok"]


def make_client(python: str) -> WorkerClient:
    """A client for an interpreter; another Python than Slicer's does not get Slicer's library paths."""
    env = dict(os.environ) if is_own(python) else dict(slicer.util.startupEnvironment())
    return WorkerClient(python, env=env)


def ensure(python: str) -> None:
    """Install what the running Slicer lacks, after one question. Another interpreter is left alone.

    Raises:
        InputError: it cannot be installed; the sentence says what to do.
        Cancelled: the user declined.
    """
    if python in _found_complete or not is_own(python):
        return
    report = check_interpreter(devices=False)
    if report["ok"]:
        _found_complete.add(python)
        return
    missing = {entry.split(">=")[0]: entry.split(" ")[0] for entry in report["missing"]}
    own = [missing[name] for name in _OWN_PACKAGES if name in missing]
    if own or not missing:
        raise InputError(report["message"])
    question = _(
        "Disentangle needs {packages}, which this Slicer does not have yet.\n\nInstall it now? The download can be "
        "large (PyTorch: up to 3 GB), and Slicer does not respond until it is done, which can take several minutes."
    ).format(packages=", ".join(missing.values()))
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Disentangle")):
        raise Cancelled(_("Nothing was installed."))
    try:
        if "torch" in missing:
            _install_torch(missing.pop("torch"))
        if missing:
            _install(list(missing.values()))
    except (subprocess.CalledProcessError, RuntimeError) as error:
        logging.exception("Disentangle could not install what it needs")
        raise InputError(
            _("The installation failed ({error}); is there a network connection? Details are in the log.").format(
                error=error
            )
        ) from error
    importlib.invalidate_caches()
    report = check_interpreter(devices=False)
    if not report["ok"]:
        raise InputError(report["message"])


def _install_torch(requirement: str) -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise InputError(
            _(
                "PyTorch is needed: install the PyTorch extension with the Extensions Manager and restart Slicer, or "
                "name a Python that has torch in the setting {setting}."
            ).format(setting=SETTING)
        ) from error
    version = requirement.removeprefix("torch")
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version) is None:
        raise InputError(_("PyTorch could not be installed; open the module PyTorch Utils to see why."))


def _install(requirements: list[str]) -> None:
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(requirements)
        return
    packaging.pip_ensure(requirements, prompt_install=False, requester="Disentangle")
