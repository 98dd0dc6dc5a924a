"""The data of a run: subjects from the configuration, and loaders of numbered batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from ..datasets.loading import Loading
from ..datasets.packs import is_pack, read_pack, write_pack
from ..datasets.pairs import PairSampler, PairSamplingConfig
from ..datasets.phantoms import load_phantoms
from ..datasets.published import Parts, Source, data_sets, load_sets, parts_of
from ..datasets.sampling import SamplingConfig, SliceSampler
from ..datasets.studies import find_studies, load_studies
from ..datasets.unpaired import UnpairedSampler, UnpairedSamplingConfig
from ..datasets.volumes import Subject
from ..errors import InputError
from ..phantoms import BRAIN_CLASSES
from ..preprocessing import PreprocessingConfig
from ..progress import Progress
from ..registry import default_of
from ..systems.base import Batch, Capabilities


@dataclass(frozen=True)
class Data:
    """Subjects of a run.

    Attributes:
        training: those trained on.
        validation: phantoms and subjects of data sets held out for validation.
        test: subjects of data sets that neither training nor validation sees; empty unless asked for.
        sources: the data sets and how they were split.
    """

    training: list[Subject]
    validation: list[Subject]
    test: list[Subject] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)

    def about(self) -> list[dict[str, Any]]:
        """What was trained on, for the run folder and the model card: studies one by one, the subjects of a data set
        together under its licence, phantoms summed up in one entry."""
        studies = [{"name": s.name, **s.about} for s in self.training if s.source == "study"]
        sets: dict[tuple[str, ...], list[Subject]] = {}
        for subject in self.training:
            if subject.source not in ("study", "phantom"):
                sets.setdefault(tuple(subject.about.get(k, "") for k in _CREDIT), []).append(subject)
        for credit, subjects in sets.items():
            names = list(dict.fromkeys(s.about.get("subject", s.name) for s in subjects))
            persons = list(dict.fromkeys(s.group for s in subjects))
            entry = {"name": f"{len(names)} subjects of {credit[0] or subjects[0].source}", "subjects": names}
            # Of a person there may be several examinations, all of which were seen where one was.
            entry |= {} if persons == names else {"persons": persons}
            studies.append(entry | {k: v for k, v in zip(_CREDIT, credit, strict=True) if v})
        phantoms = [s for s in self.training if s.source == "phantom"]
        if phantoms:
            seeds = [s.about["seed"] for s in phantoms]
            kind = phantoms[0].about.get("kind", "brain")
            studies.append({"name": f"{len(phantoms)} digital {kind} phantoms", "seeds": [min(seeds), max(seeds)]})
        return studies


_CREDIT = ("source", "license", "citation", "url")


def load_data(
    config: Mapping[str, Any], progress: Progress | None = None, parts: Iterable[str] = ("training", "validation")
) -> Data:
    """Prepare or fetch from the cache the subjects that ``config`` (of :func:`.config.load_config`) names.

    Args:
        parts: of the data sets, any of :data:`.datasets.splits.PARTS`; a training need not prepare what it must not
            see. Phantoms and studies come as ``config`` has them.

    Raises:
        InputError: no subjects at all, or a folder or a pattern that fits nothing.
    """
    progress = progress or Progress()
    data, cache = config["data"], Path(config["data"]["cache"])
    preprocessing = PreprocessingConfig.from_dict(config["preprocessing"])
    found = Data([], [])
    if data["dataset"]:
        system = config["system"]
        loading = Loading(_sequences(system), _set_classes(system), preprocessing, size=_frame(system))
        subjects, sources = load_sets(
            data_sets(data["dataset"]), parts, loading, cache, _splits(config), progress.part(0, 0.4)
        )
        found = Data(**{"training": [], "validation": []} | subjects, sources=sources)
    if data["studies"]:
        classes = _study_classes(config["system"])
        found.training.extend(_studies(data["studies"], preprocessing, classes, cache, progress.part(0.4, 0.6)))
    if data["phantoms"]:
        settings = data["phantoms"]
        first, count = settings["first_seed"], settings["subjects"] + settings["validation"]
        phantoms = load_phantoms(
            range(first, first + count),
            settings["arguments"],
            settings["variants"],
            preprocessing,
            cache,
            settings["workers"],
            progress.part(0.6, 1),
            settings["kind"],
            _frame(config["system"]),
        )
        found.training.extend(phantoms[: settings["subjects"]])
        found.validation.extend(phantoms[settings["subjects"] :])
    if not (found.training or found.validation or found.test):
        raise InputError("There are no subjects; set data.dataset, data.phantoms or data.studies.")
    return found


def check_unseen(
    what: str,
    trained: Iterable[Mapping[str, Any]],
    before: Mapping[str, Any],
    config: Mapping[str, Any],
    parts: Sequence[str],
    remedy: str,
) -> None:
    """Refuse to hold out persons of data sets whom a model was trained on.

    A split that has no file of its own is drawn from the subjects that are there, and drawn anew when one comes or
    goes: those held out then are others. No voxel is read. An unchanged configuration with unchanged data always
    passes, even if its own sets share persons.

    Args:
        what: was trained, for the message.
        trained: what on, as of :meth:`Data.about`.
        before: configuration of that training.
        config: the one that holds out ``parts``, as of :func:`.config.load_config`.
        parts: "validation", "test" or both.
        remedy: what may be done but restoring the data.

    Raises:
        InputError: names the persons.
    """
    names = _sequences(config["system"])
    # Data that is no longer there holds out nobody.
    there = [chosen for chosen in data_sets(config["data"]["dataset"]) if Path(chosen.folder).is_dir()]
    sets = [found for found in (parts_of(chosen, names, _splits(config)) for chosen in there) if found is not None]
    training = {(s.layout.name, case.group) for s in sets for case in s.cases["training"]}
    for found in sets:
        seen = _seen(found, trained, before)
        held = [case for part in parts for case in found.cases[part] if case.group in seen]
        leaked = [case.subject for case in held if (found.layout.name, case.group) not in training]
        if leaked:
            others = f" and {len(leaked) - 3} more" if len(leaked) > 3 else ""
            raise InputError(
                f"{what} was trained on {', '.join(leaked[:3])}{others} of {found.layout.title}, held out now for "
                f"{' or '.join(parts)}: the subjects in {found.chosen.folder} or the settings of data.dataset have "
                f"changed since; restore them, or {remedy}."
            )


def _seen(found: Parts, trained: Iterable[Mapping[str, Any]], before: Mapping[str, Any]) -> set[str]:
    """The persons of a data set whom a training saw, see :func:`check_unseen`."""
    sets = before.get("data", {}).get("dataset") or []
    folders = {Path(s["folder"]).resolve() for s in ([sets] if isinstance(sets, Mapping) else sets)}
    if found.layout.common_names and Path(found.chosen.folder).resolve() not in folders:
        return set()
    names: dict[str | None, set[str]] = {}
    for entry in trained:
        names.setdefault(entry.get("source"), set()).update(entry.get("subjects", ()), entry.get("persons", ()))
    persons = set()
    for case in (case for cases in found.cases.values() for case in cases):
        known = names.get((found.layout.about() | dict(case.about)).get("source"), ())
        if case.subject in known or case.group in known:
            persons.add(case.group)
    return persons


def _splits(config: Mapping[str, Any]) -> Path:
    """Folder of the splits that have no file of their own."""
    return Path(config["output"]) / "splits"


def _studies(
    settings: Mapping[str, Any],
    preprocessing: PreprocessingConfig,
    classes: tuple[str, ...] | None,
    cache: Path,
    progress: Progress,
) -> list[Subject]:
    """Those of a folder of studies, or of a pack of them."""
    folder, include, exclude = (settings[key] for key in ("folder", "include", "exclude"))
    if is_pack(folder):
        return read_pack(folder, preprocessing, classes, include, exclude)
    folders = find_studies(folder, include, exclude)
    return load_studies(folders, preprocessing, classes or BRAIN_CLASSES, cache, settings["same_subject"], progress)


def _study_classes(system: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What the labels of studies become; None for a system that does not segment. It looks at no label, and takes
    studies as they were prepared for one that does."""
    classes = tuple(system["classes"])
    return classes if len(classes) > 1 else None


