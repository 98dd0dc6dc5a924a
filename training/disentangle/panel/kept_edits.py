"""What the user edited in a segmentation, on its way into the result of the next run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from ..mrml.segments import EDITED, kept
from ..mrml.text import _
from ..study import Image

if TYPE_CHECKING:
    from ..inference import Result


@dataclass(eq=False)
class KeptEdits:
    """Gives the next result what was edited in the last one. Called in a thread, where no node may be asked.

    Attributes:
        node: the segmentation that was edited; for the window's thread.
        name: of that segmentation.
        labels: its class values [k, j, i].
        affine: (4, 4) LPS of the first input; None where the next run has another one.
        changed: edited class -> its name.
        own: segment that the user added -> its name.
        model: name and checksum of the model that it is of.
        kept: whether the place was the same, so that the added segments may come along.
    """

    node: slicer.vtkMRMLSegmentationNode
    name: str
    labels: np.ndarray
    affine: np.ndarray | None
    changed: dict[int, str]
    own: dict[str, str]
    model: dict[str, Any]
    kept: bool = False

    def __call__(self, result: Result) -> None:
        """Change a result, and say so in its report."""
        image = result.segmentation
        if image is None:
            return
        warnings = result.report.setdefault("warnings", [])
        if not self._fits(image):
            sentence = _(
                "What you edited is not kept, as the first input is another one, was moved or changed; {name} has it."
            )
            warnings.append(sentence.format(name=self.name))
            return
        self.kept = True
        shared = self._shared_classes(result)
        lost = ", ".join(name for value, name in self.changed.items() if value not in shared)
        if lost:
            sentence = _("What you edited is not kept ({names}), as another model computed this; {name} has it.")
            warnings.append(sentence.format(names=lost, name=self.name))
        names = ", ".join([*shared.values(), *self.own.values()])
        if names:
            warnings.append(_("Kept as you edited it: {names}.").format(names=names))
        if shared:
            self._keep(result, shared)

    def _fits(self, image: Image) -> bool:
        """Whether the result lies where the edited segmentation does."""
        if self.affine is None or image.array.shape != self.labels.shape:
            return False
        return np.allclose(image.affine, self.affine, atol=1e-3)

    def _shared_classes(self, result: Result) -> dict[int, str]:
        """The edited classes that the result's model has, too; all where it is the same model, whatever the user
        calls the segments."""
        classes = {info.value: info.name for info in result.classes}
        now = result.report.get("bundle") or {}
        if self.model and all(self.model.get(key) == now.get(key) for key in ("name", "checksum")):
            return {value: classes[value] for value in self.changed if value in classes}
        return {value: name for value, name in self.changed.items() if classes.get(value) == name}

    def _keep(self, result: Result, values: Iterable[int]) -> None:
        from ..inference.report import volumes_ml  # here: the first import takes a moment, which the thread has

        image = result.segmentation
        result.segmentation = Image(kept(image.array, self.labels, list(values)), image.affine, source=image.source)
        result.report["volumes_ml"] = volumes_ml(result)
        # They still count as edited, in the run after this one too.
        result.report["checksums"].update(dict.fromkeys(values, EDITED))
