"""Training configurations: YAML files, ``key=value`` changes, defaults for everything else."""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..datasets.phantoms import CLASSES, preprocessing_of
from ..datasets.published import data_sets, preprocessing_of_sets
from ..errors import InputError
from ..phantoms import BRAIN_CLASSES
from ..preprocessing import PreprocessingConfig

DEFAULTS: dict[str, Any] = {
    # Name of the experiment and of its run folder; where run folders are made; seed of everything.
    "name": "experiment",
    "output": "runs",
    "seed": 0,
    # name of the system and its arguments (systems/<name>.py); classes "brain", "heart",
    # "heart-rv" and "abdomen" stand for the classes of such phantoms.
    "system": {"name": "margindis", "sequences": ["T1", "T1Gd", "T2", "FLAIR"], "classes": "brain"},
    # Fields of PreprocessingConfig that differ from its defaults; hearts and abdomens among the phantoms bring their
    # own defaults (datasets/phantoms.py).
    "preprocessing": {},
    "data": {
        "cache": "runs/cache",
        # null, or: which kind (brain, brain-pet, heart, abdomen), how many subjects to train on and to validate on;
        # validation subjects follow the training seeds.
        "phantoms": {
            "kind": "brain",
            "subjects": 32,
            "validation": 4,
            "first_seed": 1000,
            "arguments": {},
            "variants": [],
            "workers": 1,
        },
        # null, or: published data sets as they were downloaded, a section {layout: brats2020, folder: PATH} or a list
        # of such sections; their settings are those of DataSet in datasets/published.py. Phantoms and studies are then
        # null unless they are named too. Unregistered sets bring their own defaults of preprocessing.
        "dataset": None,
        # null, or: a folder of studies, or of prepared ones (disentangle pack); exclude is for leave-one-study-out.
        # same_subject lists studies of one person.
        "studies": {"folder": "../shared/data", "include": ["*"], "exclude": [], "same_subject": []},
    },
    # Fields of SamplingConfig; weights by source: {phantom: 1, study: 1}.
    "sampling": {},
    "training": {
        "steps": 20000,
        # Stops earlier after this many minutes in all (resumed time counted in), null = no limit.
        "max_minutes": None,
        # Gradients of this many batches are averaged for one update.
        "accumulate": 1,
        # constant, cosine (to 1 % at the end of steps or minutes) or plateau (on the monitored validation score).
        "schedule": "cosine",
        "warmup": 100,
        # Loss terms that come in late: {term: [first step, step of full weight]}. Regularisers that act before the
        # decoder shows anything only drive the anatomies into one channel.
        "ramps": {},
        # Updates, by the names of the system's training steps, that take place in a part of the run only: {update:
        # [first step, step that it ends before]}. What a paper trains one after the other.
        "stages": {},
        # Decay of the exponential moving average of the weights; null = none.
        "ema": 0.998,
        "device": "auto",
        # auto: bfloat16 mixed precision on a GPU that has it, else 32 bits.
        "precision": "auto",
        "log_every": 25,
        "validate_every": 500,
        "validation_batches": 8,
        # The validation score that chooses best.ckpt: cross (reconstruction), or a Dice, which should be high, such as
        # "dice LGE" (all sequences on LGE's slices) or "dice cine deformed" (the others' anatomies on the source's
        # slices: needs no labels of the target). Training stops after so many validations without a better one; null
        # = never.
        "monitor": "cross",
        "patience": None,
        "images_every": 500,
        "checkpoint_minutes": 2.0,
        "loader_workers": 0,
        # Start from the weights of another run's checkpoint or of a bundle; null = from scratch. A margindis may have
        # a multiple of its anatomy channels, and encoders per sequence instead of conditional ones.
        "init_from": None,
        # Go on with the last checkpoint of the run folder.
        "resume": False,
    },
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-4 for text; here it is the number that everyone means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)

_OPEN = "system"
"""A section whose keys are checked by whoever takes them, as are those of sections that are empty by default."""
_OPTIONAL: dict[str, Any] = {
    "data.dataset": None,
    "data.phantoms": {},
    "data.studies": {},
    "training.max_minutes": 60.0,
    "training.ema": 0.998,
    "training.patience": 5,
    "training.images_every": 500,
    "training.init_from": "final.ckpt",
}
"""Settings that may be null, each with an example of what else it may be; None = whoever takes it checks it."""
_EITHER = {"system.classes": (str, list, tuple), "training.precision": (str, int)}
"""Settings of more than one type."""
_CHOICES = {
    "training.schedule": ("constant", "cosine", "plateau"),
    # Those of Lightning that keep the weights in 32 bits, as batches are, but for :data:`_HALF`.
    "training.precision": ("auto", "32-true", "bf16-mixed", "bf16", "32", 32),
}
"""Settings with few values."""
_HALF = ("16-mixed", "16-true", "16", 16)
"""Precisions that need a scaled loss, which the learner's own optimisers never scale back: one step of "16-mixed" left
no weight finite."""
_LEAST = {
    "seed": 0,
    "data.phantoms.subjects": 0,
    "data.phantoms.validation": 0,
    "data.phantoms.first_seed": 0,
    "training.steps": 1,
    "training.accumulate": 1,
    "training.log_every": 1,
    "training.validate_every": 1,
    "training.validation_batches": 0,
    "training.loader_workers": 0,
}
"""Smallest values that mean something."""
_TYPES = (
    (bool, bool, "true or false"),
    (int, int, "a whole number"),
    (float, (int, float), "a number"),
    (str, (str, os.PathLike), "a text"),
    ((list, tuple), (list, tuple), "a list"),
    (Mapping, Mapping, "a section of settings"),
)
"""Type of a default, the types of values that may take its place, and what they are called."""


