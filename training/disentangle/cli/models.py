"""``models``: the bundles at hand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .options import add_loudness
from .running import Console


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    parser = commands.add_parser("models", help="list, show, verify, add, compile or remove models")
    parser.set_defaults(run=run_list, json=False)
    add_loudness(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    listing = actions.add_parser("list", help="the models at hand (the default)")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=run_list)
    show = actions.add_parser("show", help="a model's card: classes, data, quality, licence")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=run_show)
    verify = actions.add_parser("verify", help="check cards, checksums, names and shapes of tensors")
    verify.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    verify.set_defaults(run=run_verify)
    add = actions.add_parser("add", help="install a model from a folder or a zip")
    add.add_argument("source", type=Path, metavar="PATH")
    add.set_defaults(run=run_add)
    compiling = actions.add_parser("compile", help="make a model fast on this machine's CPU (needs openvino)")
    compiling.add_argument("name", metavar="NAME")
    compiling.set_defaults(run=run_compile)
    remove = actions.add_parser("remove", help="delete a model that was added")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=run_remove)


def run_list(options: argparse.Namespace, console: Console) -> None:
    """``disentangle models list``."""
    from ..bundles import nothing_installed, scan_bundles

    found, broken = scan_bundles()
    if options.json:
        entries = [
            {
                "name": bundle.name,
                "version": bundle.version,
                "checksum": bundle.checksum,
                "license": bundle.license["name"],
                "permissive": bundle.license["permissive"],
                "agreed": not bundle.needs_agreement,
                "demonstration": bundle.is_demonstration,
                "sequences": list(bundle.sequences),
                "classes": [c.name for c in bundle.classes],
                "path": str(bundle.path),
            }
            for bundle in found
        ]
        broken_entries = [{"path": str(path), "defect": reason} for path, reason in broken.items()]
        console.say(json.dumps({"models": entries, "broken": broken_entries}, indent=2))
        return
    for bundle in found:
        agreement = " (needs --accept-license)" if bundle.needs_agreement else ""
        console.say(f"{bundle.name} {bundle.version}: {', '.join(bundle.sequences)}; {len(bundle.classes)} classes")
        if bundle.is_demonstration:
            console.say("    a demonstration, not for patients' images")
        console.say(f"    licence {bundle.license['name']}{agreement}, SHA-256 {bundle.checksum[:16]}...")
        console.say(f"    {bundle.path}")
    if not found:
        console.say(nothing_installed())
    for reason in broken.values():
        console.note(f"Warning: {reason}")


def run_show(options: argparse.Namespace, console: Console) -> None:
    """``disentangle models show NAME``."""
    from ..bundles import find_bundle, targets_of

    bundle = find_bundle(options.name)
    console.say(json.dumps(_shown(bundle.card), indent=2, ensure_ascii=False))
    for line in _target_lines(targets_of(bundle.card)):
        console.say(line)
    console.say(f"folder: {bundle.path}")


def _target_lines(targets: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was to be reached, for people: a line each, those missed first, under the studies measured on."""
    lines = []
    for met, title in ((False, "missed"), (True, "met")):
        chosen = [target for target in targets if target["met"] is met]
        lines += [f"targets {title}: {len(chosen)} of {len(targets)}"] if targets else []
        for on in dict.fromkeys(target["on"] for target in chosen):
            lines.append(f"  on {on}:")
            of_these = (target for target in chosen if target["on"] == on)
            lines += [f"    {t['what']}: {t['measured']:.3f}, wanted {t['wanted']}" for t in of_these]
    return lines


def _shown(card: dict[str, Any]) -> dict[str, Any]:
    """A card for people: without vectors, targets (:func:`_target_lines`) and logs, and with a word where a run did not
    validate instead of nothing."""
    shown = {key: value for key, value in card.items() if key != "default_styles"}
    if "quality" in shown:
        shown["quality"] = {key: value for key, value in shown["quality"].items() if key != "targets"}
    runs = card.get("training_runs")
    if isinstance(runs, list):  # no part of what is checked when a card is read
        shown["training_runs"] = [
            {k: v for k, v in run.items() if k != "log"} | {"validation": run.get("validation") or "not logged"}
            if isinstance(run, dict)
            else run
            for run in runs
        ]
    return shown


def run_verify(options: argparse.Namespace, console: Console) -> int:
    """``disentangle models verify [NAME ...]``."""
    from ..bundles import find_bundle, scan_bundles

    found, broken = ([find_bundle(name) for name in options.names], {}) if options.names else scan_bundles()
    defects = list(broken.values())
    for bundle in found:
        try:
            bundle.verify()
        except InputError as error:
            defects.append(str(error))
        else:
            console.say(f"{bundle.name} {bundle.version}: sound")
    for defect in defects:
        console.error(defect)
    return 2 if defects else 0


def run_add(options: argparse.Namespace, console: Console) -> None:
    """``disentangle models add PATH``."""
    from ..bundles import add_bundle

    bundle = add_bundle(options.source)
    console.say(f"Added {bundle.name} {bundle.version} (licence {bundle.license['name']}) to {bundle.path}")
    if bundle.needs_agreement:
        console.note("Its licence is not a permissive one: its first use needs --accept-license.")


def run_compile(options: argparse.Namespace, console: Console) -> None:
    """``disentangle models compile NAME``."""
    from ..bundles import find_bundle
    from ..inference.backends.convert import convert

    bundle = find_bundle(options.name)
    made = convert(bundle)
    if not made.programs:
        console.say(f"{bundle.name} runs with PyTorch: {made.note}.")
        return
    times = ", ".join(f"{name} {value:.0f} ms" for name, value in made.milliseconds.items())
    console.say(f"{bundle.name}, per slice of all sequences: {times}; largest difference {made.difference:.1e}")
    console.say(f"Compiled programs: {made.folder}")


def run_remove(options: argparse.Namespace, console: Console) -> None:
    """``disentangle models remove NAME``."""
    from ..bundles import remove_bundle

    remove_bundle(options.name)
    console.say(f"Removed {options.name}.")
