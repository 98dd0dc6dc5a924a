"""NVNet on fused anatomies: the 3-D segmentation of Ouyang et al. (Myronenko 2018; method-spec 1a, downstream 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .. import losses
from ..errors import InputError
from ..networks.fusion import max_mean_min
from ..systems.base import SHOWN, Batch, Capabilities, Factors
from ..systems.settings import arguments
from .downstream import Downstream, frozen
from .tasks import TaskSystem

VAE_WEIGHT = 0.1
"""Of the squared error and of the KL of the autoencoder branch, which MONAI's class adds up 1:1."""


class NVNet(Downstream):
    """A residual 3-D U-Net whose encoder must also rebuild its input, on slabs of adjacent slices.

    An image has ``depth`` slices and what the frozen encoder needs beyond them. Every slice becomes an anatomy, those
    of all sequences are fused slice by slice, and the slab of fused anatomies is segmented as a volume. As a system of
    slices it answers for the middle one; :meth:`volume_logits` gives all.

    Args:
        sequences, classes, healthy, representation: as of :class:`Downstream`.
        size: (H, W) of the slices in training, multiples of 32: the autoencoder has fully connected layers.
        depth: slices of a slab, a multiple of 16 (64 as published).
        filters: of the first convolution, a multiple of 8 (16 in the code, 32 in the challenge).
        latent: variables of the autoencoder.
        dropout: probability.
        learning_rate, weight_decay: of Adam.
    """

    name = "nvnet"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int] = (0,),
        representation: Mapping[str, Any] | None = None,
        size: Sequence[int] = (160, 192),
        depth: int = 64,
        filters: int = 16,
        latent: int = 256,
        dropout: float = 0.2,
        learning_rate: float = 2e-4,
        weight_decay: float = 1e-5,
    ) -> None:
        config = arguments(locals())
        TaskSystem.__init__(self, {**config, "target": None})
        self.config = config
        if depth % 16 or len(size) != 2 or any(n % 32 for n in size) or filters % 8:
            raise InputError(
                "Set system.depth to a multiple of 16, system.size to two of 32, system.filters to one of 8."
            )
        self.representation = frozen(representation, sequences)
        inner = self.representation.capabilities
        self.depth = depth
        self.capabilities = Capabilities(
            sequences=tuple(sequences),
            targets=(),
            classes=tuple(classes),
            healthy=tuple(healthy),
            slices=depth + inner.slices,
            size_multiple=inner.size_multiple,
            anatomy_channels=min(depth * inner.anatomy_channels, SHOWN),
            style_dim=inner.style_dim,
        )
        # Imported here: MONAI takes seconds to import, and only this network needs it.
        from monai.networks.nets import SegResNetVAE

        self.task = SegResNetVAE(
            input_image_size=(depth, *size),
            vae_nz=latent,
            spatial_dims=3,
            init_filters=filters,
            in_channels=self.representation.fused_channels,
            out_channels=len(classes),
            dropout_prob=dropout,
        )

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """Anatomies (B, depth * C, H, W) of images (B, S, H, W); what is 0 in a slice is outside its mask."""
        anatomy, modality = {}, {}
        for sequence, image in images.items():
            blocks = image.unfold(1, self.representation.capabilities.slices, 1)[:, : self.depth].movedim(-1, 2)
            factors = self.representation.encode({sequence: blocks.flatten(0, 1)})
            anatomy[sequence] = factors.anatomy[sequence].unflatten(0, (-1, self.depth)).flatten(1, 2)
            modality[sequence] = factors.modality[sequence].unflatten(0, (-1, self.depth)).mean(1)
        return Factors(anatomy, modality, mask)

    def fuse(self, factors: Factors, available: dict[str, Tensor] | None = None) -> Tensor:
        """Fused anatomies (B, depth * F, H, W), slice by slice."""
        slices = [a.unflatten(1, (self.depth, -1)).flatten(0, 1) for a in factors.anatomy.values()]
        present = None
        if available is not None:
            present = [available[s].repeat_interleave(self.depth) for s in factors.anatomy]
        return max_mean_min(slices, present).unflatten(0, (-1, self.depth)).flatten(1, 2)

    def segment(self, fused: Tensor) -> Tensor:
        """Logits (B, L, H, W) of the middle slice."""
        return self.volume_logits(fused)[:, :, self.depth // 2]

    def volume_logits(self, fused: Tensor) -> Tensor:
        """Logits (B, L, depth, H, W) of a fused slab (B, depth * F, H, W)."""
        return self.task(self._volume(fused))[0]

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        raise InputError("This model segments only; choose one whose card lists sequences to synthesise.")

    def training_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared Dice per label, and the autoencoder's error.

        Labels (B, depth, H, W) (``sampling.labelled`` = depth) teach all slices, labels (B, H, W) the middle one.

        Raises:
            InputError: the batch has no labels.
        """
        if batch.labels is None:
            raise InputError("A training batch has no labels; use data that have them.")
        slab = self.task_input(batch)
        logits, rebuilt = self.task(self._volume(slab))
        # The mean of the anatomies sums to 1 inside the mask: it tells the mask of every slice.
        channels = self.representation.capabilities.anatomy_channels
        inside = self._volume(slab)[:, channels : 2 * channels].sum(1, keepdim=True).clamp(0, 1)
        labels = batch.labels
        if labels.ndim == 3:
            middle = slice(self.depth // 2, self.depth // 2 + 1)
            logits, inside, labels = logits[:, :, middle], inside[:, :, middle], labels[:, None]
        flat = [x.flatten(-3, -2) for x in (logits, labels, inside)]
        overlap = losses.marginal_dice(flat[0], flat[1], self.capabilities.healthy, flat[2], squared=True)
        return {"segmentation": overlap, "autoencoder": VAE_WEIGHT * rebuilt}

    def _volume(self, fused: Tensor) -> Tensor:
        return fused.unflatten(1, (self.depth, -1)).transpose(1, 2).contiguous()
