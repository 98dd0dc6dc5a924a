"""Speed and memory: ``python training/benchmarks/speed.py [--bundle NAME] [--spacing MM] [--repeats N]``.

Two tables, also as JSON. The first runs the bundle on one phantom study and shows the seconds of every stage for each
kind of result. The second times the networks alone on the same slices, side by side in one run with the peer of each
task: a MONAI U-Net on the stacked sequences, as one would train for segmentation alone, and margindis at its
published width. Medians over the repeats, after one run that is not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNet

from disentangle import systems
from disentangle.bundles import find_bundle
from disentangle.errors import InputError
from disentangle.inference import Predictor
from disentangle.phantoms import create_phantom
from disentangle.study import Study, write_atomically
from disentangle.systems.base import System

HERE = Path(__file__).resolve().parent
SLICE = (160, 192)
BATCH = 8


def stages(predictor: Predictor, study: Study, repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds by stage for each kind of result."""
    jobs: dict[str, dict[str, Any]] = {
        "segmentation": {"segment": True},
        "synthesis of one": {"segment": False, "synthesize": [predictor.bundle.targets[-1]]},
        "factors": {"segment": False, "factors": True},
        "everything": {"segment": True, "factors": True, "cross_reconstructions": True},
    }
    result = {}
    for name, arguments in jobs.items():
        runs = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            timings = dict(predictor.run(study, **arguments).report["timings_s"])
            timings["total"] = time.perf_counter() - began
            runs.append(timings)
        result[name] = {stage: statistics.median(run.get(stage, 0.0) for run in runs[1:]) for stage in runs[0]}
    return result


def networks(bundled: System, repeats: int) -> dict[str, float]:
    """Median milliseconds per slice of the given system, its published width, and a plain U-Net."""
    capabilities = bundled.capabilities
    images = {s: torch.randn(BATCH, capabilities.slices, *SLICE) for s in capabilities.sequences}
    mask = torch.ones(BATCH, 1, *SLICE)
    published = systems.create(
        "margindis", sequences=capabilities.sequences, classes=capabilities.classes, slices=capabilities.slices
    ).fold()
    unet = BasicUNet(
        spatial_dims=2, in_channels=len(images) * capabilities.slices, out_channels=len(capabilities.classes)
    ).eval()
    stacked = torch.cat(list(images.values()), dim=1)
    jobs: dict[str, Callable[[], Any]] = {
        "bundle: encode, fuse, segment": lambda: bundled.segment(bundled.fuse(bundled.encode(images, mask))),
        "bundle: encode, decode one target": lambda: _synthesis(bundled, images, mask),
        "published width: encode, fuse, segment": lambda: published.segment(
            published.fuse(published.encode(images, mask))
        ),
        "published width: encode, decode one target": lambda: _synthesis(published, images, mask),
        "MONAI BasicUNet: segment": lambda: unet(stacked),
    }
    result = {}
    with torch.inference_mode():
        for name, job in jobs.items():
            seconds = []
            for _ in range(repeats + 1):
                began = time.perf_counter()
                job()
                seconds.append(time.perf_counter() - began)
            result[name] = 1000 * statistics.median(seconds[1:]) / BATCH
    return result


def _synthesis(system: System, images: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    target = system.capabilities.targets[-1]
    factors = system.encode({s: x for s, x in images.items() if s != target}, mask)
    return system.decode(system.synthesis_anatomy(factors), target)


def _peak_memory_mib() -> float | None:
    """Largest resident memory of this process, None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Seconds by stage and milliseconds per slice, as tables and JSON.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size of the phantom in mm")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "speed.json")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        bundle = find_bundle(options.bundle)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    study = create_phantom("brain", 1, spacing=options.spacing, lesions="both").study
    shape = "x".join(str(n) for n in reversed(study.first.array.shape))
    print(f"{bundle.name} on a phantom of {shape} voxels, {', '.join(study.available)}; seconds")
    by_stage = stages(Predictor(bundle, device="cpu"), study, options.repeats)
    columns = list(next(iter(by_stage.values())))
    print(f"{'':<20}" + "".join(f"{c:>10}" for c in columns))
    for name, seconds in by_stage.items():
        print(f"{name:<20}" + "".join(f"{seconds.get(c, 0):10.2f}" for c in columns))

    by_network = networks(bundle.system().fold(), options.repeats)
    print(f"\nnetworks alone, slices of {SLICE[0]}x{SLICE[1]}, batches of {BATCH}; milliseconds per slice")
    for name, milliseconds in by_network.items():
        print(f"{name:<46}{milliseconds:8.1f}")
    peak = _peak_memory_mib()
    print(f"\npeak memory of this process: {'unknown here' if peak is None else f'{peak:.0f} MiB'}")
    report = {
        "command": "python training/benchmarks/speed.py " + " ".join(arguments),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "study_voxels": shape,
        "seconds": by_stage,
        "milliseconds_per_slice": by_network,
        "peak_memory_mib": peak,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(options.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
