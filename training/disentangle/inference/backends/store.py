"""Converted bundles in the user's cache folder, and what was measured when they were converted.

``<cache>/compiled/<start of the weights' SHA-256>-<versions>/`` holds one ``.xml`` and ``.bin`` per program,
``checksums.json`` with the SHA-256 of each of these files, and ``network.json``: the system's capabilities, its default
styles, and the milliseconds per slice of the backends; and, once they have been used, ``size.json``: the (H, W) of the
slices of the last study.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...bundles import Bundle
from ...errors import InputError
from ...resources import cache_folder, resource_path
from ...study import write_atomically
from ...systems.factors import Capabilities
from .unusable import Unusable

FORMAT = 5
"""Raised whenever the programs of a system, or what runs them, change."""
TIMED_SIZE = (160, 128)
"""(H, W) of the slices that the milliseconds in ``network.json`` are of, where the system has no size of its own."""
_CARD = "network.json"
_SIZE = "size.json"
_CHECKSUMS = "checksums.json"


def openvino_version() -> str | None:
    """The installed version of OpenVINO; None where there is none. It is not imported."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return None


def folder_of(bundle: Bundle) -> Path:
    """Where a bundle's programs lie, once they are converted; another version of anything has another folder."""
    fast = "" if bundle.fast is None else f"-{bundle.fast['sha256'][:8]}"
    # Of the card, what the programs and their default styles depend on beside the weights.
    told = json.dumps([bundle.card.get(key) for key in ("system", "classes", "default_styles")], sort_keys=True)
    made_of = f"{bundle.checksum[:24]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    return cache_folder() / "compiled" / f"{made_of}{fast}-{_versions()}"


def brain_program() -> Path | None:
    """Where the program of the brain mask's network lies, once it is converted; None where that is not shipped."""
    try:
        weights = resource_path("BrainMask", "model.safetensors")
    except FileNotFoundError:
        return None
    checksum = hashlib.sha256(weights.read_bytes()).hexdigest()
    return cache_folder() / "compiled" / f"brain-mask-{checksum[:24]}-{_versions()}" / "brain.xml"


def lacks_brain(bundle: Bundle) -> bool:
    """Whether a bundle may need the network of the brain mask, and nobody has converted that."""
    program = brain_program() if bundle.preprocessing.get("mask", "auto") == "auto" else None
    return program is not None and not program.parent.is_dir()


def _versions() -> str:
    return f"{__version__}-{FORMAT}-{openvino_version()}-{platform.machine()}"


@dataclass(frozen=True)
class Converted:
    """A converted bundle.

    Attributes:
        folder: of the programs; they are there only where ``programs`` is not empty.
        programs: their names; empty where the system has none to compile, or the compiled ones were not right.
        capabilities, styles: of the system; styles are the default modality factors by target.
        milliseconds: backend -> median per slice of all sequences, encoded, fused and segmented, on this machine;
            also of "fast", the openvino backend with the bundle's programs in 8-bit integers, where it has such.
        difference: largest relative difference of any output from the reference's.
        note: why there are no programs, one sentence; "" where there are.
    """

    folder: Path
    programs: tuple[str, ...]
    capabilities: Capabilities
    styles: dict[str, np.ndarray]
    milliseconds: dict[str, float]
    difference: float = 0.0
    note: str = ""

    @property
    def pays(self) -> bool:
        """Whether the compiled programs were the faster ones."""
        return bool(self.programs) and self.milliseconds["openvino"] < self.milliseconds["torch"]

    @property
    def fast_pays(self) -> bool:
        """Whether the programs in 8-bit integers were faster than the exact ones."""
        return "fast" in self.milliseconds and self.milliseconds["fast"] < self.milliseconds["openvino"]


def read(bundle: Bundle) -> Converted | None:
    """What is there for a bundle; None where nothing, or something damaged, is there."""
    folder = folder_of(bundle)
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        abilities = {n: tuple(v) if isinstance(v, list) else v for n, v in card.pop("capabilities").items()}
        styles = {n: np.array(v, np.float32) for n, v in card.pop("styles").items()}
        programs = tuple(card.pop("programs"))
        if any(not (folder / f"{name}{suffix}").is_file() for name in programs for suffix in (".xml", ".bin")):
            return None
        return Converted(folder, programs, Capabilities(**abilities), styles, **card)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_card(converted: Converted, folder: Path) -> None:
    """Write ``network.json`` into a folder."""
    card: dict[str, Any] = asdict(converted)
    del card["folder"]
    card["styles"] = {name: style.tolist() for name, style in converted.styles.items()}
    (folder / _CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")


def seal(folder: Path) -> None:
    """Remember what the programs in a folder are, for :func:`refuse_damaged`."""
    (folder / _CHECKSUMS).write_text(json.dumps(_checksums(folder), indent=1), encoding="utf-8")


def refuse_damaged(folder: Path) -> None:
    """Delete a folder whose programs are not what they were.

    Raises:
        Unusable: it was deleted.
    """
    found = _checksums(folder)
    try:
        sealed = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        wrong = [name for name, checksum in sealed.items() if found.get(name) != checksum]
    except (OSError, ValueError, AttributeError):
        wrong = [_CHECKSUMS]
    if wrong:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unusable(f"{wrong[0]} in the cache was damaged", damaged=True)


def _checksums(folder: Path) -> dict[str, str]:
    """File -> SHA-256, of programs; 9 MB, as of brain-mr, take some 10 ms."""
    files = sorted(file for suffix in ("xml", "bin") for file in folder.glob(f"*.{suffix}"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def last_size(folder: Path) -> tuple[int, ...]:
    """(H, W) of the slices that programs were used for last; () where that is not known."""
    try:
        height, width = json.loads((folder / _SIZE).read_text(encoding="utf-8"))
        return int(height), int(width)
    except (OSError, ValueError, TypeError):
        return ()


def keep_size(folder: Path, size: Sequence[int]) -> None:
    """Remember (H, W) for :func:`last_size`, as far as the disk lets."""
    with contextlib.suppress(OSError, InputError), write_atomically(folder / _SIZE) as temporary:
        temporary.write_text(json.dumps(list(size)), encoding="utf-8")
