"""What runs the networks of a bundle: PyTorch as it is (the reference), or programs compiled for this machine's CPU.

Both are a :class:`Network`. The compiled one needs OpenVINO and no torch; what it runs is converted once per bundle
(``convert.py``), in a process of its own, and kept in the user's cache folder (``store.py``). ``..plan`` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...systems.factors import Capabilities, Factors

Style = np.ndarray | str
"""A modality factor (Z,), (B, Z), or a target whose default style is meant."""


class Network(Protocol):
    """A folded system that takes arrays and answers with handles, which only it reads (tensors on a device, say).

    Attributes:
        name: "torch" or "openvino".
        device: for reports.
        capabilities: of the system.
        learns: it has a segmentation head that can learn from corrections (on PyTorch).
    """

    name: str
    device: str
    capabilities: Capabilities
    learns: bool

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        """Images (B, S, H, W) by sequence and mask (B, 1, H, W), float32, to factors; without modality factors where
        ``styles`` is False and the system can leave them out."""

    def align(self, factors: Factors, reference: str) -> Factors:
        """See :meth:`System.align`."""

    def probabilities(self, factors: Factors) -> Any:
        """Class probabilities (B, L, H, W) of the fused anatomy."""

    def synthesis_anatomy(self, factors: Factors) -> Any:
        """See :meth:`System.synthesis_anatomy`."""

    def decode(self, anatomy: Any, styles: Sequence[Any]) -> list[Any]:
        """Images (B, S, H, W) of an anatomy in several styles: handles (B, Z) or :data:`Style`."""

    def ready_to_decode(self, size: Sequence[int]) -> None:
        """Make ready what :meth:`decode` needs for single slices of a size (H, W), which may take a second."""

    def anatomy_maps(self, anatomy: Any, size: Sequence[int]) -> Any:
        """See :meth:`System.anatomy_maps`."""

    def agnostic_image(self, anatomy: Any, sequence: str) -> Any:
        """See :meth:`System.agnostic_image`."""

    def default_style(self, target: str) -> np.ndarray:
        """The default modality factor (Z,) of a target."""

    def array(self, handle: Any) -> np.ndarray:
        """A handle as a float32 array."""


__all__ = ["Network", "Style"]
