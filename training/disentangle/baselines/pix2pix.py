"""Pix2Pix (Isola et al., CVPR 2017), one network per ordered pair of sequences: 12 for four (method-spec 3e)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import sample

import torch
from torch import Tensor, nn

from ..adversarial_losses import discriminator_loss, generator_loss
from ..errors import InputError
from ..networks.ac_discriminator import ACDiscriminator
from ..networks.unet128 import UNet128
from ..systems.base import Batch, TrainingStep
from ..systems.draws import Translation
from ..systems.settings import arguments
from .pairwise import PairwiseTranslation, total

WEIGHTS = {"recommended": 10.0, "paper": 100.0}
"""Weight of the L1 term beside an adversarial term of weight 1; see ``ucd.PRESETS`` for the factor of ten."""


class Pix2Pix(PairwiseTranslation):
    """All ordered pairs as one system; every pair has a U-Net128 and a conditional patch discriminator.

    Args:
        sequences, classes, healthy, fidelity, width, slices, levels, discriminator_levels, value_range, completion,
            frozen, class_weights, segmentor_rate, segmentor_width: as of :class:`disentangle.systems.ucd.UCD`.
        pairs: ordered pairs [source, target] to learn, without classes; None = all.
        pairs_per_step: pairs, drawn at random, that a training step updates; with 1, all pairs together take as many
            updates as one UCD. None = all pairs.
        l1_weight: None = :data:`WEIGHTS` by ``fidelity``.
        learning_rate: of Adam, beta_1 = 0.5.
    """

    name = "pix2pix"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        fidelity: str = "recommended",
        width: float = 1.0,
        slices: int = 1,
        levels: int = 7,
        discriminator_levels: int = 5,
        pairs: Sequence[Sequence[str]] | None = None,
        pairs_per_step: int | None = 1,
        l1_weight: float | None = None,
        value_range: Sequence[float] = (-4.0, 6.0),
        completion: str = "subset",
        frozen: bool = False,
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 2e-4,
        segmentor_rate: float = 1e-3,
        segmentor_width: float | None = None,
    ) -> None:
        super().__init__(arguments(locals()), 2**levels, len(sequences) * slices)
        chosen = list(permutations(self.sequences, 2)) if pairs is None else [tuple(p) for p in pairs]
        self.pairs = [(self.index(source), self.index(target)) for source, target in chosen]
        self.need_all(len(set(self.pairs)), len(self.sequences) * (len(self.sequences) - 1))
        self.l1_weight = WEIGHTS[fidelity] if l1_weight is None else l1_weight
        shape = {"width": width, "levels": levels, "norm_deepest": self.paper}
        output = "tanh" if self.paper else "linear"
        keys = [_key(*pair) for pair in self.pairs]
        self.generators = nn.ModuleDict({k: UNet128(slices, slices, output=output, **shape) for k in keys})
        self.discriminators = nn.ModuleDict(
            {k: ACDiscriminator(2 * slices, 0, width, discriminator_levels) for k in keys}
        )
        self._drawn: dict[str, Translation] = {}

    def translate(self, source: int, target: int, image: Tensor) -> Tensor:
        """See :meth:`PairwiseTranslation.translate`.

        Raises:
            InputError: this pair has not been learned.
        """
        if _key(source, target) not in self.generators:
            names = self.sequences[source], self.sequences[target]
            raise InputError(f"This model does not translate {names[0]} to {names[1]}; add the pair to system.pairs.")
        return self.generators[_key(source, target)](image)

    def translator_steps(self) -> list[TrainingStep]:
        adam = {"lr": self.config["learning_rate"], "betas": (0.5, 0.999)}
        return [
            TrainingStep("generator", list(self.generators.parameters()), self.generator_loss, adam, None),
            TrainingStep("discriminator", list(self.discriminators.parameters()), self.discriminator_loss, adam, None),
        ]

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """L1 and adversarial term of the pairs drawn; keeps the translations for the discriminators' step."""
        count = self.config["pairs_per_step"]
        pairs = self.pairs if count is None else sample(self.pairs, min(count, len(self.pairs)))
        self._drawn = {}
        terms: dict[str, list[Tensor]] = {"paired": [], "adversarial": []}
        for source, target in pairs:
            drawn = self.pair(batch, source, batch.mask.new_full((len(batch.mask),), target, dtype=torch.long))
            if drawn is None:
                continue
            key = _key(source, target)
            fake = self.shown(self.generators[key](drawn.x), drawn.mask)
            scores, _ = self.discriminators[key](fake, drawn.x)
            terms["paired"].append(self.l1_weight * self.image_l1(fake, drawn.y, drawn.mask).mean())
            terms["adversarial"].append(generator_loss(scores, "bce").mean())
            drawn.fake = fake.detach()
            self._drawn[key] = drawn
        return {name: total(values, self.generators) for name, values in terms.items()}

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Half the cross-entropy of real and of translated images, of the pairs that the generators' step drew."""
        values = []
        for key, drawn in self._drawn.items():
            real, _ = self.discriminators[key](drawn.y, drawn.x)
            fake, _ = self.discriminators[key](drawn.fake, drawn.x)
            both = discriminator_loss(real, True, "bce") + discriminator_loss(fake, False, "bce")
            values.append(0.5 * both.mean())
        self._drawn = {}
        return {"adversarial": total(values, self.discriminators)}


def _key(source: int, target: int) -> str:
    return f"{source}-{target}"