def _set_classes(system: Mapping[str, Any]) -> tuple[str, ...]:
    """What the labels of data sets become: the system's classes. A translator has none, and its subjects no labels,
    unless it looks at tumours (TC-MGAN): ``tumour_values`` are then those of the brain's classes, as phantoms have."""
    return BRAIN_CLASSES if system.get("tumour_values") and not system["classes"] else tuple(system["classes"])


def studies_of(config: Mapping[str, Any], progress: Progress | None = None) -> list[Subject]:
    """The real studies of a configuration, without its phantoms and data sets.

    Raises:
        InputError: it names none, or see :func:`load_data`.
    """
    if not config["data"]["studies"]:
        raise InputError("The configuration names no real studies; set data.studies.folder.")
    return load_data(config | {"data": {**config["data"], "phantoms": None, "dataset": None}}, progress).training


def pack(config: Mapping[str, Any], folder: str | Path, progress: Progress | None = None) -> Path:
    """Prepare the studies of a configuration and write them where another machine can be given them.

    Raises:
        InputError: see :func:`studies_of` and :func:`.datasets.packs.write_pack`.
    """
    subjects = studies_of(config, progress)
    classes = _study_classes(config["system"]) or BRAIN_CLASSES
    return write_pack(folder, subjects, PreprocessingConfig.from_dict(config["preprocessing"]), classes)


