"""The fast mode of a bundle: ``python training/benchmarks/fast.py [--bundle NAME] [--write]``.

Quantises the bundle's programs (``disentangle.learning.quantization``; needs nncf) in several ways, and measures each
beside PyTorch and the exact compiled programs on digital subjects that neither training nor calibration saw: mean Dice
of the classes with all sequences and with each one missing, PSNR of every sequence made from the others, seconds of a
segmentation, taking turns. A way is sound where none of these means falls by more than :data:`MOST_DICE` or
:data:`MOST_PSNR` and the segmentation is at least :data:`LEAST_GAIN` times as fast as PyTorch; ``--write`` puts the
fastest sound one, with what was measured, into the bundle.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, measured, write_report

from disentangle.bundles import Bundle, add_fast_mode, find_bundle
from disentangle.datasets.phantoms import load_phantoms
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.inference.backends.choose import compiled_network
from disentangle.inference.backends.convert import convert
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Volumes, Wanted
from disentangle.learning.quantization import calibration, quantised
from disentangle.learning.scoring import class_dice
from disentangle.metrics.image import psnr
from disentangle.preprocessing import PreprocessingConfig
from disentangle.progress import Progress

MOST_DICE, MOST_PSNR, LEAST_GAIN = 0.01, 0.3, 3.0
PHANTOM = {"spacing": 1.5, "lesions": "both", "common_grid": True}
CALIBRATION, TEST = range(800_000, 800_004), range(900_000, 900_004)
"""Seeds. The bundles were trained on others; those of the test are also quality.py's."""
WAYS = {"encoders and head": ("anatomy", "segment"), "head": ("segment",)}
"""Name -> programs that are quantised, by the start of their names.

What decodes is left as it is: in 8-bit integers it was slower (one thread, AVX2: 12.3 for 12.1 ms, 5.6 for 4.5 ms). So
is NNCF's asymmetric preset, which cost more (mean Dice 0.012 without T2, PSNR 0.02 dB) and gained nothing.
"""


def run(network: Any, subject: Subject, names: Sequence[str], wanted: Wanted) -> Volumes:
    """A subject's sequences through a network."""
    images = {name: subject.images[name].astype(np.float32) for name in names}
    return Engine(network, 8, lambda note: None).run(images, subject.mask, wanted, Progress())


