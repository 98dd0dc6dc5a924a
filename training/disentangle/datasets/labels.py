"""From the label names of a study to the classes that the systems learn."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from ..losses import HEALTHY, UNLABELLED
from ..phantoms.brain import BRAIN_CLASSES

_SYNONYMS = {
    "cerebrospinal fluid": ("csf", "ventricles"),
    "grey matter": ("gm", "cortex"),
    "white matter": ("wm", "normal appearing white matter"),
    "white matter lesion": ("wml", "wmh", "ms lesion", "white matter hyperintensity", "lesion"),
    "peritumoral edema": ("edema", "oedema", "peritumoral oedema", "vasogenic edema", "ed"),
    "necrotic or non enhancing core": (
        "necrosis",
        "necrotic core",
        "necrotic tumor core",
        "non enhancing tumor",
        "non enhancing core",
        "ncr",
        "net",
        "ncr net",
    ),
    "enhancing tumor": ("enhancing", "enhancing core", "et", "contrast enhancing tumor"),
    "background": ("outside",),
    "left ventricle": ("lv", "lv blood pool", "left ventricular blood pool", "left ventricular cavity"),
    "right ventricle": ("rv", "rv blood pool", "right ventricular blood pool", "right ventricular cavity"),
    "myocardium": ("myo", "lv myocardium", "left ventricular myocardium"),
    "kidneys": ("kidney", "right kidney", "left kidney"),
    # Parts take the class of the whole where there is no class of their own.
    "liver": ("liver tumor", "liver cancer"),
    "whole tumor": (
        "tumor",
        "peritumoral edema",
        "edema",
        "necrotic or non enhancing core",
        "non enhancing tumor",
        "enhancing tumor",
    ),
}


def class_value(name: str, classes: tuple[str, ...] = BRAIN_CLASSES) -> int:
    """The index in ``classes`` of a label name or a synonym of it, spelling variants allowed.

    Raises:
        InputError: the name is not known.
    """
    value = known_class(name, classes)
    if value is None:
        raise InputError(
            f'The label name "{name}" is not known; use one of {", ".join(classes[1:])} in the "labels" of study.json.'
        )
    return value


def known_class(name: str, classes: tuple[str, ...]) -> int | None:
    """:func:`class_value`, None where the name is not known. A class of its own goes before that of a synonym."""
    known = {_plain(c): value for value, c in enumerate(classes)}
    for canonical, synonyms in _SYNONYMS.items():
        if canonical in known:
            known = dict.fromkeys(synonyms, known[canonical]) | known
    return known.get(_plain(name))


def training_labels(
    labels: np.ndarray | None,
    names: Mapping[int, str],
    mask: np.ndarray,
    classes: tuple[str, ...] = BRAIN_CLASSES,
) -> np.ndarray:
    """Labels as the systems learn from them.

    Args:
        labels: integer labels (K, J, I) of the study; None where it has none.
        names: value -> name, as in study.json.
        mask: brain mask (K, J, I).
        classes: what to map to.

    Returns:
        uint8 (K, J, I): class index; 0 outside the mask; inside it :data:`UNLABELLED` where the study has no labels.
        Where the names leave tissues out (only lesions were drawn), unlabelled voxels are :data:`HEALTHY`; where
        they name tissues, those are :data:`UNLABELLED`.

    Raises:
        InputError: a label value has no name, or a name is not known.
    """
    mask = np.asarray(mask, bool)
    if labels is None:
        return np.where(mask, UNLABELLED, 0).astype(np.uint8)
    labels = np.asarray(labels)
    values = [int(v) for v in np.unique(labels) if v != 0]
    nameless = [v for v in values if v not in names]
    if nameless:
        raise InputError(f'Label {nameless[0]} has no name; add it to the "labels" of study.json.')
    table = {int(v): class_value(n, classes) for v, n in names.items() if int(v) != 0}
    tissues = {_plain(n) for n in ("cerebrospinal fluid", "grey matter", "white matter")}
    names_tissues = any(_plain(classes[c]) in tissues for c in table.values())
    result = np.full(labels.shape, UNLABELLED if names_tissues else HEALTHY, np.uint8)
    for value in values:
        result[labels == value] = table[value]
    result[~mask] = 0
    return result


def _plain(name: str) -> str:
    name = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    return name.replace("tumour", "tumor").replace("gray", "grey")
