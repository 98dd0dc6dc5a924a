"""Choosing a bundle: what it does, its quality, its licence."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from ..bundles import Bundle, list_bundles
from ..errors import Cancelled
from .text import _


class ModelBox:
    """The list of models and a description of the chosen one.

    Args:
        combo: names of the models.
        label: description and licence.
        accepts: whether a model can do what the module is for.
        on_change: called when another model is chosen.
    """

    def __init__(
        self,
        combo: qt.QComboBox,
        label: qt.QLabel,
        accepts: Callable[[Bundle], bool],
        on_change: Callable[[], None],
    ) -> None:
        self.combo = combo
        self.label = label
        self.bundles = {bundle.name: bundle for bundle in list_bundles() if accepts(bundle)}
        for name in self.bundles:
            combo.addItem(name)
        self._describe()
        self._on_change = on_change
        combo.connect("currentIndexChanged(int)", self._changed)

    @property
    def bundle(self) -> Bundle | None:
        """The chosen model; None where there is none."""
        return self.bundles.get(self.combo.currentText)

    def choose(self, name: str) -> None:
        """Choose a model by name; an unknown name changes nothing."""
        index = self.combo.findText(name)
        if index >= 0:
            self.combo.currentIndex = index

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
        if not slicer.util.confirmYesNoDisplay(question, windowTitle=_("Licence of the model")):
            raise Cancelled(_("The licence of the model was not agreed to."))
        bundle.agree()

    def _changed(self, _index: int) -> None:
        self._describe()
        self._on_change()

    def _describe(self) -> None:
        bundle = self.bundle
        if bundle is None:
            self.label.text = _("No model is installed; reinstall the extension.")
            return
        classes = ", ".join(info.name for info in bundle.classes if info.value)
        lines = [
            bundle.card.get("description", ""),
            _("Reads {sequences}.").format(sequences=", ".join(bundle.sequences)),
            _("Segments {classes}.").format(classes=classes) if classes else "",
            _("Synthesises {targets}.").format(targets=", ".join(bundle.targets)) if bundle.targets else "",
            _("Version {version}, licence {license}.").format(version=bundle.version, license=bundle.license["name"]),
        ]
        self.label.text = "\n".join(line for line in lines if line)
        about = (bundle.card.get("intended_use", ""), bundle.card.get("citation", ""))
        self.label.toolTip = "\n".join(line for line in about if line)