def _sequences(system: Mapping[str, Any]) -> tuple[str, ...]:
    """Everything that a system reads or learns to make."""
    return tuple(dict.fromkeys([*system["sequences"], *([system["target"]] if system.get("target") else [])]))


def _frame(system: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) of the slices that a system is made for; None = any."""
    size = system.get("size", default_of(system["name"], "size"))
    return None if size is None else (int(size[0]), int(size[1]))


class Sampler(Protocol):
    """Makes batches by number: the same number, the same batch."""

    def batch(self, number: int) -> dict[str, Any]:
        """The fields of :class:`Batch`."""


SAMPLERS: dict[str, tuple[type, type]] = {
    "registered": (SliceSampler, SamplingConfig),
    "pairs": (PairSampler, PairSamplingConfig),
    "unpaired": (UnpairedSampler, UnpairedSamplingConfig),
}
"""``sampling.kind`` -> (sampler, its settings)."""


def sampling_of(config: Mapping[str, Any], capabilities: Capabilities) -> tuple[type, Any]:
    """The kind of sampler that a configuration wants, and its settings.

    Raises:
        InputError: an unknown kind, a wrong setting, or slices of a size that the system cannot take.
    """
    settings = dict(config["sampling"])
    kind = settings.pop("kind", "registered")
    if kind not in SAMPLERS:
        raise InputError(f'Unknown sampling.kind "{kind}"; use one of: {", ".join(SAMPLERS)}.')
    make, settings_of = SAMPLERS[kind]
    try:
        sampling = settings_of(slices=capabilities.slices, **settings)
    except TypeError as error:
        raise InputError(f"A setting of the section sampling is wrong: {error}.") from error
    only, multiple = capabilities.size, capabilities.size_multiple
    for height, width in sampling.sizes:
        if only is not None and (height, width) != tuple(only):
            raise InputError(f"sampling.sizes has {height} x {width} pixels; the system takes {only[0]} x {only[1]}.")
        if height % multiple or width % multiple:
            raise InputError(
                f"sampling.sizes has {height} x {width} pixels; the system takes multiples of {multiple} only."
            )
    return make, sampling


def samplers(config: Mapping[str, Any], data: Data, capabilities: Capabilities) -> tuple[Sampler, Sampler]:
    """The sampler of training, and that of validation: held-out phantoms (training subjects where there are none)
    without augmentation.

    Raises:
        InputError: see :func:`sampling_of`.
    """
    make, sampling = sampling_of(config, capabilities)
    lesions = capabilities.lesions
    training = make(data.training, capabilities.known, lesions, sampling, config["seed"])
    subjects = data.validation or data.training
    persons = len({s.group for s in subjects})
    plain = sampling.without_augmentation(min(sampling.batch, persons))
    return training, make(subjects, capabilities.known, lesions, plain, config["seed"] + 1)


class NumberedBatches(Dataset):
    """Item n is batch n of a sampler."""

    def __init__(self, sampler: Sampler, count: int) -> None:
        self.sampler = sampler
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        return Batch(**self.sampler.batch(number))


def loader(sampler: Sampler, numbers: Sequence[int], workers: int = 0) -> DataLoader:
    """Loads the batches of the given numbers, in that order."""
    return DataLoader(
        NumberedBatches(sampler, len(numbers)),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def batches(sampler: Sampler, count: int) -> Iterator[Batch]:
    """The first ``count`` batches, made on the fly."""
    return (Batch(**sampler.batch(number)) for number in range(count))
