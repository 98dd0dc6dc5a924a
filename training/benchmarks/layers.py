"""Where the compiled networks spend their time: ``python training/benchmarks/layers.py [--bundle brain-mr]``.

One slice through the encoder of a sequence and through the segmentation head, on one core as the product runs them
(every core takes slices of its own), by type of layer. The convolutions' GFLOP/s stand beside what one core reaches in
a large matrix product, measured in turn. Prints a table and writes ``results/layers.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flops import flops_of
from peers import peak_gflops

from disentangle.bundles import find_bundle
from disentangle.inference.backends.convert import convert
from disentangle.study import write_atomically

HERE = Path(__file__).resolve().parent
SIZE = (128, 128)
"""Of the slices, multiples of 32: the box around a head at 1.5 mm."""
COUNTED = {"Convolution", "FullyConnected", "MatMul"}
"""Types of layers whose operations PyTorch counts."""


def profile(core: Any, file: Path, inputs: list[Any], runs: int) -> list[dict[str, float]]:
    """Milliseconds by type of layer, of every run of a program on one core."""
    model = core.read_model(file)
    model.reshape({port: list(array.shape) for port, array in zip(model.inputs, inputs, strict=True)})
    settings = {
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": "1",
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": "YES",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    for n, array in enumerate(inputs):
        request.get_input_tensor(n).data[:] = array
    found = []
    for _ in range(runs + 1):
        request.infer()
        spent: dict[str, float] = defaultdict(float)
        for layer in request.get_profiling_info():
            spent[layer.node_type] += layer.real_time.total_seconds() * 1000
        found.append(dict(spent))
    return found[1:]


def measure(bundle_name: str, runs: int) -> dict[str, Any]:
    """Time and share of the peak of the programs of a bundle, a MarginDis."""
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
    peaks, spent = [], defaultdict(list)
    for _ in range(3):
        peaks.append(peak_gflops())
        for part, inputs in parts.items():
            spent[part] += profile(core, folder / f"{part}.xml", [x.numpy() for x in inputs], runs)
    peak, rows, counted = max(peaks), {}, {}
    for part, all_runs in spent.items():
        types = sorted({name for run in all_runs for name in run})
        by_type = {name: statistics.median(run.get(name, 0.0) for run in all_runs) for name in types}
        total, counted[part] = sum(by_type.values()), sum(ms for name, ms in by_type.items() if name in COUNTED)
        rows[part] = {
            "gflop": round(gflop[part], 3),
            "milliseconds": {k: round(v, 3) for k, v in sorted(by_type.items(), key=lambda kv: -kv[1]) if v >= 0.005},
            "total_milliseconds": round(total, 3),
            "share_of_time_in_convolutions": round(counted[part] / total, 3),
            "gflops_in_convolutions": round(1000 * gflop[part] / counted[part], 1),
            "share_of_peak_in_convolutions": round(1000 * gflop[part] / counted[part] / peak, 3),
        }
    work, milliseconds = (count * each[encoder] + each["segment"] for each in (gflop, counted))
    whole = {"gflop": round(work, 3), "share_of_peak_in_convolutions": round(1000 * work / milliseconds / peak, 3)}
    return {
        "bundle": bundle.name,
        "size": SIZE,
        "peak_gflops_one_core": round(peak, 1),
        "programs": rows,
        "whole_slice": {"sequences": count, **whole},
    }


def main(arguments: list[str]) -> int:
    """The table and the file."""
    parser = argparse.ArgumentParser(description="Time of the compiled networks by type of layer.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder, of a MarginDis")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "layers.json")
    options = parser.parse_args(arguments)
    found = measure(options.bundle, options.runs)
    print(f"one core: {found['peak_gflops_one_core']} GFLOP/s in a matrix product")
    for part, row in found["programs"].items():
        print(f"{part}: {row['gflop']} GFLOP, {row['total_milliseconds']} ms: {row['milliseconds']}")
        shares = (
            f"{row['share_of_peak_in_convolutions']} of the peak, {row['share_of_time_in_convolutions']} of the time"
        )
        print(f"  convolutions {row['gflops_in_convolutions']} GFLOP/s, {shares}")
    print(f"a whole slice: {found['whole_slice']}")
    with write_atomically(options.output) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
