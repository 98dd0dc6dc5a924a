"""What every disentanglement system offers to training, inference and the panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .factors import Capabilities, Factors

__all__ = ["SHOWN", "Batch", "Capabilities", "Factors", "Part", "Program", "System", "TrainingStep"]

SHOWN = 8
"""Maps that a system with a feature map of very many channels shows of it (:meth:`System.anatomy_maps`)."""


@dataclass
class Batch:
    """Slices of B subjects, every sequence on one grid.

    Attributes:
        images: sequence -> (B, S, H, W) normalised intensities, S adjacent slices; absent sequences hold zeros.
        available: sequence -> (B,) bool, which samples really have it.
        mask: (B, 1, H, W) brain mask, float 0/1.
        labels: (B, H, W) int64 class indices, :data:`.losses.HEALTHY` or :data:`.losses.UNLABELLED`; None in
            unsupervised sets.
        subject: (B,) int64, distinct within a batch.
        sequence_labels: sequence -> (B, H, W) labels on that sequence's own slice, for sequences that are not
            registered to each other; UNLABELLED throughout where a sample is not annotated. Takes the place of
            ``labels``, see :meth:`labels_of`.
        candidates: sequence -> (B, k, S, H, W), k slices of the same subject that may be the partner of the other
            sequences' slice, in random order (pair weighting, method-spec 2b); None where partners are known.
    """

    images: dict[str, Tensor]
    available: dict[str, Tensor]
    mask: Tensor
    labels: Tensor | None = None
    subject: Tensor | None = None
    sequence_labels: dict[str, Tensor] | None = None
    candidates: dict[str, Tensor] | None = None

    def labels_of(self, sequence: str) -> Tensor | None:
        """Labels (B, H, W) on the slices of a sequence: its own where it has some, else those shared by all."""
        return (self.sequence_labels or {}).get(sequence, self.labels)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, chosen: Tensor) -> Batch:
        """Some of the samples: ``chosen`` is (B,) bool or holds their numbers."""
        return self._each(lambda tensor: tensor[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every tensor changed."""

        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: changed(tensor) for name, tensor in value.items()}
            return None if value is None else change(value)

        return Batch(**{f.name: changed(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Program:
    """A part of a folded system as a pure function of tensors, to be compiled (inference/backends).

    Attributes:
        module: takes the inputs, gives a tensor or a tuple of tensors.
        inputs: example tensors; batch, height and width may have other sizes when it runs.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]


class Part(nn.Module):
    """A computation of a system, as a module of its own that can be traced.

    Args:
        system: holds the parameters.
        compute: tensors to a tensor or a tuple of tensors.
    """

    def __init__(self, system: nn.Module, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.system = system
        self.compute = compute

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.compute(*inputs)


@dataclass(frozen=True)
class TrainingStep:
    """One optimiser update: what it minimises and which parameters it may change.

    Attributes:
        name: "generator", "discriminator", ...
        parameters: the parameters of this update.
        loss: batch -> loss terms, already weighted; their sum is minimised. The key "total" is not used.
        optimizer: keyword arguments of Adam (lr, weight_decay, amsgrad, betas).
        clip_norm: gradient norm is clipped to this; None does not clip.
        rates: parameters that learn at a multiple of the learning rate, and that multiple; 1 where none is given.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Batch], dict[str, Tensor]]
    optimizer: dict[str, Any] = field(default_factory=lambda: {"lr": 2e-4})
    clip_norm: float | None = 1.0
    rates: Sequence[tuple[Sequence[nn.Parameter], float]] = ()

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of Adam; ``factor`` of each multiplies the learning rate. ``rates`` of other parameters are
        those of another update."""
        factors = {id(p): factor for parameters, factor in self.rates for p in parameters}
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in self.parameters:
            groups.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
        return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


class System(nn.Module):
    """Base of the five systems: encode, align, fuse, segment, decode (design.md, section 4).

    A subclass takes only JSON-able keyword arguments and stores them in ``self.config``, so that
    ``type(system)(**system.config)`` rebuilds it: that is what a bundle records.
    """

    name: str = ""
    citation: str = ""
    """The publication, as a bundle's card shows it."""
    capabilities: Capabilities
    config: dict[str, Any]
    diagnostics: dict[str, Tensor]
    """Scalars worth logging beside the loss terms, filled by the losses (the fraction of active hinges, say)."""
    default_styles: Tensor
    constant_styles: bool = False
    """Whether the default styles are constants (the code of a sequence, say): training has no means to set them to."""

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """Images (B, S, H, W) by sequence, and the mask (B, 1, H, W), to factors."""
        raise NotImplementedError

    def anatomies(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """:meth:`encode` where nobody asks for modality factors: a system that can leave them out overrides it."""
        return self.encode(images, mask)

    def align(self, factors: Factors, reference: str) -> Factors:
        """Bring every anatomy onto that of ``reference``; the identity where input is registered."""
        return factors

    def fuse(self, factors: Factors) -> Tensor:
        """Fused anatomy (B, F, H, W) of whatever sequences are present, independent of their order."""
        raise NotImplementedError

    def segment(self, fused: Tensor) -> Tensor:
        """Logits (B, L, H, W) over ``capabilities.classes`` from a fused anatomy."""
        raise NotImplementedError

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        """Image (B, S, H, W) of an anatomy (B, C, H, W) in a style: z (B, Z), or a target sequence's name,
        which stands for that sequence's default style vector."""
        raise NotImplementedError

    def decode_styles(self, anatomy: Tensor, styles: Sequence[Tensor | str]) -> list[Tensor]:
        """:meth:`decode` of one anatomy in several styles; a system that can share work between them overrides it."""
        return [self.decode(anatomy, style) for style in styles]

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        """Anatomy (B, C, H, W) to decode when several sequences are present (consensus of their factors)."""
        raise NotImplementedError

    def anatomy_maps(self, anatomy: Tensor, size: Sequence[int]) -> Tensor:
        """What views and files show of an anatomy (B, C, h, w): (B, ``capabilities.anatomy_channels``, *size).

        The anatomy itself; feature maps with more channels as the root mean square of groups of neighbours.
        """
        shown = self.capabilities.anatomy_channels
        if anatomy.shape[1] != shown:
            groups = anatomy.float().tensor_split(shown, dim=1)
            anatomy = torch.stack([g.square().mean(1).sqrt() for g in groups], dim=1)
        return anatomy if anatomy.shape[-2:] == tuple(size) else F.interpolate(anatomy, tuple(size), mode="nearest")

    def agnostic_image(self, anatomy: Tensor, sequence: str) -> Tensor:
        """Domain-agnostic image (B, S, H, W) of an anatomy that was encoded from ``sequence``, where a system has such
        (``capabilities.agnostic``)."""
        raise NotImplementedError

    def training_steps(self) -> Sequence[TrainingStep]:
        """The updates of one training iteration, in order."""
        raise NotImplementedError

    def adopt(self, other: System) -> None:
        """Start a training from another system's weights (``training.init_from``).

        Raises:
            RuntimeError: another architecture.
        """
        self.load_state_dict(other.state_dict())

    def fold(self) -> System:
        """Evaluation mode, with whatever can be computed once for all inputs done now (inference)."""
        return self.eval()

    def programs(self) -> dict[str, Program]:
        """The parts of a folded system that can be compiled, by the names that ``inference.backends`` knows;
        empty where the system runs as it is only."""
        return {}

    # -- default styles: a buffer ``default_styles`` (number of targets, Z), so that they travel in the weights ------

    def index(self, sequence: str) -> int:
        """Number of a sequence among those that the system knows.

        Raises:
            InputError: the model does not know the sequence.
        """
        known = self.capabilities.sequences
        if sequence not in known:
            raise InputError(f"This model does not know {sequence}; it knows {', '.join(known)}.")
        return known.index(sequence)

    def default_style(self, sequence: str) -> Tensor:
        """Default modality factor (Z,) of a sequence (mean over the training set), set by training."""
        return self.default_styles[self.index(sequence)]

    @torch.no_grad()
    def set_default_styles(self, styles: dict[str, Tensor]) -> None:
        """Store the default modality factors."""
        for sequence, style in styles.items():
            self.default_styles[self.index(sequence)] = style.to(self.default_styles)
