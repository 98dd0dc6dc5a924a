"""A tiny untrained bundle, for tests of everything that happens around a model rather than of its quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from disentangle.bundles import Bundle, write_bundle
from disentangle.datasets.phantoms import preprocessing_of
from disentangle.phantoms import HEART_CLASSES
from disentangle.systems import create

SEQUENCES = ("T1", "T1Gd", "T2", "FLAIR")
CLASSES = ("background", "cerebrospinal fluid", "grey matter", "white matter", "white-matter lesion")
PREPROCESSING = {"spacing": [4.0, 4.0, 4.0], "pose": "reference", "registration": "none"}


def tiny_system(**config: Any):
    """A margindis of an eighth of the published width with random weights, always the same ones."""
    torch.manual_seed(7)
    settings = {
        "sequences": SEQUENCES,
        "classes": CLASSES,
        "healthy": (0, 1, 2, 3),
        "width": 0.125,
        "decoder_hidden": 32,
        "head_channels": (8, 8, 8, 8),
        **config,
    }
    system = create("margindis", **settings)
    system.set_default_styles({s: torch.randn(16) for s in settings["sequences"]})
    return system


def tiny_bundle(folder: Path, **card: Any) -> Bundle:
    """Write it to ``folder`` with preprocessing that is quick; ``card`` adds to and overrides entries of its card."""
    return write_bundle(folder, tiny_system(), {**_card(folder, PREPROCESSING), "name": "tiny", **card})


def tiny_heart_bundle(folder: Path, **arguments: Any) -> Bundle:
    """A dafnet of unregistered cine and LGE slices, with random weights; ``arguments`` are those of the phantoms."""
    torch.manual_seed(7)
    width, height = arguments["size"]
    system = create("dafnet", sequences=("cine", "LGE"), classes=HEART_CLASSES, size=(height, width), width=0.125)
    return write_bundle(folder, system, _card(folder, preprocessing_of("heart", arguments)))


def tiny_translation_bundle(folder: Path, **config: Any) -> Bundle:
    """A ucd of four brain sequences, with random weights."""
    torch.manual_seed(7)
    settings = {"sequences": SEQUENCES, "classes": CLASSES, "healthy": (0, 1, 2, 3), "width": 0.0625, **config}
    system = create("ucd", **settings)
    return write_bundle(folder, system, _card(folder, PREPROCESSING))


def tiny_agnostic_bundle(folder: Path, **config: Any) -> Bundle:
    """A dalace of T1 and T2, with random weights: it has domain-agnostic images."""
    torch.manual_seed(7)
    small = {"width": 0.05, "scales": 1, "layers": 2, "style_dim": 4, **config}
    system = create("dalace", sequences=("T1", "T2"), classes=CLASSES, healthy=(0, 1, 2, 3), **small)
    return write_bundle(folder, system, _card(folder, PREPROCESSING))


def tiny_pet_bundle(folder: Path) -> Bundle:
    """A margindis of T1, FLAIR and PET, with random weights; its PET is in SUV."""
    system = tiny_system(sequences=("T1", "FLAIR", "PET"))
    return write_bundle(folder, system, _card(folder, {**PREPROCESSING, "suv": [4.0, 2.0]}))


def tiny_bundle_of(folder: Path, *sequences: str) -> Bundle:
    """A margindis of any sequences, with random weights."""
    return write_bundle(folder, tiny_system(sequences=sequences), _card(folder, PREPROCESSING))


def _card(folder: Path, preprocessing: dict[str, Any]) -> dict[str, Any]:
    license = {"name": "Apache-2.0", "permissive": True}
    return {"name": folder.name, "license": license, "preprocessing": preprocessing}
