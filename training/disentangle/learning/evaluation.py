"""Quality of a trained system on the subjects of a configuration, and without each person in turn."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..bundles import find_bundle
from ..datasets.studies import person_of
from ..datasets.volumes import Subject
from ..errors import InputError
from ..inference.devices import choose_device
from ..inference.rules import Rules
from ..progress import Progress
from ..study import write_atomically
from ..systems.base import System
from .checkpoints import load_checkpoint, system_from_checkpoint
from .config import load_config
from .data import check_unseen, load_data, studies_of
from .reuse import train_once
from .scoring import evaluate_subject
from .summaries import summary, table


def evaluate_subjects(
    system: System,
    subjects: Iterable[Subject],
    subsets: str = "leave-one-out",
    progress: Progress | None = None,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """:func:`evaluate_subject` of each, the means over them (NaN left out), and the sequences of the system."""
    subjects, progress = list(subjects), progress or Progress()
    system.eval()
    results = []
    for index, subject in enumerate(subjects):
        progress("evaluate", index / len(subjects), subject.name)
        results.append(evaluate_subject(system, subject, subsets, rules))
    progress("evaluate", 1.0)
    sequences = list(system.capabilities.sequences)
    return {"sequences": sequences, "subjects": results, "mean": summary(results, sequences)}


def evaluate(
    source: str | Path,
    overrides: Iterable[str] = (),
    output: str | Path | None = None,
    subsets: str = "leave-one-out",
    progress: Progress | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a checkpoint or a bundle on the subjects of a configuration, print the table, write JSON.

    Args:
        source: a checkpoint (.ckpt), a bundle (name or folder), or a configuration (.yaml), which is first trained
            once per person of ``data.studies`` without that person (leave-one-study-out).
        overrides: "key=value" changes of the configuration. A checkpoint is scored on the studies that its training
            excluded (on those of ``data.studies`` where it excluded none), on its validation phantoms, and on the test
            part of its data sets; a bundle on every study of ``data.studies.folder``, or those of
            ``data.studies.include``, or the test part of ``data.dataset``. ``training.device`` says where.
        output: path of the JSON; None writes none.

    Returns:
        ``{"source", "sequences": [...], "subjects": [...], "mean": {...}}``.

    Raises:
        InputError: no such source, nothing to score, or persons to score whom the model was trained on.
    """
    source, overrides = Path(source), list(overrides)
    if source.suffix.lower() in (".yaml", ".yml"):
        report = leave_one_study_out(source, overrides, subsets, progress)
    else:
        system, config, training = _trained(source)
        config = load_config(config, overrides)
        check_unseen(str(source), training["data"], training["config"], config, ("test",), "train anew")
        # A checkpoint's device is that of its training, maybe on another machine: scoring goes on without it.
        place, note = choose_device(config["training"]["device"])
        if note and not quiet:
            print(note, flush=True)
        data = load_data(config | {"data": _scored_only(config["data"])}, progress, parts=("test",))
        subjects = [s for s in data.training if s.source != "phantom"] + data.validation + data.test
        if not subjects:
            raise InputError("There is nothing to score; set data.dataset, data.studies or data.phantoms.validation.")
        rules = None if source.suffix == ".ckpt" else Rules.of_card(find_bundle(source).card)
        report = evaluate_subjects(system.to(place), subjects, subsets, progress, rules)
    report = {"source": str(source), "overrides": overrides, **report}
    if output is not None:
        with write_atomically(output) as temporary:
            temporary.write_text(json.dumps(_json(report), indent=2) + "\n", encoding="utf-8")
    if not quiet:
        print(table(report["mean"]))
    return report


def leave_one_study_out(
    config: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    subsets: str = "leave-one-out",
    progress: Progress | None = None,
    rules: Rules | None = None,
    left_out: Iterable[str] = ("*",),
) -> dict[str, Any]:
    """Train without each person in turn and score that person's studies, by the rules of a bundle where given.

    The runs are named ``<name>-without-<study>``; one that is finished is not trained again, one that was interrupted
    goes on. With ``training.init_from`` a checkpoint that saw phantoms only, each run is a short fine-tuning.

    Args:
        config, overrides, subsets, progress: as of :func:`evaluate`.
        rules: of the bundle.
        left_out: patterns of the names of studies; the persons of these are left out, all others are trained on only.

    Raises:
        InputError: see :func:`evaluate`, or no study has such a name.
    """
    patterns = tuple(left_out)
    config = load_config(config, overrides)
    studies = config["data"]["studies"]
    place, _ = choose_device(config["training"]["device"])
    persons: dict[str, list[Subject]] = {}
    for subject in studies_of(config, progress):
        persons.setdefault(subject.group, []).append(subject)
    names = {p: [s.name for s in subjects] for p, subjects in persons.items()}
    chosen = {p for p, own in names.items() if any(fnmatchcase(name, wanted) for name in own for wanted in patterns)}
    if not chosen:
        found = ", ".join(name for own in names.values() for name in own)
        raise InputError(f"No study is called {' or '.join(patterns)}; there are {found}.")
    results: list[dict[str, Any]] = []
    sequences: list[str] = []
    for person, subjects in ((p, own) for p, own in persons.items() if p in chosen):
        name = f"{config['name']}-without-{person}"
        excluded = [*studies["exclude"], *(s.name for s in subjects)]
        changed = {**config["data"], "studies": {**studies, "exclude": excluded}}
        path = train_once(config | {"name": name, "data": changed}, progress=progress)
        system = system_from_checkpoint(load_checkpoint(path)).to(place)
        sequences = list(system.capabilities.sequences)
        results += evaluate_subjects(system, subjects, subsets, progress, rules)["subjects"]
    return {"sequences": sequences, "subjects": results, "mean": summary(results, sequences)}


