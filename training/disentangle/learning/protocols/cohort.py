"""The subjects that a protocol scores its methods on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ...datasets.studies import find_studies
from ...datasets.volumes import Subject
from ...errors import InputError
from ...progress import Progress
from ..config import load_config
from ..data import load_data
from .settings import ProtocolSettings

SETTINGS = ("phantoms", "first_seed", "arguments", "variants", "studies")
FIRST_TEST_SEED = 900_000
"""Phantoms from here on are never trained on."""


def left_out(config: Mapping[str, Any], fold: int, folds: int) -> list[str]:
    """Names of the studies of every ``folds``-th person of ``data.studies``, from number ``fold`` on.

    Raises:
        InputError: no studies, or no person in the fold.
    """
    studies = config["data"]["studies"]
    if not studies or not 0 <= fold < folds:
        raise InputError("Folds need data.studies, and numbers from 0 to test.studies - 1; correct them.")
    persons: dict[str, list[str]] = {}
    for folder in find_studies(studies["folder"], studies["include"], studies["exclude"]):
        same = (names[0] for names in studies["same_subject"] if any(fnmatchcase(folder.name, n) for n in names))
        persons.setdefault(next(same, folder.name), []).append(folder.name)
    names = [name for person in sorted(persons)[fold::folds] for name in persons[person]]
    if not names:
        raise InputError(f"There are {len(persons)} persons, too few for {folds} folds; lower test.studies.")
    return names


def in_fold(config: Mapping[str, Any], fold: int) -> dict[str, Any]:
    """A training configuration with that fold of the split of each of its data sets."""
    sets = config["data"]["dataset"]
    chosen = {**sets, "fold": fold} if isinstance(sets, Mapping) else [{**s, "fold": fold} for s in sets]
    return {**config, "data": {**config["data"], "dataset": chosen}}


def for_all(config: Mapping[str, Any], settings: ProtocolSettings) -> dict[str, Any]:
    """A method's training configuration with the sequences of all methods, the slices of the common system, and the
    classes of the first method with any where it has none: every method is scored on the same subjects."""
    common = settings.common.get("system", {})
    names: list[str] = []
    for system in (common, config["system"], *(m.changes.get("system", {}) for m in settings.methods)):
        names += [*system.get("sequences", ()), *([system["target"]] if system.get("target") else [])]
    names = [n for n in dict.fromkeys(names) if "{" not in n]
    frame = {key: common[key] for key in ("name", "size") if key in common}
    frame["classes"] = _classes(config, settings)
    return {**config, "system": {**config["system"], **frame, "sequences": names}}


def _classes(config: Mapping[str, Any], settings: ProtocolSettings) -> list[str]:
    """The classes of a method, or of the first one that segments: data sets are read without labels for those alone
    that do not (translators, say)."""
    own = config["system"]["classes"]
    others = (m.changes.get("system", {}).get("classes", ()) for m in settings.methods)
    named = (load_config({"system": {"classes": c}})["system"]["classes"] for c in others)
    return list(next((c for c in (own, *named) if len(c) > 1), own))


def kinds(subjects: Iterable[Subject]) -> str:
    """What subjects are, for a heading: "digital hearts", "BraTS 2018 and real studies"."""
    found = []
    for subject in subjects:
        if subject.source == "phantom":
            kind = subject.about.get("kind", "brain")
            found.append(f"digital {kind}s" + (" with PET" if "PET" in subject.images else ""))
        else:
            found.append("real studies" if subject.source == "study" else subject.about.get("source", subject.source))
    return " and ".join(dict.fromkeys(found))


def test_subjects(
    config: Mapping[str, Any], test: Mapping[str, Any], fold: int | None = None, progress: Progress | None = None
) -> list[Subject]:
    """Subjects that no training of the protocol saw.

    Args:
        config: complete training configuration, before any fold is left out.
        test: section ``test`` of the protocol: ``phantoms`` (how many), ``first_seed``, ``arguments`` (changes of
            ``data.phantoms.arguments``) and ``variants`` (in place of those of ``data.phantoms``); or ``studies``, the
            number of folds that the persons of ``data.studies`` are dealt to, see :func:`left_out`. Where there are
            data sets, it is their test part, unless ``phantoms`` are asked for.
        fold: of ``test.studies`` or of the data sets; None tests on phantoms, or on the fold that ``config`` names.

    Raises:
        InputError: nothing to test on, or subjects that are trained on.
    """
    unknown = sorted(set(test) - set(SETTINGS))
    if unknown:
        raise InputError(f'There is no setting "test.{unknown[0]}"; its settings are {", ".join(SETTINGS)}.')
    data, count = config["data"], int(test.get("phantoms", 0))
    if data["dataset"] and not count:
        chosen = config if fold is None else in_fold(config, fold)
        alone = {**chosen["data"], "phantoms": None, "studies": None}
        return load_data({**chosen, "data": alone}, progress, parts=("test",)).test
    if fold is not None:
        names = left_out(config, fold, int(test.get("studies", 0)))
        studies = {**data["studies"], "include": names, "exclude": []}
        return load_data({**config, "data": {**data, "phantoms": None, "studies": studies}}, progress).training
    if not data["phantoms"] or not count:
        raise InputError(
            "The protocol has nothing to test on; set test.phantoms, test.studies and folds, or data.dataset."
        )
    used = data["phantoms"]["first_seed"] + data["phantoms"]["subjects"] + data["phantoms"]["validation"]
    first = int(test.get("first_seed", FIRST_TEST_SEED))
    if data["phantoms"]["first_seed"] - count < first < used:
        raise InputError("The phantoms to test on are among those trained on; set test.first_seed.")
    arguments = {**data["phantoms"]["arguments"], **test.get("arguments", {})}
    phantoms = {**data["phantoms"], "subjects": 0, "validation": count, "first_seed": first, "arguments": arguments}
    phantoms["variants"] = test.get("variants", phantoms["variants"])
    return load_data(
        {**config, "data": {**data, "phantoms": phantoms, "studies": None, "dataset": None}}, progress
    ).validation