def quality(network: Any, subjects: Sequence[Subject]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean Dice by sequence missing ("all", "-T1") and class, and mean PSNR by sequence made of the others."""
    abilities = network.capabilities
    scores: dict[tuple[str, ...], list[float]] = {}
    for subject in subjects:
        for missing in ("", *abilities.sequences):
            names = [name for name in abilities.sequences if name != missing and name in subject.images]
            wanted = Wanted(segment=abilities.segments, targets=(missing,) if missing in abilities.targets else ())
            volumes = run(network, subject, names, wanted)
            if abilities.segments:
                labels = volumes.probabilities.argmax(axis=0)
                for name, value in class_dice(labels, subject, abilities).items():
                    scores.setdefault(("dice", f"-{missing}" if missing else "all", name), []).append(value)
            for target, image in volumes.synthesized.items():
                truth = subject.images[target].astype(np.float32)
                scores.setdefault(("psnr", "without it", target), []).append(psnr(image, truth, subject.mask))
    found: dict[str, dict[str, dict[str, float]]] = {"dice": {}, "psnr": {}}
    for (kind, of, name), values in scores.items():
        found[kind].setdefault(of, {})[name] = round(float(np.nanmean(values)), 4)
    return found


def seconds(networks: dict[str, Any], subject: Subject, repeats: int) -> dict[str, float]:
    """Shortest seconds of segmenting a subject from all its sequences, the networks taking turns.

    Not medians: on a busy machine PyTorch, whose threads wait for each other at every step, loses two to three times as
    much as programs that take slices side by side, and the gain looks larger than it is (2.7 quiet, 6.0 at load 9).
    """
    found: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(repeats + 1):
        for name, network in networks.items():
            began = time.perf_counter()
            run(network, subject, network.capabilities.sequences, Wanted())
            if turn:
                found[name].append(time.perf_counter() - began)
    return {name: round(min(values), 3) for name, values in found.items()}


def losses(exact: dict[str, Any], fast: dict[str, Any]) -> dict[str, Any]:
    """What is lost: the mean over classes by sequence missing, the largest of these means, and of a single class or
    target, which with four subjects may be chance."""
    told: dict[str, Any] = {}
    for kind, of in exact.items():
        lost = {(o, n): value - fast[kind][o][n] for o, values in of.items() for n, value in values.items()}
        means = {o: round(float(np.mean([lost[o, n] for n in values])), 4) for o, values in of.items()}
        worst = max(lost, key=lost.get)
        single = {"of": f"{worst[1]}, {worst[0]}", "loss": round(lost[worst], 4)}
        told[kind] = {"losses": means, "loss": max(means.values()), "worst": single}
    return told


def measure(bundle: Bundle, repeats: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The report, and the programs of every way."""
    made = convert(bundle)
    if not made.programs:
        raise InputError(f"{bundle.name} has no fast mode: {made.note}.")
    config = PreprocessingConfig.from_dict(bundle.preprocessing)
    with tempfile.TemporaryDirectory() as scratch:
        subjects, test = (load_phantoms(seeds, PHANTOM, [], config, Path(scratch)) for seeds in (CALIBRATION, TEST))
        networks: dict[str, Any] = {
            "torch": EagerNetwork(bundle.system().fold()),
            "openvino": compiled_network(made.folder, made.capabilities, made.styles),
        }
        inputs = calibration(networks["openvino"], subjects)
        archives = {}
        for way, programs in WAYS.items():
            chosen = {name: examples for name, examples in inputs.items() if name.startswith(programs)}
            archives[way] = quantised(networks["openvino"], chosen)
            path = Path(scratch) / f"{way}.zip"
            path.write_bytes(archives[way])
            networks[way] = compiled_network(made.folder, made.capabilities, made.styles, fast=path)
    times = seconds(networks, test[0], repeats)
    exact = quality(networks["openvino"], test)
    ways = {}
    for way, archive in archives.items():
        told = losses(exact, quality(networks[way], test))
        gain = round(times["torch"] / times[way], 2)
        sound = told["dice"]["loss"] <= MOST_DICE and told["psnr"]["loss"] <= MOST_PSNR
        ways[way] = {
            **told,
            "times_torch": gain,
            "times_openvino": round(times["openvino"] / times[way], 2),
            "bytes": len(archive),
            "programs": [name for name in inputs if name.startswith(WAYS[way])],
            "sound": bool(sound and gain >= LEAST_GAIN),
        }
    report = {
        "bundle": {"name": bundle.name, "version": bundle.version, "checksum": bundle.checksum},
        "rule": f"mean Dice, with all sequences and without each, falls by at most {MOST_DICE}, mean PSNR by "
        f"{MOST_PSNR} dB; at least {LEAST_GAIN} times as fast as PyTorch",
        "phantoms": {"calibration": list(CALIBRATION), "test": list(TEST), "arguments": PHANTOM},
        "seconds": times,
        "exact": exact,
        "ways": ways,
    }
    return report, archives


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Quantises a bundle and measures what that costs and gains.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the fastest sound way into the bundle")
    parser.add_argument("--output", type=Path, default=RESULTS / "fast.json")
    options = parser.parse_args(arguments)
    try:
        bundle = find_bundle(options.bundle)
        with measured("fast.py", arguments, repeats=options.repeats) as block:
            report, archives = measure(bundle, options.repeats)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{'':<32}{'Dice loss':>10}{'PSNR loss':>11}{'x torch':>9}{'x exact':>9}{'MB':>6}")
    for way, told in report["ways"].items():
        figures = f"{told['dice']['loss']:>10.4f}{told['psnr']['loss']:>11.3f}"
        gains = f"{told['times_torch']:>9.2f}{told['times_openvino']:>9.2f}{told['bytes'] / 1e6:>6.1f}"
        print(f"{way:<32}{figures}{gains}{'  sound' if told['sound'] else '  not sound'}")
    write_report({**report, "measured": block}, options.output)
    print(f"Written: {options.output}")
    sound = [way for way, told in report["ways"].items() if told["sound"]]
    if options.write:
        if not sound:
            print("No way is sound: the bundle stays as it is.")
            return 1
        best = max(sound, key=lambda way: report["ways"][way]["times_torch"])
        told = {k: v for k, v in report["ways"][best].items() if k not in ("bytes", "programs", "sound")}
        told |= {"way": best, "measured_by": block["command"], "machine": block["machine"], "date": block["date"]}
        programs = report["ways"][best]["programs"]
        bundle = add_fast_mode(bundle, archives[best], {"programs": programs, "measured": told})
        print(f"{bundle.name} has a fast mode: {best}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
