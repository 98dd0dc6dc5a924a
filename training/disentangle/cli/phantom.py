"""``phantom``: digital subjects in the study layout."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .options import add_loudness, count, positive
from .running import Console


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    parser = commands.add_parser("phantom", help="digital subjects with known truth, in the study layout")
    parser.add_argument("kind", metavar="KIND", help="brain, brain-pet, heart or abdomen")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value",
        help="brains: spacing=2, lesions=ms, skull=true, missing=T2, ...; hearts: size=[128,128], slices=8, "
        "sequences='[\"cine\",\"LGE\"]', ...; abdomens: sequences=CT, lesions=5, ... (see phantoms/<kind>.py)",
    )  # fmt: skip
    parser.add_argument("-n", "--subjects", type=positive, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="of the first subject (default: 0)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="one folder per subject")
    parser.add_argument("--tissues", action="store_true", help="also the exact fraction of each tissue")
    add_loudness(parser)
    parser.set_defaults(run=run_phantom)


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """key=value texts; values are JSON where they can be, else texts.

    Raises:
        InputError: one is not of this form, given twice, or the seed, which has an option of its own.
    """
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{text!r} is not a setting; write key=value, for example spacing=2.")
        if key == "seed":
            raise InputError(f"The seed is no setting but an option of the command; write --seed {value or 1}.")
        if key in settings:
            raise InputError(f"The setting {key} is given twice; give it once.")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        settings[key] = tuple(parsed) if isinstance(parsed, list) else parsed
    return settings


def run_phantom(options: argparse.Namespace, console: Console) -> None:
    """``disentangle phantom``."""
    from ..inference.output import check_writable
    from ..phantoms import create_phantom, leftovers, phantom_kinds, write_phantom

    if options.kind not in phantom_kinds():
        raise InputError(f"There are no phantoms of kind {options.kind!r}; choose {', '.join(phantom_kinds())}.")
    settings = parse_settings(options.settings)
    check_writable(options.output, folder=True)
    for number in range(options.subjects):
        console.progress("phantoms", number / options.subjects, f"subject {number + 1} of {options.subjects}")
        seed = options.seed + number
        phantom = create_phantom(options.kind, seed, **settings)
        folder = options.output / f"{options.kind}-{seed}"
        stale = leftovers(phantom, folder, options.tissues)
        if stale:
            raise InputError(
                f"{folder} holds {stale[0].relative_to(folder).as_posix()}, which this phantom would not replace and "
                "which would be taken for a part of it; remove the folder or name another --output."
            )
        write_phantom(phantom, folder, tissues=options.tissues)
        console.say(str(folder))
