"""Choosing a bundle: what it does, its quality, its licence; adding, checking and removing bundles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from ..bundles import Bundle
from ..errors import Cancelled, InputError
from ..mrml.text import _
from . import parts
from .model_facts import fast_line, quality_lines


class ModelBox:
    """The list of models and a description of the chosen one.

    Args:
        ui: the panel's widgets: ``bundleComboBox``, ``bundleLabel``, the buttons below them, and ``fastCheckBox``.
        accepts: whether a model can do what the module is for.
        on_change: called when another model is chosen.
        logic: with the methods of ``model_tools.py``.
    """

    def __init__(
        self,
        ui: Any,
        accepts: Callable[[Bundle], bool],
        on_change: Callable[[], None],
        logic: Any,
    ) -> None:
        self.combo, self.label, self.ui = ui.bundleComboBox, ui.bundleLabel, ui
        self._accepts, self.logic = accepts, logic
        self._on_change: Callable[[], None] = lambda: None
        self._filling = False
        self.bundles: dict[str, Bundle] = {}
        self.refresh()
        self._on_change = on_change
        self.combo.connect("currentIndexChanged(int)", self._changed)
        for widget, action in (
            (ui.addModelButton, self.add),
            (ui.verifyModelButton, self.verify),
            (ui.removeModelButton, self.remove),
            (ui.licenseButton, self.show_license),
        ):
            widget.connect("clicked(bool)", lambda _checked=False, action=action: action())

    @property
    def bundle(self) -> Bundle | None:
        """The chosen model; None where there is none."""
        return self.bundles.get(self.combo.currentText)

    def choose(self, name: str) -> None:
        """Choose a model by name; an unknown name changes nothing."""
        index = self.combo.findText(name)
        if index >= 0:
            self.combo.currentIndex = index

    def refresh(self, choose: str = "") -> None:
        """Look for models on disk again."""
        before = choose or self.combo.currentText
        found = [bundle for bundle in self.logic.models().values() if self._accepts(bundle)]
        found.sort(key=lambda bundle: bundle.is_demonstration)  # what is for patients' images first
        self.bundles = {bundle.name: bundle for bundle in found}
        self._filling = True
        self.combo.clear()
        for name in self.bundles:
            self.combo.addItem(name)
        self.choose(before)
        self._filling = False
        self._describe()
        self._on_change()

    def agree(self) -> None:
        """Have the user agree to a licence that is not permissive, once.

        Raises:
            Cancelled: the user does not agree.
        """
        bundle = self.bundle
        if bundle is None or not bundle.needs_agreement:
            return
        question = _("The model {name} comes under this licence:\n\n{license}\n\n{text}\n\nDo you agree to it?").format(
            name=bundle.name, license=bundle.license["name"], text=bundle.license.get("text", "")
        )
        if not slicer.util.confirmYesNoDisplay(parts.plain(question), windowTitle=_("Licence of the model")):
            raise Cancelled(_("The licence of the model was not agreed to."))
        bundle.agree()
        self._describe()

    def show_license(self) -> None:
        """Show the licence; one that was agreed to can be revoked, one that was not can be agreed to."""
        bundle = self.bundle
        if bundle is None:
            return
        text = "\n\n".join(part for part in (bundle.license["name"], bundle.license.get("text", "")) if part)
        title = _("Licence of {name}").format(name=bundle.name)
        if bundle.license["permissive"]:
            slicer.util.infoDisplay(parts.plain(text), windowTitle=title)
            return
        try:
            if bundle.needs_agreement:
                self.agree()
            elif slicer.util.confirmYesNoDisplay(
                parts.plain(
                    _("{text}\n\nYou have agreed to this licence. Take your agreement back?").format(text=text)
                ),
                windowTitle=title,
            ):
                bundle.revoke()
                self._describe()
        except Cancelled:
            pass
        except InputError as error:
            slicer.util.errorDisplay(parts.plain(str(error)))

    def add(self, path: str = "") -> None:
        """Add a bundle, chosen by the user: a zip, or ``bundle.json`` in a bundle's folder."""
        if not path:
            path = qt.QFileDialog.getOpenFileName(
                slicer.util.mainWindow(), _("Add a model"), "", _("Models (*.zip bundle.json);;All files (*)")
            )
        if not path:
            return
        folder = str(path).removesuffix("bundle.json") or "."
        self._start(lambda: self.logic.addModel(folder, False, self._added))

    def verify(self) -> None:
        """Check the weights of the chosen bundle."""
        if self.bundle is not None:
            folder = str(self.bundle.path)
            self._start(lambda: self.logic.verifyModel(folder, False, self._verified))

    def remove(self) -> None:
        """Delete the chosen bundle, where the user has added it."""
        bundle = self.bundle
        if bundle is None:
            return
        question = _("Delete the model {name} in {folder}?").format(name=bundle.name, folder=bundle.path)
        if not slicer.util.confirmYesNoDisplay(question, windowTitle=_("Remove a model")):
            return
        try:
            self.logic.removeModel(bundle.name)
        except InputError as error:
            slicer.util.errorDisplay(parts.plain(str(error)))
        self.refresh()

    @staticmethod
    def _start(start: Callable[[], Any]) -> None:
        """Have the worker do something: checking and adding take libraries that only it has."""
        try:
            start()
        except InputError as error:
            slicer.util.errorDisplay(parts.plain(str(error)))
        except Cancelled:
            pass

    def _added(self, job: Any) -> None:
        if job.error is None:
            self.refresh(job.answer["name"])
        elif not isinstance(job.error, Cancelled):
            slicer.util.errorDisplay(parts.plain(str(job.error)))

    def _verified(self, job: Any) -> None:
        if job.error is None:
            slicer.util.infoDisplay(_("The model {name} is complete and unchanged.").format(name=job.answer["name"]))
        elif not isinstance(job.error, Cancelled):
            slicer.util.errorDisplay(parts.plain(str(job.error)))

    def _changed(self, _index: int) -> None:
        if self._filling:
            return
        self._describe()
        self._on_change()

    def _describe(self) -> None:
        bundle = self.bundle
        for widget in (self.ui.verifyModelButton, self.ui.removeModelButton, self.ui.licenseButton):
            widget.enabled = bundle is not None
        fast = fast_line(bundle.card) if bundle is not None else ""
        self.ui.fastCheckBox.visible = bool(fast)
        self.ui.fastCheckBox.toolTip = fast or _("This model has no fast mode.")
        if bundle is None:
            self.label.text = _("No model is installed; reinstall the extension, or add one.")
            return
        classes = ", ".join(info.name for info in bundle.classes if info.value)
        license_note = ""
        if not bundle.license["permissive"]:
            license_note = _("to be agreed to before the first run") if bundle.needs_agreement else _("agreed to")
        lines = [
            _("A demonstration, not for patients' images.") if bundle.is_demonstration else "",
            bundle.card.get("description", ""),
            _("Reads {sequences}.").format(sequences=", ".join(bundle.sequences)),
            _("Segments {classes}.").format(classes=classes) if classes else "",
            _("Synthesises {targets}.").format(targets=", ".join(bundle.targets)) if bundle.targets else "",
            _("Version {version}, {size:.1f} MB, licence {license}{note}.").format(
                version=bundle.version,
                size=bundle.card["weights"].get("bytes", 0) / 1e6,
                license=bundle.license["name"],
                note=f" ({license_note})" if license_note else "",
            ),
        ]
        lines.append(bundle.card.get("intended_use", ""))
        self.label.text = "\n".join(line for line in lines if line)
        about = (
            *quality_lines(bundle.card),
            bundle.card.get("quality_note", ""),
            bundle.card.get("limitations", ""),
            bundle.card.get("citation", ""),
        )
        self.label.toolTip = parts.plain("\n".join(line for line in about if line))
