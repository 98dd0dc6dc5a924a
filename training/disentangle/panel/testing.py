"""What the self-tests of both modules need."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import slicer

from ..mrml.volumes import fill_volume


def load_phantom(seed: int = 7, spacing: float = 2.0) -> tuple[dict[str, slicer.vtkMRMLScalarVolumeNode], np.ndarray]:
    """A digital subject in the scene: its volumes by sequence, and its labels [k, j, i] on the grid of the first."""
    from ..phantoms.brain import BrainPhantomConfig, brain_phantom

    study = brain_phantom(seed, BrainPhantomConfig(spacing=spacing, sequences=("T1", "T1Gd", "T2", "FLAIR"))).study
    nodes = {}
    for sequence, image in study.images.items():
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"Phantom {sequence}")
        fill_volume(node, image.array, image.affine)
        node.CreateDefaultDisplayNodes()
        nodes[sequence] = node
    return nodes, study.labels.array


def wait_until(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Let Slicer work until a condition holds.

    Raises:
        TimeoutError: it does not, in that time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened within {seconds:g} seconds")
        slicer.app.processEvents()
        time.sleep(0.01)
