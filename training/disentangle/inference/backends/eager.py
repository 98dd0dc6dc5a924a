"""PyTorch as it is: the reference that every other backend is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...systems.base import Factors, System
from ..devices import describe_device
from .graphs import replays_on
from .inductor import Compilations


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 on CUDA devices in the block: what is called float32 is computed in float32.

    PyTorch lets cuDNN round the inputs of convolutions to 10 bits unless it is told otherwise, by which answers of an
    H200 differed from float32 by up to 0.0075. The switches are of the whole process, which may be somebody's own
    (Slicer's, a notebook's), and are put back.
    """
    try:
        allowing = [switch for switch in (torch.backends.cudnn, torch.backends.cuda.matmul) if switch.allow_tf32]
    except RuntimeError:  # operators were switched one by one (fp32_precision, PyTorch 2.9): somebody has decided
        allowing = []
    try:
        for switch in allowing:
            switch.allow_tf32 = False
        yield
    finally:
        for switch in allowing:
            switch.allow_tf32 = True


class EagerNetwork:
    """A system behind the interface of :class:`~disentangle.inference.backends.Network`; handles are tensors.

    Args:
        system: in evaluation mode, on the device to use.
        compiled: through ``torch.compile``, see ``inductor.py``.
        half: convolutions and matrix products in bfloat16, by autocast; what is summed and compared stays in float32.
    """

    name = "torch"

    def __init__(self, system: System, compiled: bool = False, half: bool = False) -> None:
        self.system = system
        self.half = half
        self._compilations = Compilations() if compiled else None
        self.capabilities = system.capabilities
        self.place(next(system.parameters()).device)

    @property
    def head(self) -> nn.Module | None:
        """The segmentation head, which can learn from corrections; None where the system has none."""
        return getattr(self.system, "head", None) or getattr(self.system, "segmentor", None)

    @property
    def learns(self) -> bool:
        return self.head is not None

    def place(self, device: torch.device | str) -> None:
        """Move to a device."""
        self.torch_device = torch.device(device)
        self.system.to(self.torch_device)
        if self.torch_device.type == "cuda":
            # cuDNN's fastest convolutions read this layout; it changes no number beyond rounding.
            self.system.to(memory_format=torch.channels_last)
        # A system that can be cut into programs decides nothing by values on the device, so that it can be recorded.
        static = type(self.system).programs is not System.programs
        self.replays = self._compilations or replays_on(self.torch_device, static)
        self.device = describe_device(self.torch_device)

    @torch.no_grad()
    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        encode = self.system.encode if styles else self.system.anatomies
        inside = self._tensor(mask)
        # One sequence after the other, as the engine asks, so that who cancels waits for one of them only. One pass
        # over all sequences' slices would gain little even if their kernels were the same, which they are not
        # (condconv): of brain-mr's four sequences at 128 x 128 it took 28, 26, 26, 32 ms of a core for a slice, in
        # batches of 1, 2, 3, 4 slices; one after the other took 32, 27, 25, 28 ms.
        with self._precision():
            parts = [
                self.replays((encode.__name__, name), encode, {name: self._tensor(image)}, inside)
                for name, image in images.items()
            ]
        return Factors.joined(parts)

    @torch.no_grad()
    def align(self, factors: Factors, reference: str) -> Factors:
        with self._precision():
            return self.system.align(factors, reference)

    @torch.no_grad()
    def probabilities(self, factors: Factors) -> Tensor:
        with self._precision():
            return self.replays("probabilities", self._probabilities, factors)

    @torch.no_grad()
    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        with self._precision():
            return self.system.synthesis_anatomy(factors)

    @torch.no_grad()
    def decode(self, anatomy: Tensor, styles: Sequence[Tensor | np.ndarray | str]) -> list[Tensor]:
        vectors = [self._style(style, len(anatomy)) for style in styles]
        with self._precision():
            return self.replays("decode", self.system.decode_styles, anatomy, vectors)

    def ready_to_decode(self, size: Sequence[int]) -> None:
        """Nothing: the first slice takes no longer than the next."""

    @torch.no_grad()
    def anatomy_maps(self, anatomy: Tensor, size: Sequence[int]) -> Tensor:
        return self.system.anatomy_maps(anatomy, size)

    @torch.no_grad()
    def agnostic_image(self, anatomy: Tensor, sequence: str) -> Tensor:
        with self._precision():
            return self.system.agnostic_image(anatomy, sequence)

    def default_style(self, target: str) -> np.ndarray:
        return self.system.default_style(target).detach().cpu().numpy()

    def array(self, handle: Tensor) -> np.ndarray:
        return handle.detach().float().cpu().numpy()

    def _precision(self) -> AbstractContextManager:
        """The region of the networks; what was cast of the weights is forgotten at its end, so that they may change."""
        # Autocast is not even named where it is not wanted: up to version 2.4 PyTorch has none on Apple's GPUs.
        if self.half:
            return torch.autocast(self.torch_device.type, torch.bfloat16)
        return exact_float32() if self.torch_device.type == "cuda" else contextlib.nullcontext()

    def _probabilities(self, factors: Factors) -> Tensor:
        return self.system.segment(self.system.fuse(factors)).softmax(dim=1)

    def _style(self, style: Any, count: int) -> Tensor | str:
        if isinstance(style, np.ndarray):
            style = self._tensor(style.astype(np.float32))
            return style if style.ndim == 2 else style.expand(count, -1)
        return style

    def _tensor(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.torch_device)
        if self.torch_device.type == "cuda" and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor
