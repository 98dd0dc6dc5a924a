"""Options that several commands share, and reading a study as they say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..inference.devices import check_device_name
from ..inference.plan import BACKENDS, PRECISIONS
from .running import Console

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..inference import Predictor
    from ..study import Image, Study


def count(text: str) -> int:
    """A whole number from 0, for ``type=``."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1, for ``type=``."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def device(text: str) -> str:
    """A device, for ``type=``."""
    try:
        return check_device_name(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error


def sensitivity(text: str) -> float:
    """A sensitivity to lesions, for ``type=``."""
    from ..inference.sensitivity import checked

    try:
        return checked(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error


def add_sensitivity(group: argparse._ActionsContainer) -> None:
    """--sensitivity."""
    group.add_argument(
        "--sensitivity", type=sensitivity, default=1.0, metavar="FACTOR",
        help="the odds of a lesion, times what the model says: 4 draws more and larger lesions, .25 fewer (default: 1)",
    )  # fmt: skip


def add_loudness(parser: argparse.ArgumentParser) -> None:
    """--quiet and --verbose."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    group.add_argument("-v", "--verbose", action="store_true", help="say more; tracebacks of failures")


def add_study(parser: argparse.ArgumentParser) -> None:
    """Where the sequences come from."""
    group = parser.add_argument_group("study")
    group.add_argument(
        "-i", "--input", action="append", nargs="+", default=[], metavar="SEQ=PATH",
        help="a sequence (T1, T1Gd, T2, FLAIR, ...) and its file or DICOM folder; the first one gives the geometry "
        "of the results",
    )  # fmt: skip
    group.add_argument("--study", type=Path, metavar="FOLDER", help="a folder of a study; sequences are guessed")
    group.add_argument("--mask", type=Path, metavar="PATH", help="brain mask, in the space of the first input")
    group.add_argument("--time-point", type=count, metavar="N", help="which volume of 4-D files, from 0")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model runs, and where."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="NAME", help="an installed model or a model's folder (default: brain-mr)")
    group.add_argument("--accept-license", action="store_true", help="agree to the model's licence, once and for all")
    add_device(group)
    group.add_argument(
        "--backend", choices=BACKENDS, default="auto",
        help="what runs the networks: torch, openvino (CPU, same results, compiled on first use), the faster one of "
        "these that is ready (default: auto), or compile (torch.compile)",
    )  # fmt: skip
    group.add_argument(
        "--fast", action="store_true",
        help="8-bit integers where the model has them (CPU, openvino); its card states what that costs",
    )  # fmt: skip
    group.add_argument(
        "--precision", choices=PRECISIONS, default="fp32",
        help="of PyTorch on a GPU: bf16 computes in bfloat16 where that does little harm (default: fp32)",
    )  # fmt: skip


def add_device(group: argparse._ActionsContainer) -> None:
    """--device and --threads."""
    group.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: torch's choice)")


def pairs(groups: list[list[str]], option: str) -> list[tuple[str, str]]:
    """(sequence, path) of every SEQ=PATH given with an option.

    Raises:
        InputError: not of this form, an unknown sequence, or one sequence twice.
    """
    from ..sequences import canonical

    found: dict[str, str] = {}
    for text in (text for group in groups for text in group):
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise InputError(f"{option} {text} does not name a sequence; write {option} T1=PATH, for example.")
        sequence = canonical(name)
        if sequence in found:
            raise InputError(f"{sequence} is given twice, as {found[sequence]} and as {path}; give each sequence once.")
        found[sequence] = path
    return list(found.items())


def read_study(options: argparse.Namespace, console: Console) -> Study:
    """The study that the options name, without the mask that they give (see :func:`give_mask`).

    Raises:
        InputError: neither or both of --input and --study, or what the study room refuses.
    """
    from ..study import Study

    if bool(options.input) == bool(options.study):
        both = "both --input and --study; use one of them" if options.input else "no images; use --input or --study"
        raise InputError(f"You gave {both}.")
    given = None if options.study else pairs(options.input, "--input")
    try:
        if given is None:
            study = Study.from_folder(options.study, options.time_point)
        else:
            study = Study.read(given, options.time_point)
    except InputError as error:
        raise InputError(name_time_point(str(error))) from error
    for sequence, image in study.images.items():
        how = f", guessed: {image.guess.reason}" if image.guess and options.study else ""
        console.detail(f"{sequence}: {image.source}{how}")
    return study


def name_time_point(message: str) -> str:
    """A message that asks which volume of a 4-D file to use, with the option that says it; others as they are."""
    from ..study.reading import WHICH_VOLUME

    return message.replace(WHICH_VOLUME, f"{WHICH_VOLUME} (--time-point N)")


def give_mask(study: Study, options: argparse.Namespace, bundle: Bundle) -> None:
    """Put the mask that the options give in place of those of the study.

    It lies in the space of the first input, which is the first one that the model reads.

    Raises:
        InputError: see ``Image.read`` and ``check_mask``.
    """
    from ..study import Image, check_mask

    if options.mask is None:
        return
    first = next((name for name in study.available if name in bundle.sequences), study.available[0])
    mask = Image.read(options.mask)
    check_mask(mask, [study[first]])
    study.masks = {first: mask}


def read_images(groups: list[list[str]], option: str) -> dict[str, Image]:
    """Images given as SEQ=PATH.

    Raises:
        InputError: see :func:`pairs` and ``Image.read``.
    """
    from ..study import Image, check_image

    images = {}
    for sequence, path in pairs(groups, option):
        images[sequence] = Image.read(path, sequence=sequence)
        check_image(images[sequence])
    return images


def choose_bundle(options: argparse.Namespace) -> Bundle:
    """The model that the options name, its licence agreed to where they say so.

    Raises:
        InputError: there is none such, or its licence is not agreed to.
    """
    from ..bundles import default_bundle_name, find_bundle

    bundle = find_bundle(options.model or default_bundle_name())
    if bundle.needs_agreement:
        if not options.accept_license:
            raise InputError(
                f"The model {bundle.name} comes under {bundle.license['name']}; read it with 'disentangle models show "
                f"{bundle.name}' and agree with --accept-license to use it."
            )
        bundle.agree()
    return bundle


def make_predictor(options: argparse.Namespace) -> Predictor:
    """The predictor that the options describe.

    Raises:
        InputError: see :func:`choose_bundle`.
    """
    from ..inference import Predictor

    where = {name: getattr(options, name) for name in ("device", "threads", "backend", "fast", "precision")}
    return Predictor(choose_bundle(options), **where)
