"""From a checkpoint to a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bundles import Bundle, write_bundle
from ..preprocessing import PreprocessingConfig
from ..systems.base import System
from .checkpoints import load_checkpoint, system_from_checkpoint
from .lineage import lineage

PERMISSIVE = {"name": "Apache-2.0", "permissive": True}
_PARTS = {
    "Short-axis MR of the heart": {"cine", "LGE", "myocardium", "left ventricle", "right ventricle"},
    "CT and MR of the abdomen": {"T1in", "T1out", "T2SPIR", "CT", "liver", "spleen", "right kidney", "left kidney"},
}
"""Part of the body -> sequences and classes that are found there alone."""


def export(
    checkpoint: str | Path,
    output: str | Path,
    card: Mapping[str, Any] | None = None,
    half: bool = True,
) -> Bundle:
    """Write a bundle.

    Args:
        checkpoint: ``final.ckpt`` of a run (default styles set).
        output: the bundle's folder; its name is the bundle's name unless ``card`` has one.
        card: further entries of the model card (``version``, ``quality``, ``description``, ...), and corrections.
        half: half-precision weights.

    Raises:
        InputError: no checkpoint, a defect in the card, or the folder cannot be written.
    """
    content = load_checkpoint(checkpoint)
    system = system_from_checkpoint(content)
    config, data = content["config"], content["data"]
    full = {
        "name": Path(output).name,
        "license": license_of(data),
        "preprocessing": PreprocessingConfig.from_dict(config["preprocessing"]).to_dict(),
        "intended_use": f"{part_of(system)}. A research tool, not a medical device; not for diagnosis.",
        "training": {"data": data, "steps": content["iteration"], "seed": config["seed"], "config": config},
        "training_runs": lineage(checkpoint),
        **({"citation": system.citation} if system.citation else {}),
        **(card or {}),
    }
    return write_bundle(output, system, full, half)


def part_of(system: System) -> str:
    """What a system is meant for, as its sequences and classes tell."""
    abilities = system.capabilities
    names = {*abilities.known, *abilities.classes}
    found = (part for part, hints in _PARTS.items() if names & hints)
    return next(found, "MR and PET of the adult brain" if "PET" in names else "MR of the adult brain")


def license_of(data: list[dict[str, Any]]) -> dict[str, Any]:
    """Licence of weights trained on ``data``: Apache-2.0 for phantoms alone, CC BY where every study is under CC BY,
    else that of the most restrictive study, which a user must agree to; a study without a licence counts as such."""
    names = sorted({d.get("license", "no licence stated") for d in data if "seeds" not in d})
    restricted = [n for n in names if not n.upper().startswith("CC BY") or {"NC", "SA", "ND"} & _words(n)]
    if restricted:
        return {"name": max(restricted, key=lambda n: "NC" in _words(n)), "permissive": False}
    if not names:
        return dict(PERMISSIVE)
    # CC BY asks for credit and is not share-alike: what is made of works under any of its versions may come under 4.0.
    credits = "; ".join(sorted({d["citation"] for d in data if "citation" in d}))
    return {"name": "CC BY 4.0", "permissive": True, "text": f"Trained on studies under CC BY: {credits}."}


def _words(name: str) -> set[str]:
    return set(re.split(r"[^A-Z]+", name.upper()))
