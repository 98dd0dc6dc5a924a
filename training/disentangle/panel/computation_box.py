"""Which Python computes: Slicer's own, or one in an environment that the user keeps; what it has, and its devices."""

from __future__ import annotations

from typing import Any

import ctk
import qt

from ..errors import Cancelled, InputError
from ..mrml.text import _
from . import dependencies, image_check, parts
from .statistics_box import tell


class ComputationBox:
    """The section "Computation" of both modules.

    Args:
        layout: the panel's.
        logic: asks the worker.
    """

    def __init__(self, layout: qt.QVBoxLayout, logic: Any) -> None:
        self.logic = logic
        self.section, inner = parts.section(layout, "computationCollapsibleButton", _("Computation"))
        label = qt.QLabel(_("Python:"))
        self.path = ctk.ctkPathLineEdit()
        self.path.objectName = "workerPythonPath"
        self.path.filters = ctk.ctkPathLineEdit.Files
        self.path.toolTip = _(
            "Another Python to compute with, for example of a conda environment that has PyTorch for your graphics "
            "card; Slicer's own Python then stays as it is. Empty: Slicer's own."
        )
        self.path.connect("currentPathChanged(QString)", lambda path: dependencies.use_python(str(path)))
        label.setBuddy(self.path)
        self.checkButton = parts.button(
            "checkPythonButton",
            _("Check"),
            _("Look whether that Python has what is needed, and which devices it can compute on."),
            self.check,
        )
        parts.row(inner, label, self.path, self.checkButton)
        self.look = parts.check_box(
            "lookAtImagesCheckBox",
            _("Look at chosen images in the background"),
            _(
                "Shortly after volumes were chosen, the worker looks whether they show what they are used as: another "
                "sequence, another part of the body, a head that lies upside down."
            ),
            image_check.wanted(),
            image_check.want,
        )
        inner.addWidget(self.look)
        self.status = parts.text_label("workerPythonLabel")
        inner.addWidget(self.status)
        self.refresh()

    def refresh(self) -> None:
        """Show the settings; the other module may have changed them."""
        self.look.checked = image_check.wanted()
        chosen = dependencies.chosen_python()
        if self.path.currentPath != chosen:
            self.path.currentPath = chosen

    def check(self) -> None:
        """Have the worker say what its Python has."""

        def done(job: Any) -> None:
            if job.error is not None:
                self.status.text = str(job.error)
                return
            self.status.text = described(job.answer["check"])

        try:
            self.logic.checkWorker(False, done)
        except InputError as error:
            tell(error)
        except Cancelled:
            pass


def described(check: dict[str, Any]) -> str:
    """What a check found, in sentences."""
    devices = ", ".join(f"{d['name']} ({d['description']})" for d in check.get("devices") or ())
    return "\n".join(filter(None, (check["message"], _("Devices: {list}.").format(list=devices) if devices else "")))
