"""Figures on a GPU: ``PYTHONPATH=training python training/benchmarks/gpu.py``; about a minute.

The device's own limits, a whole registered study, the networks and kinds of layer alone, the interactive path and
training steps; a table, and JSON that is written after every part. A part that fails leaves its error there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digital_studies import registered_study
from gpu_networks import interactive, layers, limits, networks, training
from measuring import RESULTS, measured

from disentangle.bundles import find_bundle
from disentangle.inference import Predictor
from disentangle.inference.backends.graphs import SWITCH
from disentangle.phantoms import create_phantom
from disentangle.preprocessing import Memory

SIZE = (160, 192)
"""Rows and columns of the slices of the networks alone."""
PARTS = ("networks", "layers", "interactive", "training", "study")
WISHES: dict[str, dict[str, Any]] = {
    "segmentation": {"segment": True},
    "everything": {"segment": True, "synthesize": ["T1"], "factors": True, "cross_reconstructions": True},
}


def whole_study(bundle: str, device: torch.device, quick: bool) -> dict[str, Any]:
    """Seconds of runs of a registered, skull-stripped study: the first one with loading, later ones as of a study that
    was never seen, and ones whose preparation is remembered; memory; labels that are the CPU's."""
    phantom = create_phantom("brain", 1, spacing=4.0 if quick else 1.0, lesions="both").study
    study = registered_study(phantom, (39, 60, 60) if quick else (155, 240, 240), 4.0 if quick else 1.0)
    found: dict[str, Any] = {"voxels": list(study.first.array.shape)}

    def timed(predictor: Predictor, wish: str) -> tuple[dict[str, float], Any]:
        began = time.perf_counter()
        result = predictor.run(study, **WISHES[wish])
        return {**result.report["timings_s"], "total": time.perf_counter() - began}, result

    cpu = Predictor(bundle, device="cpu", backend="torch", memory=Memory())
    found["cpu, first"], result = timed(cpu, "segmentation")
    expected = result.segmentation.array
    prepared = cpu.last[0].prepared
    found["grid"], found["slices"] = list(prepared.grid.shape), int(prepared.mask.any(axis=(1, 2)).sum())
    if device.type != "cuda":
        return found
    predictor = Predictor(bundle, device=str(device), backend="torch", memory=Memory())
    for wish in WISHES:
        torch.cuda.reset_peak_memory_stats(device)
        for name in ("first", "new study", "prepared", "prepared"):
            if name == "new study":
                predictor.memory, predictor._prepared, predictor._answers = Memory(), None, None
            else:
                predictor._answers = None  # what the network said is not remembered
            seconds, result = timed(predictor, wish)
            found[f"{wish}, {name}"] = seconds
        found[f"{wish}, peak MiB"] = torch.cuda.max_memory_allocated(device) / 2**20
        found[f"{wish}, labels equal"] = float((result.segmentation.array == expected).mean())
        brain = expected > 0
        found[f"{wish}, labels equal in the brain"] = float((result.segmentation.array == expected)[brain].mean())
        found[f"{wish}, device"] = result.report["device"]
        found[f"{wish}, slices at once"] = result.report["slices_at_once"]
    found["graphs"] = len(predictor.last[0].network.replays)
    return found


def rounded(value: Any) -> Any:
    """Four digits of every number."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, (float, np.floating)) else value


def show(title: str, found: Any) -> None:
    """Print a part, a line for each of its rows."""
    print(f"\n{title}")
    for name, row in found.items() if isinstance(found, dict) else enumerate(found):
        label = f"  {name}: " if isinstance(found, dict) else "  "
        print(label + (", ".join(f"{k} {v}" for k, v in row.items()) if isinstance(row, dict) else str(row)))


def _write(report: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Limits of a GPU, and what the product makes of them.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu only to try the benchmark itself")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="and the limits")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here that torch can use; run this benchmark on a machine that has one.", file=sys.stderr)
        return 2
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # set_device wants a number
        torch.cuda.set_device(device)
        os.environ.pop(SWITCH, None)  # graphs are on

    quick = options.quick
    size = (64, 64) if quick else SIZE
    system = find_bundle(options.bundle).system().fold().to(device).to(memory_format=torch.channels_last)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()},
        "size": size,
    }
    peaks: dict[str, float] = {}

    def device_limits() -> dict[str, float]:
        peaks.update(limits(device, quick))
        return peaks

    batches = (1, 2) if quick else (1, 8, 32, 64)
    parts: dict[str, Callable[[], Any]] = {
        "limits": device_limits,
        "networks": lambda: networks(system, device, peaks, batches, size),
        "layers": lambda: layers(system, device, peaks, batches[-1], size),
        "interactive": lambda: interactive(system, device, size),
        "training": lambda: training(system, device, peaks, (2,) if quick else (8, 32), size),
        "study": lambda: whole_study(options.bundle, device, quick),
    }
    failed = 0
    with measured("gpu.py", arguments) as block:
        report["measured"] = block
        for name, part in parts.items():
            if name not in ("limits", *options.only):
                continue
            began = time.perf_counter()
            try:
                found = rounded(part())
            except Exception as error:  # the other parts are worth having
                found, failed = (
                    {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-2000:]},
                    1,
                )
            report[name] = found
            report.setdefault("part_seconds", {})[name] = round(time.perf_counter() - began, 1)
            show(f"{name} ({report['part_seconds'][name]} s)", found)
            _write(report, options.output)
    _write(report, options.output)
    print(f"\nWritten: {options.output}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
