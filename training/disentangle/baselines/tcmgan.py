"""TC-MGAN (Xin et al., ISBI 2020): one source to every other sequence, with tumour consistency (method-spec 3e).

Written from method-spec and from the public code's train_gan.py (hellopipu/TC-MGAN, MIT): order of the updates,
reductions, the share of synthetic and real images in the tumour network's loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import sample

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adversarial_losses import gradient_penalty
from ..errors import InputError
from ..losses import UNLABELLED
from ..networks.ac_discriminator import ACDiscriminator
from ..networks.stack_segmentor import StackSegmentor
from ..networks.unet128 import UNet128
from ..systems.base import Batch, TrainingStep
from ..systems.draws import Translation
from ..systems.settings import arguments, loss_weights
from .pairwise import PairwiseTranslation, total

WEIGHTS = {"adversarial": 1.0, "classification": 20.0, "paired": 0.1, "tumour": 1.0, "gradient_penalty": 100.0}
"""Weights of a fork of the public code, which lacks its own; that of the tumour term is open. ``paired`` multiplies
the absolute differences summed over 128 x 128 pixels of [-1, 1]; a tenth of it z-scores inside the mask."""
PIXELS = 128 * 128


class TCMGAN(PairwiseTranslation):
    """One generator, critic and tumour network per source sequence, all sources as one system.

    The published pre-training of the tumour network is a matter of the training configuration:
    ``training.ramps: {tumour: [n, n + 1], synthetic: [n, n + 1]}`` leaves it n steps of real images alone.

    Args:
        sequences, classes, healthy, fidelity, width, slices, levels, discriminator_levels, value_range, completion,
            frozen, class_weights, segmentor_rate, segmentor_width: as of :class:`disentangle.systems.ucd.UCD`.
        translate_from: sources to learn, without classes; None = all. A single one is the published network.
        sources_per_step: sources, drawn at random, that a training step updates; None = all.
        tumour_values: class indices whose union is the tumour; None = all but background and ``healthy``. Without
            classes and values there is no tumour term.
        weights: changes to :data:`WEIGHTS`.
        learning_rate: of Adam.
    """

    name = "tcmgan"

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
        translate_from: Sequence[str] | None = None,
        sources_per_step: int | None = 1,
        tumour_values: Sequence[int] | None = None,
        weights: dict[str, float] | None = None,
        value_range: Sequence[float] = (-4.0, 6.0),
        completion: str = "subset",
        frozen: bool = False,
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 2e-4,
        segmentor_rate: float = 1e-3,
        segmentor_width: float | None = None,
    ) -> None:
        super().__init__(arguments(locals()), max(2**levels, StackSegmentor.size_multiple), len(sequences) * slices)
        self.weights = loss_weights(WEIGHTS, weights)
        self.sources = [self.index(s) for s in (self.sequences if translate_from is None else translate_from)]
        self.need_all(len(self.sources), len(self.sequences))
        lesions = [v for v in range(1, len(classes)) if v not in healthy]
        self.tumour_values = lesions if tumour_values is None else list(tumour_values)
        others, keys = len(self.sequences) - 1, [str(s) for s in self.sources]
        shape = {"width": width, "levels": levels, "norm_deepest": self.paper}
        generator = {"code_dim": others, "code_at": "input", "output": "tanh" if self.paper else "linear"}
        self.generators = nn.ModuleDict({k: UNet128(slices, slices, **generator, **shape) for k in keys})
        self.critics = nn.ModuleDict(
            {k: ACDiscriminator(2 * slices, others, width, discriminator_levels) for k in keys}
        )
        wanted = keys if self.tumour_values and self.weights["tumour"] else ()
        self.tumour_networks = nn.ModuleDict({k: StackSegmentor(slices, 1, others, width) for k in wanted})
        self._drawn: dict[str, tuple[Translation, Tensor]] = {}

    def translate(self, source: int, target: int, image: Tensor) -> Tensor:
        """See :meth:`PairwiseTranslation.translate`.

        Raises:
            InputError: this source has not been learned.
        """
        if str(source) not in self.generators:
            name = self.sequences[source]
            raise InputError(f"This model does not translate from {name}; add it to system.translate_from.")
        targets = torch.full((len(image),), target, device=image.device)
        return self.generators[str(source)](image, self.other_code(source, targets, image))

    def other_code(self, source: int, targets: Tensor, like: Tensor) -> Tensor:
        """Codes (B, n - 1) of targets (B,) among the sequences that are not the source."""
        return F.one_hot(targets - (targets > source).long(), len(self.sequences) - 1).to(like.dtype)

    def translator_steps(self) -> list[TrainingStep]:
        adam = {"lr": self.config["learning_rate"]}
        networks = [
            ("critic", self.critics, self.critic_loss),
            ("generator", self.generators, self.generator_loss),
            ("tumour network", self.tumour_networks, self.tumour_loss),
        ]
        return [TrainingStep(n, list(m.parameters()), loss, adam, None) for n, m, loss in networks if len(m)]

    def critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        """WGAN-GP on patch scores summed per image, and the class of real images; draws what the other steps use."""
        count = self.config["sources_per_step"]
        self._drawn = {}
        adversarial, classes, penalties = [], [], []
        for source in self.sources if count is None else sample(self.sources, min(count, len(self.sources))):
            others = torch.randint(len(self.sequences) - 1, (len(batch.mask),), device=batch.mask.device)
            drawn = self.pair(batch, source, others + (others >= source).long())
            if drawn is None:
                continue
            code = self.other_code(source, drawn.target, drawn.x)
            self._drawn[str(source)] = drawn, code
            critic = self.critics[str(source)]
            with torch.no_grad():
                fake = self._made(str(source))
            scores, logits = critic(drawn.y, drawn.x)
            adversarial.append((_summed(critic(fake, drawn.x)[0]) - _summed(scores)).mean())
            classes.append(F.cross_entropy(logits, code.argmax(1)))
            penalty = gradient_penalty(lambda x, c=critic, d=drawn: c(x, d.x)[0], drawn.y, fake)
            penalties.append(penalty.mean())
        found = {"adversarial": adversarial, "classification": classes, "gradient_penalty": penalties}
        return {name: self.weights[name] * total(values, self.critics) for name, values in found.items()}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Adversarial, classification, L1 and tumour term of the translations drawn for the critic."""
        found: dict[str, list[Tensor]] = {"adversarial": [], "classification": [], "paired": []}
        pixels = PIXELS * (1.0 if self.paper else 0.1)
        if len(self.tumour_networks):
            found["tumour"] = []
        for key, (drawn, code) in self._drawn.items():
            fake = self._made(key)
            scores, logits = self.critics[key](fake, drawn.x)
            found["adversarial"].append(-_summed(scores).mean())
            found["classification"].append(F.cross_entropy(logits, code.argmax(1)))
            found["paired"].append(pixels * self.image_l1(fake, drawn.y, drawn.mask).mean())
            if len(self.tumour_networks):
                found["tumour"].append(self._tumour_dice(key, fake))
        return {name: self.weights[name] * total(values, self.generators) for name, values in found.items()}

    def tumour_loss(self, batch: Batch) -> dict[str, Tensor]:
        """The tumour networks' own loss: 0.7 on translations, 0.3 on real images."""
        found: dict[str, list[Tensor]] = {"synthetic": [], "real": []}
        for key, (drawn, _) in self._drawn.items():
            with torch.no_grad():
                fake = self._made(key)
            found["synthetic"].append(0.7 * self._tumour_dice(key, fake))
            found["real"].append(0.3 * self._tumour_dice(key, drawn.y))
        return {name: total(values, self.tumour_networks) for name, values in found.items()}

    def _made(self, key: str) -> Tensor:
        """The translations drawn for a source."""
        drawn, code = self._drawn[key]
        return self.shown(self.generators[key](drawn.x, code), drawn.mask)

    def _tumour_dice(self, key: str, image: Tensor) -> Tensor:
        """1 - soft Dice of the tumour that a source's network finds in images (B, S, H, W) of the targets drawn."""
        drawn, code = self._drawn[key]
        logits = self.tumour_networks[key](image, code)
        if drawn.labels is None:
            return logits.sum() * 0.0
        truth = torch.isin(drawn.labels, torch.tensor(self.tumour_values, device=logits.device))
        return soft_dice_loss(logits[:, 0], truth, drawn.labels != UNLABELLED).mean()


def soft_dice_loss(logits: Tensor, truth: Tensor, known: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice of sigmoid(logits) and a mask on the known pixels, all (B, H, W), per image: (B,)."""
    p, truth = (torch.sigmoid(logits) * known).flatten(1), (truth & known).to(logits).flatten(1)
    return 1 - (2 * (p * truth).sum(1) + smooth) / (p.sum(1) + truth.sum(1) + smooth)


def _summed(scores: Tensor) -> Tensor:
    return scores.flatten(1).sum(1)
