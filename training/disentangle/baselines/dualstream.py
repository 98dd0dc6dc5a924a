"""DualStream: U-Nets of all sequences that meet in one bottleneck (Valindria et al., WACV 2018; method-spec 2e)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from ..errors import InputError
from ..networks.unet import UNetDecoder, UNetEncoder
from ..systems.base import TrainingStep
from ..systems.settings import arguments
from .slicewise import CROSS_ENTROPY, SlicewiseSegmenter


class DualStream(SlicewiseSegmenter):
    """A stream per sequence: encoder and decoder of its own, bottleneck in common, trained in turn.

    "Separate encoders and decoders sharing their last and first layer respectively": the two convolutions of the
    bottleneck, at 1/16 of the size. That makes 54.9 M parameters with two sequences, where the paper quotes 56.

    Every iteration updates one stream after the other, each with the bottleneck, by an Adam of its own.

    Args:
        sequences: canonical names.
        classes: names of the labels, index 0 the background.
        healthy: class indices that HEALTHY pixels may carry.
        annotated: sequences that have a stream; the others, which have no labels to train one with, go through that
            of the first. None = all.
        width: multiplier of all channel counts.
        slices: adjacent slices per image.
        norm: "instance" or "batch".
        learning_rate: of Adam.
        cross_entropy: weight beta of the cross-entropy within L_sup.
    """

    name = "dualstream"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int] = (0,),
        annotated: Sequence[str] | None = None,
        width: float = 1.0,
        slices: int = 1,
        norm: str = "instance",
        learning_rate: float = 1e-4,
        cross_entropy: float = CROSS_ENTROPY,
    ) -> None:
        super().__init__(arguments(locals()))
        self.streams = tuple(sequences if annotated is None else annotated)
        if not self.streams or set(self.streams) - set(sequences):
            raise InputError("system.annotated must name some of system.sequences.")
        self.encoders = nn.ModuleList(UNetEncoder(slices, width, norm) for _ in self.streams)
        self.decoders = nn.ModuleList(UNetDecoder(len(classes), width, norm) for _ in self.streams)
        for decoder in self.decoders[1:]:
            decoder.bottleneck = self.decoders[0].bottleneck

    def stream(self, sequence: str) -> int:
        """Number of the stream that images of a sequence go through."""
        return self.streams.index(sequence) if sequence in self.streams else 0

    def logits(self, image: Tensor, sequence: str) -> Tensor:
        number = self.stream(sequence)
        return self.decoders[number](self.encoders[number](image))

    def training_steps(self) -> Sequence[TrainingStep]:
        adam = {"lr": self.config["learning_rate"]}
        steps = []
        for number, sequence in enumerate(self.streams):
            own = [*self.encoders[number].parameters(), *self.decoders[number].parameters()]
            loss = partial(self.training_loss, sequences=(sequence,))
            steps.append(TrainingStep(sequence, own, loss, adam, clip_norm=None))
        return steps