def score_folds(
    checkpoints: Iterable[str | Path],
    overrides: Iterable[str] = (),
    subsets: str = "leave-one-out",
    rules: Rules | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Score every study by the model that never saw its person: folds, each trained without some persons.

    Args:
        checkpoints: one per fold, each scored on the studies that its training excluded.
        overrides: "key=value" changes of the folds' configurations (where the studies lie, say).
        subsets, rules: as of :func:`leave_one_study_out`.
        workers: processes; each scores some folds.

    Returns:
        As :func:`leave_one_study_out`.

    Raises:
        InputError: a fold excluded no study or saw a person that it excluded (in a training that it went on from,
            say), or two folds excluded the same one.
    """
    held: set[str] = set()
    folds = [(path, *_fold(path, list(overrides))) for path in map(Path, checkpoints)]
    for path, _, persons in folds:
        twice = persons & held
        if twice:
            raise InputError(f"{path} left {', '.join(sorted(twice))} out, and so did another checkpoint; name one.")
        held |= persons
    asked = [(path, config, subsets, rules) for path, config, _ in folds]
    if workers > 1:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            scored = list(pool.map(_score_fold, *zip(*asked, strict=True)))
    else:
        scored = [_score_fold(*fold) for fold in asked]
    results = sorted((result for found in scored for result in found["subjects"]), key=lambda result: result["name"])
    sequences = list(scored[0]["sequences"])
    return {"sequences": sequences, "subjects": results, "mean": summary(results, sequences)}


def _fold(path: Path, overrides: list[str]) -> tuple[dict[str, Any], set[str]]:
    """The configuration of a checkpoint with what its training excluded as its only studies, and whom they show."""
    content = load_checkpoint(path)
    config = load_config(content["config"], overrides)
    studies = config["data"]["studies"]
    if not (studies and studies["exclude"]):
        raise InputError(f"{path} left no study out; name checkpoints of runs with data.studies.exclude.")
    same, excluded = studies["same_subject"], studies["exclude"]
    persons = {person_of(name, same) for name in excluded}
    trained = [entry["name"] for entry in content["data"]]
    seen = [n for n in trained if person_of(n, same) in persons or any(fnmatchcase(n, p) for p in excluded)]
    if seen:
        raise InputError(f"{path} was trained on {', '.join(seen)}, whose persons it should have left out.")
    held = {**studies, "include": excluded, "exclude": []}
    return config | {"data": {**config["data"], "studies": held}}, persons


def _score_fold(path: Path, config: dict[str, Any], subsets: str, rules: Rules | None) -> dict[str, Any]:
    """The scores of a checkpoint on the studies of a configuration."""
    place, _ = choose_device(config["training"]["device"])
    system = system_from_checkpoint(load_checkpoint(path)).to(place)
    return evaluate_subjects(system, studies_of(config), subsets, None, rules)


def _trained(source: Path) -> tuple[System, dict[str, Any], dict[str, Any]]:
    """The system of a checkpoint or a bundle, the configuration to score it with, and what is known of its training:
    ``data`` and ``config``."""
    if source.suffix == ".ckpt":
        content = load_checkpoint(source)
        return system_from_checkpoint(content), content["config"], content
    bundle = find_bundle(source)
    system = bundle.system()
    about = {"name": system.name, **system.config}
    config = {"system": about, "preprocessing": bundle.preprocessing, "data": {"phantoms": None}}
    return system, config, {"data": [], "config": {}} | bundle.card.get("training", {})


def _scored_only(data: Mapping[str, Any]) -> dict[str, Any]:
    """The phantoms and studies that training left out; all studies where none was excluded."""
    phantoms, studies = data["phantoms"], data["studies"]
    if phantoms:
        first = phantoms["first_seed"] + phantoms["subjects"]
        phantoms = {**phantoms, "first_seed": first, "subjects": 0}
    if studies and studies["exclude"]:
        studies = {**studies, "include": studies["exclude"], "exclude": []}
    return {**data, "phantoms": phantoms, "studies": studies}


def _json(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {k: _json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
