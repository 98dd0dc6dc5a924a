"""Where the compiled networks spend their time: ``python training/benchmarks/layers.py [--bundle brain-mr]``.

One slice through the encoder of a sequence and through the segmentation head, on one core, and on all cores at once as
the product runs them (every core takes slices of its own), by type of layer. The convolutions' GFLOP/s stand beside
what as many cores reach in matrix products and dense convolutions of several sizes, measured in turn
(``yardstick.py``). Prints a table and writes ``results/layers.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flops import flops_of
from measuring import RESULTS, measured, write_report
from yardstick import best, peak_gflops

from disentangle.bundles import find_bundle
from disentangle.inference.backends.convert import convert
from disentangle.parallel import cores

SIZE = (128, 128)
"""Of the slices, multiples of 32: the box around a head at 1.5 mm."""
COUNTED = {"Convolution", "FullyConnected", "MatMul"}
"""Types of layers whose operations PyTorch counts."""
ROUNDS = 5


def profile(core: Any, file: Path, inputs: list[Any], runs: int, at_once: int) -> list[dict[str, float]]:
    """Milliseconds by type of layer of every run of a program.

    Args:
        core: of OpenVINO.
        file: of the program.
        inputs: arrays.
        runs: of every core, after one that does not count.
        at_once: cores that run it, each on its own.
    """
    model = core.read_model(file)
    model.reshape({port: list(array.shape) for port, array in zip(model.inputs, inputs, strict=True)})
    settings = {
        "NUM_STREAMS": str(at_once),
        "INFERENCE_NUM_THREADS": str(at_once),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": "YES",
    }
    compiled = core.compile_model(model, "CPU", settings)
    requests = [compiled.create_infer_request() for _ in range(at_once)]
    for request in requests:
        for n, array in enumerate(inputs):
            request.get_input_tensor(n).data[:] = array
    found = []
    for turn in range(runs + 1):
        for request in requests:
            request.start_async()
        for request in requests:
            request.wait()
            spent: dict[str, float] = defaultdict(float)
            for layer in request.get_profiling_info():
                spent[layer.node_type] += layer.real_time.total_seconds() * 1000
            if turn:
                found.append(dict(spent))
    return found


def summary(runs: Sequence[Mapping[str, float]], gflop: float, at_once: int, peak: float) -> dict[str, Any]:
    """Medians of :func:`profile`, and the share of a peak that the counted layers reach.

    Args:
        runs: milliseconds by type of layer.
        gflop: of one run.
        at_once, peak: cores that ran at once, and GFLOP/s that they reach together.
    """
    types = sorted({name for run in runs for name in run})
    by_type = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in types}
    total, counted = sum(by_type.values()), sum(ms for name, ms in by_type.items() if name in COUNTED)
    rate = at_once * 1000 * gflop / counted
    return {
        "gflop": round(gflop, 3),
        "milliseconds": {k: round(v, 3) for k, v in sorted(by_type.items(), key=lambda kv: -kv[1]) if v >= 0.005},
        "total_milliseconds": round(total, 3),
        "counted_milliseconds": round(counted, 3),
        "share_of_time_in_convolutions": round(counted / total, 3),
        "gflops_in_convolutions": round(rate, 1),
        "share_of_peak_in_convolutions": round(rate / peak, 3),
    }


def whole_slice(programs: Mapping[str, Mapping[str, Any]], sequences: int, at_once: int, peak: float) -> dict[str, Any]:
    """The share of a peak in the convolutions of a slice of all sequences, each encoded, segmented once.

    Args:
        programs: :func:`summary` of the encoder and of "segment", in this order.
        sequences: how many are encoded.
        at_once, peak: as of :func:`summary`.
    """
    encoder, head = programs.values()
    work = sequences * encoder["gflop"] + head["gflop"]
    milliseconds = sequences * encoder["counted_milliseconds"] + head["counted_milliseconds"]
    rate = at_once * 1000 * work / milliseconds
    return {"sequences": sequences, "gflop": round(work, 3), "share_of_peak_in_convolutions": round(rate / peak, 3)}


def measure(bundle_name: str, runs: int, rounds: int = ROUNDS, quick: bool = False) -> dict[str, Any]:
    """Time and share of the peak of the programs of a bundle, a MarginDis.

    Args:
        bundle_name: name or folder.
        runs: of every program, round and core.
        rounds: of yardstick and programs, in turn.
        quick: a yardstick of one small size, for tests.
    """
    import openvino

    torch.set_num_threads(1)
    bundle = find_bundle(bundle_name)
    folder, system, core = convert(bundle).folder, bundle.system().fold(), openvino.Core()
    abilities = system.capabilities
    encoder, count = f"anatomy-{abilities.sequences[0]}", len(abilities.sequences)
    mask = torch.ones(1, 1, *SIZE)
    image = torch.linspace(-1, 1, abilities.slices * mask.numel()).view(1, abilities.slices, *SIZE)
    programs = system.programs()
    with torch.no_grad():
        anatomy = programs[encoder].module(image, mask)
        parts = {encoder: [image, mask], "segment": [torch.stack([anatomy] * count)]}
        gflop = {part: flops_of(partial(programs[part].module, *inputs)) / 1e9 for part, inputs in parts.items()}
    found: dict[str, Any] = {"bundle": bundle.name, "size": SIZE}
    for name, at_once in {"one core": 1, "all cores at once": cores()}.items():
        peaks, spent = [], defaultdict(list)
        for _ in range(rounds):
            peaks.append(peak_gflops(at_once, quick))
            for part, inputs in parts.items():
                arrays = [x.numpy() for x in inputs]
                spent[part] += profile(core, folder / f"{part}.xml", arrays, runs, at_once)
        rates = best(peaks)
        peak = max(rates.values())
        rows = {part: summary(times, gflop[part], at_once, peak) for part, times in spent.items()}
        found[name] = {
            "cores": at_once,
            "gflops_fp32": rates,
            "peak_gflops_fp32": peak,
            "programs": rows,
            "whole_slice": whole_slice(rows, count, at_once, peak),
        }
    return found


def beyond(found: Mapping[str, Any]) -> list[str]:
    """Programs whose convolutions exceed the yardstick, which was measured too low then: the machine was busy."""
    return [
        f"{part}, {name}"
        for name, of in found.items()
        if isinstance(of, Mapping) and "programs" in of
        for part, row in of["programs"].items()
        if row["share_of_peak_in_convolutions"] > 1.0
    ]


def main(arguments: list[str]) -> int:
    """The table and the file; 1 where a layer was faster than the yardstick."""
    parser = argparse.ArgumentParser(description="Time of the compiled networks by type of layer.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder, of a MarginDis")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a small yardstick, to try the benchmark itself")
    parser.add_argument("--output", type=Path, default=RESULTS / "layers.json")
    options = parser.parse_args(arguments)
    with measured("layers.py", arguments, runs=options.runs, rounds=1 if options.quick else ROUNDS) as block:
        found = measure(options.bundle, options.runs, block["rounds"], options.quick)
    for name in ("one core", "all cores at once"):
        of = found[name]
        rates = ", ".join(f"{kind} {rate}" for kind, rate in of["gflops_fp32"].items())
        print(f"\n{name}: at most {of['peak_gflops_fp32']} GFLOP/s ({rates})")
        for part, row in of["programs"].items():
            print(f"{part}: {row['gflop']} GFLOP, {row['total_milliseconds']} ms: {row['milliseconds']}")
            print(
                f"  convolutions {row['gflops_in_convolutions']} GFLOP/s, {row['share_of_peak_in_convolutions']:.0%} "
                f"of the peak, {row['share_of_time_in_convolutions']:.0%} of the time"
            )
        share = of["whole_slice"]["share_of_peak_in_convolutions"]
        print(f"convolutions of a whole slice: {share:.0%} of the peak")
    write_report({**found, "measured": block}, options.output)
    print(f"Written: {options.output}")
    if faster := beyond(found):
        print(f"Faster than the yardstick: {', '.join(faster)}; measure again on a quiet machine.", file=sys.stderr)
    return 1 if faster else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