def load_config(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> dict[str, Any]:
    """A complete configuration.

    Args:
        source: a YAML file or its content; what it leaves out takes :data:`DEFAULTS`.
        overrides: "section.key=value", the value in YAML.

    Raises:
        InputError: no such file, not YAML, a key that does not exist, or a value of the wrong type.
    """
    given = read_settings(source, overrides)
    config = completed(given)
    if config["data"]["dataset"]:
        # What nobody asked for does not come beside a data set.
        config["data"] |= {key: None for key in ("phantoms", "studies") if key not in given["data"]}
    classes = config["system"].get("classes")
    if isinstance(classes, str):
        if classes not in CLASSES:
            raise InputError(f'There are no classes "{classes}"; list their names, or set one of {", ".join(CLASSES)}.')
        config["system"]["classes"] = list(CLASSES[classes])
        if CLASSES[classes] is BRAIN_CLASSES:
            config["system"].setdefault("healthy", [1, 2, 3])
    phantoms, needed = config["data"]["phantoms"], {}
    if phantoms:
        with mistakes_in("data.phantoms.arguments"):
            needed = preprocessing_of(phantoms["kind"], phantoms["arguments"])
    with mistakes_in("data.dataset"):
        needed |= preprocessing_of_sets(data_sets(config["data"]["dataset"]))
    config["preprocessing"] = needed | config["preprocessing"]
    with mistakes_in("preprocessing"):
        PreprocessingConfig.from_dict(config["preprocessing"])
    return config


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, on top of :data:`DEFAULTS`.

    Raises:
        InputError: a key that does not exist, a value of another type than its default, or a number too small.
    """
    config = merged(DEFAULTS, given)
    for path, least in _LEAST.items():
        value: Any = config
        for key in path.split("."):
            value = None if value is None else value[key]
        if value is not None and value < least:
            raise InputError(f"The setting {path} is {value}; give a whole number from {least} on.")
    if config["training"]["precision"] in _HALF:
        raise InputError(
            f"The setting training.precision is {config['training']['precision']}, which this training cannot do "
            "without harm to the weights; use bf16-mixed or 32-true."
        )
    for path, choices in _CHOICES.items():
        section, _, key = path.partition(".")
        if config[section][key] not in choices:
            listed = ", ".join(dict.fromkeys(str(choice) for choice in choices))
            raise InputError(f"The setting {path} is {config[section][key]}; use one of {listed}.")
    for name in ("ramps", "stages"):
        for key, span in config["training"][name].items():
            if not (isinstance(span, (list, tuple)) and len(span) == 2 and all(_is(v, (int, float)) for v in span)):
                raise InputError(f"The setting training.{name}.{key} must be two steps, as [100, 200], not {span!r}.")
    return config


@contextlib.contextmanager
def mistakes_in(section: str) -> Iterator[None]:
    """Around code that takes the settings of a section: what a value of the wrong type or size raises there becomes a
    sentence."""
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError(
            f"A setting of the section {section} has a value that it cannot have ({_one_line(error)}); correct it."
        ) from error


def read_settings(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a YAML file says, changed by "section.key=value"; nothing is filled in and no key is checked.

    Raises:
        InputError: no such file, not YAML, or not a section of settings.
    """
    if isinstance(source, Mapping):
        given = copy.deepcopy(dict(source))
    else:
        try:
            given = yaml.load(Path(source).read_text(encoding="utf-8"), _Loader) or {}
        except OSError as error:
            raise InputError(f"The configuration {source} cannot be read ({error.strerror or error}).") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"The configuration {source} is not valid YAML: {_one_line(error)}.") from error
        if not isinstance(given, dict):
            raise InputError(f"The configuration {source} holds no settings; write lines such as name: experiment.")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f'"{text}" is not a setting; write key=value, for example training.steps=100.')
        try:
            _set(given, key.split("."), yaml.load(value, _Loader))
        except yaml.YAMLError as error:
            raise InputError(f'The value of "{text}" is not valid YAML: {_one_line(error)}.') from error
    return given


def save_config(config: Mapping[str, Any], path: Path) -> None:
    """Write a configuration as YAML; :func:`load_config` reads it back."""
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")


def merged(defaults: Mapping[str, Any], given: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """``given`` on top of ``defaults``, section by section.

    Args:
        where: the section that both are of, as "training.ramps"; "" = the whole configuration.

    Raises:
        InputError: a key that does not exist, or a value of another type than its default.
    """
    result = copy.deepcopy(dict(defaults))
    for key, value in given.items():
        path = f"{where}.{key}" if where else key
        if key not in defaults and defaults and where != _OPEN:
            raise InputError(f'There is no setting "{path}"; the settings here are {", ".join(defaults)}.')
        default = defaults.get(key)
        check_type(path, default, value)
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            result[key] = merged(default, value, path)
        else:
            result[key] = copy.deepcopy(value)
    return result


def check_type(path: str, default: Any, value: Any) -> None:
    """Refuse a value that cannot take the place of its default.

    Raises:
        InputError: it is of another type.
    """
    if path in _OPTIONAL:
        if value is None:
            return
        default = _OPTIONAL[path]
    if path in _EITHER and _is(value, _EITHER[path]):
        return
    for kind, allowed, words in _TYPES:
        if isinstance(default, kind):
            if not _is(value, allowed):
                quoted = "; numbers that are texts need quotes" if kind is str and _is(value, (int, float)) else ""
                raise InputError(f"The setting {path} must be {words}, not {value!r}{quoted}.")
            return


def _is(value: Any, types: Any) -> bool:
    """isinstance, but true and false are no numbers."""
    return isinstance(value, types) and (types is bool or not isinstance(value, bool))


def _set(config: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(config.get(key), dict):
            config[key] = {}
        config = config[key]
    config[keys[-1]] = value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
