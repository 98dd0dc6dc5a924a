"""Medical Segmentation Decathlon: dataset.json names the images, 4-D where there are several sequences."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...sequences import canonical
from ...study.reading import stem_of
from ..cases import ALIGNED, Case, ImageFile, Layout, folders_named

_NAMES = {"Task03_Liver": {"cancer": "liver tumour"}}
"""Task -> name of a label in its dataset.json -> the name that tells what it is, as LiTS has it. Where there is no
class of tumours, they are then part of the liver (method-spec 5c: merge), not holes in it."""


def find(folder: Path, task: str) -> list[Case]:
    """The training cases of ``dataset.json`` in the task's folder."""
    places = [folder, *folders_named(folder, task, depth=1)]
    place = next((p for p in places if (p / "dataset.json").is_file()), None)
    if place is None:
        return []
    card = _read(place / "dataset.json")
    sequences = [canonical(name) for _, name in sorted(card["modality"].items(), key=lambda item: int(item[0]))]
    names = {int(value): str(name) for value, name in card["labels"].items() if int(value) != 0}
    names = {value: _NAMES.get(task, {}).get(name.lower(), name) for value, name in names.items()}
    cases = []
    for entry in card["training"]:
        image, label = (_existing(place / entry[key]) for key in ("image", "label"))
        subject = stem_of(image)
        single = len(sequences) == 1
        cases.append(
            Case(
                subject=subject,
                group=subject,
                images={s: ImageFile(image, None if single else n) for n, s in enumerate(sequences)},
                labels=ImageFile(label) if not single else None,
                sequence_labels={sequences[0]: ImageFile(label)} if single else {},
                label_names=names,
                missing=tuple(p for p in (image, label) if not p.is_file()),
            )
        )
    return cases


def _read(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {key: card[key] for key in ("modality", "labels", "training")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no description of a Decathlon task; download the task again.") from error


def _existing(path: Path) -> Path:
    """The path, or its unpacked (packed) sibling where only that is there."""
    other = path.with_suffix("") if path.name.endswith(".gz") else path.with_name(path.name + ".gz")
    return other if other.is_file() and not path.is_file() else path


_CITATION = "Antonelli M et al., The Medical Segmentation Decathlon, Nature Communications 13:4128, 2022."
_COMMON = {"license": "CC BY-SA 4.0", "citation": _CITATION, "url": "http://medicaldecathlon.com"}
LAYOUTS = {
    "task01": Layout(
        name="task01",
        title="Decathlon Task01_BrainTumour",
        sequences=("FLAIR", "T1", "T1Gd", "T2"),
        find=partial(find, task="Task01_BrainTumour"),
        registered=True,
        preprocessing=ALIGNED,
        **_COMMON,
    ),
    "task03": Layout(
        name="task03",
        title="Decathlon Task03_Liver",
        sequences=("CT",),
        find=partial(find, task="Task03_Liver"),
        registered=False,
        preprocessing={"normalization": "window", "spacing": [1.5, 1.5, 1.5]},
        **_COMMON,
    ),
}
