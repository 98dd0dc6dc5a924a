"""Programs in 8-bit integers for the fast mode of a bundle: static post-training quantisation by NNCF.

A tool of developers: it needs nncf (3.4 was used) and openvino, and its result travels with the bundle, whose user
needs openvino alone. Scales come from slices of digital subjects, through the preprocessing that real studies go
through; nobody's images are needed to make, or to repeat, a fast mode.
"""

from __future__ import annotations

import io
import logging
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..datasets.volumes import Subject
from ..errors import InputError
from ..inference.backends.compiled import CompiledNetwork
from ..inference.engine import neighbours
from ..inference.framing import Frame

Inputs = tuple[np.ndarray, ...]


def calibration(
    network: CompiledNetwork, subjects: Iterable[Subject], slices: int = 12, seed: int = 0
) -> dict[str, list[Inputs]]:
    """Program -> inputs as they are when subjects are segmented: every encoder sees slices of its sequence, the head
    anatomies of one sequence, of two, ... of all.

    Args:
        network: the exact one.
        slices: of each subject, evenly spread over its mask.
        seed: of the choice of sequences that the head sees together.
    """
    generator = np.random.default_rng(seed)
    abilities = network.capabilities
    found: dict[str, list[Inputs]] = {}
    for subject in subjects:
        frame = Frame(subject.mask, abilities.size_multiple, abilities.size)
        filled = np.flatnonzero(subject.mask.any(axis=(1, 2)))
        chosen = filled[np.linspace(0, len(filled) - 1, slices).round().astype(int)]
        mask = frame.into(subject.mask[chosen][:, None].astype(np.float32), 0.0)
        images = {
            name: frame.into(neighbours(image.astype(np.float32), chosen, abilities.slices), 0.0)
            for name, image in subject.images.items()
            if name in abilities.sequences
        }
        factors = network.encode(images, mask, styles=False)
        for n in range(len(chosen)):
            for name, image in images.items():
                found.setdefault(f"anatomy-{name}", []).append((image[n : n + 1], mask[n : n + 1]))
            count = 1 + n % len(images)
            names = generator.choice(list(images), count, replace=False)
            together = np.stack([factors.anatomy[name][n : n + 1] for name in names])
            found.setdefault("segment", []).append((together,))
    return found


def quantised(network: CompiledNetwork, inputs: dict[str, list[Inputs]]) -> bytes:
    """A zip of the programs that ``inputs`` names, quantised: ``NAME.xml`` and ``NAME.bin`` each.

    Args:
        network: the exact one.
        inputs: see :func:`calibration`.

    Raises:
        InputError: nncf is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise InputError("Quantisation needs nncf; install it with: pip install nncf") from error
    import openvino

    nncf.set_log_level(logging.ERROR)
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bag:
        for name, examples in inputs.items():
            program = nncf.quantize(network.model(name), nncf.Dataset(examples, list), subset_size=len(examples))
            openvino.save_model(program, Path(scratch) / f"{name}.xml", compress_to_fp16=True)
            for suffix in (".xml", ".bin"):
                # Without a date: the same programs make the same file.
                entry = zipfile.ZipInfo(name + suffix, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                bag.writestr(entry, (Path(scratch) / (name + suffix)).read_bytes())
    return archive.getvalue()
