"""What a bundle is timed against: the networks of peers of its tasks, with random weights.

They read voxels of 1 mm, a bundle of brains those of 1.5 mm; nothing of what prepares their input, or takes their
output back, is timed.
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from monai.networks.nets import DynUNet, SegResNet
from speed_targets import NNUNET, SEGRESNET
from turns import Job

from disentangle.inference.backends.choose import compiled_network
from disentangle.inference.backends.convert import save_programs
from disentangle.networks.unet128 import UNet128
from disentangle.systems import create

TILE = 128
"""Edge of the patches of nnU-Net's 3d_fullres configuration for BraTS."""
WINDOW = (240, 240, 160)
"""Voxels of 1 mm of the sliding window of MONAI's bundle brats_mri_segmentation: a study at once."""


def nnunet_tiles(box: tuple[int, int, int]) -> int:
    """How many patches a sliding window of half a patch needs for the box around the brain, in voxels of 1 mm."""
    return int(np.prod([max(1, int(np.ceil((n - TILE) / (TILE / 2))) + 1) for n in box]))


def nnunet() -> torch.nn.Module:
    """The network of nnU-Net v2, 3d_fullres for BraTS: six stages of 32 to 320 channels, as MONAI's DynUNet has it."""
    strides = [1, 2, 2, 2, 2, 2]
    filters = [32, 64, 128, 256, 320, 320]
    return DynUNet(3, 4, 4, [3] * 6, strides, strides[1:], filters=filters, norm_name="instance").eval()


def segresnet() -> torch.nn.Module:
    """The network of MONAI's bundle brats_mri_segmentation, with 8 filters."""
    return SegResNet(
        spatial_dims=3, init_filters=8, in_channels=4, out_channels=3, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)
    ).eval()


DAFNET_WIDTHS = {"published width": 1.0, "slim, an eighth of it": 0.125}
AT_ONCE = 4
"""Slices of DAFNet at once, as many as the product takes."""


def dafnet(width: float, slices: int) -> dict[str, Callable[[], Any]]:
    """Encoding four sequences of slices of 128 x 128, fusing and segmenting them by DAFNet: PyTorch, and compiled."""
    names = ("T1", "T1Gd", "T2", "FLAIR")
    classes = [f"class {n}" for n in range(8)]
    system = create("dafnet", sequences=names, classes=classes, size=(128, 128), width=width).fold()
    images = {name: torch.randn(slices, 1, 128, 128) for name in names}
    folder = Path(mkdtemp(prefix="dafnet-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with torch.no_grad():
        save_programs(system.programs(), folder)
    compiled = compiled_network(folder, system.capabilities, {})
    arrays, mask = {name: image.numpy() for name, image in images.items()}, np.ones((slices, 1, 128, 128), np.float32)

    def eager() -> None:
        with torch.inference_mode():
            system.segment(system.fuse(system.anatomies(images)))

    def openvino() -> None:
        compiled.probabilities(compiled.encode(arrays, mask, styles=False))

    return {"eager": eager, "compiled": openvino}


def peer_jobs(box: tuple[int, int, int], slices: int) -> dict[str, Job]:
    """The networks of peers, without what comes before and after them.

    Args:
        box: voxels of 1 mm around the brain, (K, J, I).
        slices: of the working grid.
    """
    tiles = nnunet_tiles(box)
    patch = torch.randn(1, 4, TILE, TILE, TILE)
    inside = torch.randn(1, 4, *(-(-n // 8) * 8 for n in box))
    window = torch.randn(1, 4, *WINDOW)
    stack = torch.randn(8, 1, 128, 128)
    first, second, third = nnunet(), segresnet(), UNet128(1, 1).eval()

    def quietly(network: torch.nn.Module, image: torch.Tensor) -> Callable[[], Any]:
        def job() -> None:
            with torch.inference_mode():
                network(image)

        return job

    some = f"{AT_ONCE} slices of 128x128 of {slices}, extrapolated"
    widths = {
        f"DAFNet, {name}, {how}": Job(job, slices / AT_ONCE, some, steady=width == 1.0)
        for name, width in DAFNET_WIDTHS.items()
        for how, job in dafnet(width, AT_ONCE).items()
    }
    return {
        **widths,
        NNUNET: Job(
            quietly(first, patch), tiles, f"one patch of {tiles}, step 0.5, no mirroring, extrapolated", steady=True
        ),
        SEGRESNET: Job(quietly(second, window), how="its own window, 240x240x160", steady=True),
        f"{SEGRESNET}, brain only": Job(
            quietly(second, inside), how=f"the brain's box, {'x'.join(map(str, inside.shape[2:]))}"
        ),
        "pix2pix (U-Net128), one target": Job(
            quietly(third, stack), slices / 8, f"8 slices of 128x128 of {slices}, extrapolated"
        ),
    }
