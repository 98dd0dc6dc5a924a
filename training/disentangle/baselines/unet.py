"""U-Net of one or several sequences (Ronneberger et al. 2015; Chartsias et al., section IV-B; method-spec 2e)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..networks.unet import UNet
from ..systems.settings import arguments
from .slicewise import CROSS_ENTROPY, SlicewiseSegmenter


class UNetBaseline(SlicewiseSegmenter):
    """DAFNet's U-Net with class logits instead of an anatomy; one network that is not told the sequence.

    UNet-single has one sequence in ``sequences``, UNet-multi all of them: their images are mixed.

    Args:
        sequences: canonical names.
        classes: names of the labels, index 0 the background.
        healthy: class indices that HEALTHY pixels may carry.
        width: multiplier of all channel counts.
        slices: adjacent slices per image.
        norm: "instance" or "batch" (published).
        learning_rate: of Adam.
        cross_entropy: weight beta of the cross-entropy within L_sup.
    """

    name = "unet"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int] = (0,),
        width: float = 1.0,
        slices: int = 1,
        norm: str = "instance",
        learning_rate: float = 1e-4,
        cross_entropy: float = CROSS_ENTROPY,
    ) -> None:
        super().__init__(arguments(locals()))
        self.network = UNet(slices, len(self.capabilities.classes), width, norm)

    def logits(self, image: Tensor, sequence: str) -> Tensor:
        return self.network(image)
