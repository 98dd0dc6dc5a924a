"""A session's segmentation head, taught by the slices that a user corrected."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundles import Bundle, write_bundle
from ..errors import InputError
from ..progress import Progress
from ..study import Image

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .networks import Networks
    from .session import Session

_REMINDERS = 6
"""Slices without correction that the head must go on answering as before."""
_CORRECTED_WEIGHT = 5.0
"""Weight of a corrected pixel against one that the user left as it was."""
UNTAUGHT = 255
"""Value of corrections where there is nothing to learn: in segments that the user added, say."""


class Learner:
    """Adapts the segmentation head of a session's model, and undoes that.

    Args:
        session: whose study and network are learnt from and changed.
        segmentation: what the user sees and corrects, on the grid of the first input; None where nothing was segmented.

    Attributes:
        segmentation: the latest answer.
    """

    def __init__(self, session: Session, segmentation: Image | None) -> None:
        self.session, self.segmentation = session, segmentation
        self._shown, self._drawn = segmentation, False
        self._earlier: list[tuple[Image, Any]] = []

    @property
    def possible(self) -> bool:
        """Whether the model has a segmentation head that can be adapted."""
        return self.session.network.learns

    @property
    def learnt(self) -> int:
        """How many adaptations are in force."""
        return self._networks.learnt(self.session.run.whole)

    @property
    def _networks(self) -> Networks:
        """Where the adaptations are kept: they outlive the session, for the next run of the same study."""
        return self.session.run.predictor.networks

    def _head(self) -> nn.Module:
        """The segmentation head, on PyTorch from now on: compiled programs do not learn."""
        if self.session.network.name != "torch":
            self.session.forget_factors()
        self.session.run.use_torch()
        return self.session.network.head

    def drawn(self, shown: Image) -> np.ndarray:
        """Where the user has drawn: voxels that are not what was answered last, and those that were not before.

        Args:
            shown: class values on the grid of the first input; UNTAUGHT is not drawn.

        Raises:
            InputError: nothing was segmented, or that is another grid.
        """
        if self._shown is None:
            raise InputError("This run made no segmentation; press Apply first.")
        if shown.array.shape != self._shown.array.shape:
            raise InputError("This segmentation does not lie on the grid of the first input; run again.")
        return self._drawn | ((shown.array != self._shown.array) & (shown.array != UNTAUGHT))

    def answered(self, answer: Image, shown: Image, drawn: np.ndarray) -> Image:
        """Another answer than before, in which what the user has drawn stays as it is shown."""
        self.segmentation, self._drawn = answer, drawn
        self._shown = answer.with_array(np.where(drawn, shown.array, answer.array).astype(np.uint8))
        return self._shown

    def adapt(self, corrected: Image, progress: Progress, original: Image | None = None) -> dict[str, Any]:
        """Teach the segmentation head the slices that the user corrected; all else of the model stays.

        The corrected slices are learnt whole, their corrected pixels with more weight; some other slices are repeated
        with the present answer, lest it be forgotten. The rest is answered anew, and the user's own voxels stay.

        Args:
            corrected: class values on the grid of the first input; UNTAUGHT where there is nothing to learn.
            original: what it was before the corrections; None takes the run's own answer.

        Returns:
            ``segmentation`` (Image), ``slices`` learnt from, ``voxels`` corrected, ``loss`` before and after,
            ``agreement`` with the corrected voxels before and after, ``seconds``.

        Raises:
            InputError: nothing was corrected, or the model has no such head.
        """
        before = original or self.segmentation
        if not self.possible or before is None:
            raise InputError(f"The model {self.session.bundle.name} cannot learn from corrections.")
        if corrected.array.shape != before.array.shape:
            raise InputError("The corrections do not lie on the grid of the first input; run again and correct that.")
        corrected = corrected.with_array(np.where(corrected.array == UNTAUGHT, before.array, corrected.array))
        changed = corrected.array != before.array
        drawn = changed if original is not None else changed | self.drawn(corrected)
        if not changed.any():
            raise InputError("Nothing was corrected yet; correct some slices first.")
        began = time.monotonic()
        labels = self._on_working(corrected.array, corrected)
        spots = self._on_working(changed.astype(np.uint8), corrected) > 0
        spots &= self.session.prepared.mask
        slices = np.flatnonzero(spots.any(axis=(1, 2)))
        if not len(slices):
            raise InputError("The corrections lie outside what the model looks at; correct inside the brain.")
        slices = slices[np.linspace(0, len(slices) - 1, min(len(slices), 12)).round().astype(int)]
        head = self._head()
        self._networks.remember(self.session.run.whole, self.segmentation)
        self._earlier.append((self._shown, self._drawn))
        try:
            figures = self._train(head, slices, labels, spots, progress.part(0.0, 0.5))
            image = self.session.segment(list(self.session.prepared.images), progress.part(0.5, 1.0))
        except BaseException:
            self.undo()
            raise
        self.segmentation = self.answered(image, corrected, drawn)
        return {
            "segmentation": self.segmentation,
            "slices": (slices + 1).tolist(),
            "voxels": int(changed.sum()),
            "seconds": round(time.monotonic() - began, 1),
            **figures,
        }

    def _on_working(self, array: np.ndarray, like: Image) -> np.ndarray:
        return self.session.prepared.to_grid(Image(array, like.affine), "nearest", self.session.first)

    def _train(
        self, head: nn.Module, slices: np.ndarray, labels: np.ndarray, spots: np.ndarray, progress: Progress
    ) -> dict[str, Any]:
        import torch

        from .corrections import train_head

        system = self.session.network.system
        inside = np.flatnonzero(self.session.prepared.mask.any(axis=(1, 2)))
        others = np.setdiff1d(inside, slices)
        others = others[np.linspace(0, len(others) - 1, min(len(others), _REMINDERS)).round().astype(int)]
        with torch.no_grad():
            fused, target, weight = [], [], []
            for k in (*slices, *others):
                # Whatever precision encodes, the head learns in float32.
                one = system.fuse(self.session.factors_of(int(k)).each(torch.Tensor.float))
                fused.append(one)
                if k in slices:
                    target.append(self._framed(labels[k]).long())
                    emphasis = np.where(spots[k], _CORRECTED_WEIGHT, 1.0) * self.session.prepared.mask[k]
                    weight.append(self._framed(emphasis.astype(np.float32)))
                else:
                    target.append(system.segment(one).argmax(1))
                    weight.append(self._framed(self.session.prepared.mask[k].astype(np.float32)))
            # Answers lie on the device of the network, what comes from arrays does not.
            x, y, w = (torch.cat([p.to(fused[0].device) for p in parts]) for parts in (fused, target, weight))
            marked = torch.cat([self._framed(spots[k].astype(np.float32)) for k in slices]).to(x.device) > 0
        return train_head(head, lambda: system.segment(x), y, w, marked, progress)

    def _framed(self, array: np.ndarray) -> Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.session.frame.into(array[None], 0)))

    def undo(self) -> None:
        """Forget the last adaptation."""
        if not self.learnt:
            raise InputError("There is nothing to undo; the model is as it was installed.")
        self.segmentation = self._networks.undo()
        if self._earlier:  # a session after the one that learnt has seen nothing of that
            self._shown, self._drawn = self._earlier.pop()
        self.session.run.network = self._networks.network

    def save(self, folder: Any, name: str) -> Bundle:
        """Write the adapted model as a bundle of its own.

        Raises:
            InputError: nothing was learnt, or the folder cannot be written.
        """
        if not self.learnt:
            raise InputError("The model is as it was installed; there is nothing to save.")
        bundle = self.session.bundle
        system = bundle.system()  # the one that runs is folded for inference
        own = getattr(system, "head", None) or system.segmentor
        own.load_state_dict(self.session.network.head.state_dict())
        card = {k: v for k, v in bundle.card.items() if k not in ("weights", "quality", "quality_note", "islands")}
        note = f"The segmentation head of {bundle.name} {bundle.version}, adapted to corrected slices of one "
        card.update(
            name=name,
            description=f"{note}study. Its quality was not measured. {bundle.card.get('description', '')}",
            derived_from={
                "name": bundle.name,
                "version": bundle.version,
                "sha256": bundle.checksum,
            },
        )
        return write_bundle(folder, system, card)
