"""What translation baselines without an anatomy factor have in common: networks of their own per source sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..systems.base import Batch, Factors
from ..systems.draws import Translation, stacked
from ..systems.translation import TranslationSystem


class PairwiseTranslation(TranslationSystem):
    """Networks that translate an image of one sequence into another, seen as one system.

    In place of an anatomy it carries the images: (B, n * S, H, W), one slot per sequence, 0 where there is none. A
    target is the mean of its translations from the sequences at hand, or the sequence itself where that is at hand.
    """

    def need_all(self, learned: int, possible: int) -> None:
        """A segmentor needs stacks completed from any sequence.

        Raises:
            InputError: there are classes, but not every translation is learned.
        """
        if self.segmentor is not None and learned < possible:
            raise InputError(
                "The segmentor completes stacks from any sequence, but only some translations are learned; leave "
                "system.classes out, or learn all."
            )

    def translate(self, source: int, target: int, image: Tensor) -> Tensor:
        """Image (B, S, H, W) of sequence ``source`` as sequence ``target``, both in the networks' range."""
        raise NotImplementedError

    def anatomy_of(self, image: Tensor, sequence: int, mask: Tensor) -> Tensor:
        slots = image.new_zeros(len(self.sequences), *image.shape)
        slots[sequence] = image * mask
        return torch.cat(list(slots), dim=1)

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        return torch.stack(list(factors.anatomy.values())).sum(0)

    def merged(self, images: Tensor, keep: Tensor, mask: Tensor) -> Tensor:
        return torch.cat(list(images * keep[:, :, None, None, None] * mask), dim=1)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        """See :meth:`System.decode`. A style is a sequence's name, its code (B, n), or a blend: that of the images."""
        slots = anatomy.unflatten(1, (len(self.sequences), -1)).unbind(1)
        inside = (anatomy != 0).any(1, keepdim=True).to(anatomy.dtype)
        present = torch.stack([(x != 0).flatten(1).any(1) for x in slots])
        code = self.code(style, len(anatomy))
        images = [
            code[:, t, None, None, None] * self._target(t, slots, present, inside)
            for t in range(len(self.sequences))
            if bool((code[:, t] != 0).any())
        ]
        return torch.stack(images).sum(0) if images else torch.zeros_like(slots[0])

    def _target(self, target: int, slots: Sequence[Tensor], present: Tensor, inside: Tensor) -> Tensor:
        """One sequence (B, S, H, W) from the slots that hold an image; ``present`` (n, B) says which do."""
        own = slots[target]
        total, count = torch.zeros_like(own), present.new_zeros(len(own), dtype=own.dtype)
        for source, image in enumerate(slots):
            wanted = present[source] & ~present[target]
            if source == target or not bool(wanted.any()):
                continue
            made = self.from_network(self.translate(source, target, self.to_network(image, inside)))
            total = total + made * wanted[:, None, None, None]
            count = count + wanted
        return torch.where(present[target][:, None, None, None], own, total / count.clamp_min(1)[:, None, None, None])

    def pair(self, batch: Batch, source: int, targets: Tensor) -> Translation | None:
        """The samples of a batch that have ``source`` and the target drawn for them (B,), in the networks' range."""
        images, available = stacked(batch, self.sequences)
        rows = (available[source] & available.gather(0, targets[None])[0]).nonzero()[:, 0]
        if not len(rows):
            return None
        mask, targets = batch.mask[rows], targets[rows]
        x, y = (self.to_network(image, mask) for image in (images[source, rows], images[targets, rows]))
        labels = None if batch.labels is None else batch.labels[rows]
        return Translation(torch.full_like(targets, source), targets, x, y, mask, labels=labels)


def total(values: Sequence[Tensor], networks: nn.Module) -> Tensor:
    """Sum of the values; where no sample had the sequences drawn, a 0 that changes nothing."""
    return torch.stack(list(values)).sum() if values else next(networks.parameters()).sum() * 0.0
