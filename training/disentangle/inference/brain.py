"""The brain in a whole head, found by a small network; the classical surface stands in where it fails.

On the four series of tcga-fg-6692-native, which it was not trained on, and kept near the atlas as the surface is
(``AtlasPose.brain_mask``), its Dice is 0.935 to 0.969 (mean 0.955), that of the surface 0.903 to 0.946 (0.927); it
takes a second. Training and data are in ``Resources/BrainMask/card.json``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..parallel import cores
from ..preprocessing.masks import largest_filled
from ..preprocessing.resampling import canonical_axes, resample
from ..resources import resource_path
from ..study import Grid, Image
from .backends.store import brain_program, openvino_version, refuse_damaged
from .backends.unusable import Unusable, load_openvino, openvino_may_fail, torch_instead

if TYPE_CHECKING:
    from ..networks.brain_unet import BrainUNet

MM = 4.0
"""Voxels of the network's grid; its soft borders lie between them."""
_RIM = 1
_MULTIPLE = 8
"""Sizes that the network reads, see ``BrainUNet.multiple``."""
_LEAST_ML, _MOST_ML = 500.0, 2300.0

notes: list[str] = []
"""Sentences for the next report: why PyTorch computed although the compiled network was asked for."""


def on_network_grid(image: Image) -> tuple[np.ndarray, Grid]:
    """An image in [0, 1] on a 4 mm grid over it, along the patient's axes as far as its own allow, and that grid."""
    axes = canonical_axes(image.grid.direction)
    corners = image.grid.corners() @ axes
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.maximum(np.round((high - low) / MM).astype(int), 8)
    affine = np.eye(4)
    affine[:3, :3] = axes * MM
    affine[:3, 3] = axes @ ((low + high) / 2 - (size - 1) / 2 * MM)
    grid = Grid(tuple(int(n) for n in size[::-1]), affine)
    array = resample(image.to_sitk(), grid)
    low, high = np.quantile(array, (0.005, 0.995))
    return np.clip((array - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32), grid


def find_brain(image: Image, compiled: bool = True) -> np.ndarray | None:
    """The brain of a whole head of any contrast: bool (K, J, I) on the image's own grid.

    None where the network is not shipped, or what it finds has not the size of a brain.

    Args:
        compiled: take the compiled network where it is there, which needs no torch; where it fails, PyTorch answers,
            and :data:`notes` tells.
    """
    array, grid = on_network_grid(image)
    if min(array.shape) <= _MULTIPLE:  # a slab: too thin for the coarsest level, and no whole head
        return None
    padded = np.pad(array, [(0, -n % _MULTIPLE) for n in array.shape])[None, None]
    logits = _logits(padded, compiled)
    if logits is None:
        return None
    logits = logits[0, 0]
    share = 1 / (1 + np.exp(-logits[tuple(slice(n) for n in array.shape)]))
    # A rim: the image's outermost slices lie beyond the middles of the outermost voxels.
    share = np.pad(share, _RIM, mode="edge")
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, _RIM)
    brain = Image(share.astype(np.float32), affine).to_sitk()
    mask = largest_filled(resample(brain, image.grid) > 0.5)
    volume = float(mask.sum()) * float(np.prod(image.spacing)) / 1000
    return mask if _LEAST_ML < volume < _MOST_ML else None


def _logits(array: np.ndarray, compiled: bool) -> np.ndarray | None:
    """Logits (1, 1, K, J, I); None where the network is not shipped."""
    program = brain_program() if compiled and openvino_version() else None
    if program is not None and program.is_file():
        try:
            refuse_damaged(program.parent)
            return compiled_logits(program, array)
        except Unusable as error:
            notes.append(torch_instead(error.reason))
    return _torch_logits(array)


def compiled_logits(program: Path, array: np.ndarray) -> np.ndarray:
    """Logits (1, 1, K, J, I) by the converted network.

    Raises:
        Unusable: OpenVINO fails.
    """
    core = load_openvino().Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(cores())}
    with openvino_may_fail():
        model = core.read_model(program)
        model.reshape({model.inputs[0]: list(array.shape)})
        return core.compile_model(model, "CPU", settings)(array)[0]


def _torch_logits(array: np.ndarray) -> np.ndarray | None:
    net = torch_network()
    if net is None:
        return None
    import torch

    with torch.inference_mode():
        return net(torch.from_numpy(array)).numpy()


@lru_cache(maxsize=1)
def torch_network() -> BrainUNet | None:
    """The network that is shipped, in evaluation mode; None where none is."""
    try:
        path = resource_path("BrainMask", "model.safetensors")
    except FileNotFoundError:
        return None
    from safetensors.torch import load_file

    from ..networks.brain_unet import BrainUNet

    net = BrainUNet()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return net.eval().requires_grad_(False)
