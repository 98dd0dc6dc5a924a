"""Systems that translate work in a bundle: segmentation of completed stacks, synthesis, factors, for the predictor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentangle.bundles import write_bundle
from disentangle.inference import Predictor
from disentangle.phantoms import brain_phantom
from disentangle.registry import create
from tiny_bundle import CLASSES, SEQUENCES

PREPROCESSING = {"spacing": [4.0, 4.0, 4.0], "pose": "reference", "registration": "none"}
SETTINGS = {"sequences": SEQUENCES, "classes": CLASSES, "healthy": (0, 1, 2, 3), "width": 1 / 16}


@pytest.fixture(scope="module")
def phantom():
    return brain_phantom(5, spacing=6.0, lesions="ms")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("ucd", {}), ("ucd", {"fidelity": "paper", "levels": 5}), ("pix2pix", {"levels": 4}), ("tcmgan", {"levels": 4})],
)
def test_a_bundle_segments_synthesises_and_shows_factors(name, settings, phantom, tmp_path):
    torch.manual_seed(0)
    system = create(name, **SETTINGS, **settings)
    card = {"name": "tiny", "license": {"name": "Apache-2.0", "permissive": True}, "preprocessing": PREPROCESSING}
    predictor = Predictor(write_bundle(tmp_path / "tiny", system, card), device="cpu")
    study = phantom.study.subset(["T1", "T2"])
    result = predictor.run(study, synthesize=["FLAIR"], factors=True, cross_reconstructions=True)
    assert result.segmentation.grid.same_as(study["T1"].grid)
    assert np.isfinite(result.synthesized["FLAIR"].array).all() and result.synthesized["FLAIR"].array.any()
    anatomy = result.factors["T1"].anatomy
    assert len(anatomy) == system.capabilities.anatomy_channels
    assert result.factors["T2"].modality.tolist() == pytest.approx([0, 0, 1, 0])
