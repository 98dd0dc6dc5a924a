"""The brain in a whole head, found by a small network; the classical surface stands in where it fails.

On the four series of tcga-fg-6692-native, which it was not trained on, and kept near the atlas as the surface is
(``AtlasPose.brain_mask``), its Dice is 0.942 to 0.952 (mean 0.946), that of the surface 0.902 to 0.928 (0.917); it
takes a second. Training and data are in ``Resources/BrainMask/card.json``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..preprocessing.masks import largest_filled
from ..preprocessing.resampling import canonical_axes, resample
from ..resources import resource_path
from ..study import Grid, Image

if TYPE_CHECKING:
    from ..networks.brain_unet import BrainUNet

if TYPE_CHECKING:
    pass

MM = 4.0
"""Voxels of the network's grid; its soft borders lie between them."""
_RIM = 1
_LEAST_ML, _MOST_ML = 500.0, 2300.0


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


def find_brain(image: Image) -> np.ndarray | None:
    """The brain of a whole head of any contrast: bool (K, J, I) on the image's own grid.

    None where the network is not shipped, or what it finds has not the size of a brain.
    """
    net = _network()
    if net is None:
        return None
    import torch

    array, grid = on_network_grid(image)
    if min(array.shape) <= net.multiple:  # a slab: too thin for the coarsest level, and no whole head
        return None
    padding = [(0, -n % net.multiple) for n in array.shape]
    with torch.inference_mode():
        logits = net(torch.from_numpy(np.pad(array, padding))[None, None])[0, 0].numpy()
    share = 1 / (1 + np.exp(-logits[tuple(slice(n) for n in array.shape)]))
    # A rim: the image's outermost slices lie beyond the middles of the outermost voxels.
    share = np.pad(share, _RIM, mode="edge")
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, _RIM)
    brain = Image(share.astype(np.float32), affine).to_sitk()
    mask = largest_filled(resample(brain, image.grid) > 0.5)
    volume = float(mask.sum()) * float(np.prod(image.spacing)) / 1000
    return mask if _LEAST_ML < volume < _MOST_ML else None


@lru_cache(maxsize=1)
def _network() -> BrainUNet | None:
    """The network that is shipped, in evaluation mode."""
    try:
        path = resource_path("BrainMask", "model.safetensors")
    except FileNotFoundError:
        return None
    from safetensors.torch import load_file

    from ..networks.brain_unet import BrainUNet

    net = BrainUNet()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return net.eval().requires_grad_(False)
