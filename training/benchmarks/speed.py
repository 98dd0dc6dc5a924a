"""Speed and memory: ``python training/benchmarks/speed.py [--registered FOLDER] [--native FOLDER] [--repeats N]``.

Everything is measured in one run, the backends and peers taking turns; figures are medians over the repeats, without
what came before the first one. Each run of a study happens in a process of its own (``--child``), with nothing
remembered, and is followed there by a second run of the same study. Without folders a digital brain is taken:
skull-stripped on 240 x 240 x 155 voxels of 1 mm, and as whole heads in four poses with slices of 3 mm.

This is about the CPU; figures on a GPU are those of ``gpu.py``, which writes ``results/gpu.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
BACKENDS = ("torch", "openvino")
PARTS = ("registered", "native", "interactive", "networks")
_FIGURES = ("gflop_per_slice", "peak_gflops_fp32", "share_of_peak")
STAGES = ("load", "prepare", "network", "results", "total")


# -- one study in a process of its own ---------------------------------------------------------------------------------


def child(folder: str, backend: str, bundle: str) -> dict[str, Any]:
    """Import, read, run twice, write; seconds and MiB."""
    began = time.perf_counter()
    import disentangle

    imported = time.perf_counter()
    study = disentangle.Study.from_folder(folder)
    read = time.perf_counter()
    from disentangle.preprocessing import Memory

    with tempfile.TemporaryDirectory() as scratch:
        runs = []
        for run in ("first", "second", "remembered"):
            if run != "second":  # the second run of a warm process; the third is what a new process finds on the disk
                predictor = disentangle.Predictor(
                    bundle, device="cpu", backend=backend, memory=Memory(Path(scratch) / "findings")
                )
            start = time.perf_counter()
            result = predictor.run(study, segment=True)
            seconds = dict(result.report["timings_s"])
            runs.append({**seconds, "total": time.perf_counter() - start})
            if run == "first":
                peak = _peak_mib()
        start = time.perf_counter()
        result.write(Path(scratch) / "out")
        written = time.perf_counter() - start
    prepared = predictor.last[0].prepared
    return {
        "import": imported - began,
        "read": read - imported,
        "write": written,
        "first": runs[0],
        "second": runs[1],
        "remembered": runs[2],
        "peak_mib": peak,
        "grid": list(prepared.grid.shape),
        "slices": int(prepared.mask.any(axis=(1, 2)).sum()),
        "backend": result.report["backend"]["name"],
        "torch_imported": "torch" in sys.modules,
    }


def _peak_mib() -> float | None:
    """Largest resident memory of this process, None on Windows."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would be at least that of the process that started this one
        high = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(high.split()[1]) / 2**10
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


def run_child(folder: Path, backend: str, bundle: str) -> dict[str, Any]:
    """:func:`child` in a fresh interpreter."""
    command = [sys.executable, __file__, "--child", str(folder), backend, bundle]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def median_of(values: list[Any]) -> Any:
    """Medians of equally built results: numbers in dictionaries; everything else as it was at first."""
    if isinstance(values[0], dict):
        return {key: median_of([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], (int, float)) and not isinstance(values[0], bool):
        return round(statistics.median(values), 3)
    return values[0]


# -- the worker --------------------------------------------------------------------------------------------------------


def interactive(folder: Path, backend: str, bundle: str) -> dict[str, float]:
    """Seconds that somebody waits: the first slices of a cold and of a warm worker, a style slider, a cancellation."""
    from disentangle.study import Study
    from disentangle.worker.client import WorkerClient
    from disentangle.worker.codec import write_study

    os.environ["DISENTANGLE_COMPILE"] = "0"
    study = Study.from_folder(folder)
    # Somewhere nobody has seen it: nothing is remembered of the study.
    shift = np.zeros((4, 4))
    shift[:3, 3] = np.random.default_rng().uniform(0, 1e-3, 3)
    images = {name: replace(image, affine=image.affine + shift) for name, image in study.images.items()}
    study = Study(images, name=study.name)
    image = study.first
    middle = image.affine[:3, :3] @ ((np.array(image.grid.size) - 1) / 2) + image.affine[:3, 3]
    point = [float(v) for v in middle]
    found = {}

    def request_of(client: WorkerClient) -> dict[str, Any]:
        place = client.folder()
        write_study(study, place / "study")
        request = {"request": "predict", "bundle": bundle, "study": place / "study", "device": "cpu"}
        return {**request, "backend": backend, "segment": True, "point": point}

    def predict(client: WorkerClient, request: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        place, began, first = client.folder(), time.perf_counter(), []

        def notice(event: dict[str, Any]) -> None:
            if event["event"] == "preview":
                first.append(time.perf_counter() - began)

        out = {"output": place / "output", "preview": place / "preview"}
        final = client.wait(client.submit({**request, **out}), notice, timeout_s=600)
        return first[0], final

    with WorkerClient() as client:
        found["cold start, new study, first slices"], _ = predict(client, request_of(client))
    with WorkerClient() as client:
        request, place = request_of(client), client.folder()
        found["cold start, known study, first slices"], _ = predict(client, request)
        found["warm, same study, first slices"], final = predict(client, request)
        session, style = final["session"], next(iter(final["styles"].values()))
        draw = {"request": "draw", "session": session, "point": point, "anatomy": "fused"}
        draw.update(units={next(iter(final["styles"])): 1.0}, output=place / "slice.npy")
        seconds = []
        time.sleep(1.0)  # nobody is at the slider any sooner
        for n in range(6):
            began = time.perf_counter()
            client.wait(client.submit({**draw, "style": [v + 0.1 * n for v in style]}), timeout_s=60)
            seconds.append(time.perf_counter() - began)
        found["style slider, first position"], found["style slider, next"] = seconds[0], statistics.median(seconds[1:])
        began = time.perf_counter()
        name = client.submit({**request, "output": place / "c", "factors": True, "cross_reconstructions": True})
        while not any(e["event"] == "progress" and e["stage"] == "network" for e in client.poll()):
            time.sleep(0.005)
        began = time.perf_counter()
        client.cancel(name)
        client.wait(name, timeout_s=60)
        found["cancel"] = time.perf_counter() - began
    return found


# -- networks and peers ------------------------------------------------------------------------------------------------


def network_seconds(folder: Path, bundle_name: str, repeats: int) -> dict[str, Any]:
    """Seconds of the network stage by number of sequences and of slices, and of the peers, all taking turns."""
    from flops import gflop_per_slice
    from peers import peak_gflops, peer_jobs

    from disentangle import Predictor, Study
    from disentangle.inference.engine import Wanted
    from disentangle.progress import Progress

    study = Study.from_folder(folder)
    jobs: dict[str, tuple[Any, float, str]] = {}
    compiling = 0.0
    for backend in (*BACKENDS, "compile"):
        predictor = Predictor(bundle_name, device="cpu", backend=backend)
        began = time.perf_counter()
        predictor.run(study)
        compiling = time.perf_counter() - began
        run = predictor.last[0]
        prepared, names = run.prepared, list(run.prepared.images)
        half = prepared.mask.copy()
        half[: len(half) // 2] = False
        cases = {f"{n} sequences": (names[:n], prepared.mask) for n in range(1, len(names) + 1)}
        cases["half of the slices"] = (names, half)
        if backend == "compile":
            cases = {f"{len(names)} sequences": (names, prepared.mask)}
        for label, (kept, mask) in cases.items():

            def job(run=run, kept=kept, mask=mask) -> None:
                engine = run.engine(len(kept), len(run.bundle.classes))
                engine.run({n: run.prepared.images[n] for n in kept}, mask, Wanted(), Progress())

            jobs[f"{backend}, {label}"] = (job, 1.0, "")
    box = np.argwhere(study.first.array != study.first.array.flat[0])
    extent = tuple(int(v) for v in box.max(axis=0) - box.min(axis=0) + 1)
    slices = int(prepared.mask.any(axis=(1, 2)).sum())
    jobs.update(peer_jobs(extent, slices))
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    peaks = []
    for turn in range(repeats + 1):
        peaks.append(peak_gflops())
        for name, (job, factor, _) in jobs.items():
            if turn == 0 and name.startswith("nnU-Net"):
                continue  # its first patch takes as long as any other
            began = time.perf_counter()
            job()
            if turn:
                seconds[name].append(factor * (time.perf_counter() - began))
    gflop = gflop_per_slice(predictor.bundle.system().fold(), *prepared.grid.shape[1:])
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    peak = max(peaks)
    every = f"{len(names)} sequences"
    share = {b: round(gflop * slices / medians[f"{b}, {every}"] / peak, 3) for b in (*BACKENDS, "compile")}
    return {
        "seconds": medians,
        "first_run_with_compile": round(compiling, 1),
        "extrapolated": {name: how for name, (_, _, how) in jobs.items() if how},
        "gflop_per_slice": round(gflop, 3),
        "peak_gflops_fp32": round(peak, 1),
        "share_of_peak": share,
    }


# -- the tables --------------------------------------------------------------------------------------------------------


def show_runs(title: str, by_backend: dict[str, dict[str, Any]]) -> None:
    """Print the stages of both runs of a study for each backend."""
    print(f"\n{title}; seconds\n{'':<28}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'peak MiB':>10}")
    for backend, values in by_backend.items():
        for run in ("first", "second", "remembered"):
            cells = "".join(f"{values[run].get(stage, 0):10.2f}" for stage in STAGES)
            peak = f"{values['peak_mib']:10.0f}" if run == "first" and values["peak_mib"] else ""
            print(f"{backend + ', ' + run:<28}{cells}{peak}")
        print(f"{'':<28}import {values['import']:.2f}, read {values['read']:.2f}, write {values['write']:.2f}")


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        print(json.dumps(child(*arguments[1:])))
        return 0
    parser = argparse.ArgumentParser(description="Seconds and memory of whole runs, networks, peers and the worker.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--registered", type=Path, help="a study whose sequences lie on one grid")
    parser.add_argument("--native", type=Path, help="a study as it came from the scanner")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the rest of the report stays as it is")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "speed.json")
    options = parser.parse_args(arguments)

    from disentangle.bundles import find_bundle
    from disentangle.errors import InputError
    from disentangle.inference.backends.convert import convert

    try:
        convert(find_bundle(options.bundle))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        made = None
        if not (options.registered and options.native):
            from digital_studies import write_digital_studies

            made = write_digital_studies(Path(scratch))
        folders = {"registered": options.registered or made[0], "native": options.native or made[1]}
        report: dict[str, Any] = {}
        if set(options.only) != set(PARTS) and options.output.is_file():
            report = json.loads(options.output.read_text(encoding="utf-8"))
        circumstances = {
            "command": "python training/benchmarks/speed.py " + " ".join(a.split("/shared/")[-1] for a in arguments),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "repeats": options.repeats,
        }
        for part in options.only:
            began = _load_average()
            report[part] = _measure(part, folders, options.bundle, options.repeats)
            report[part]["measured"] = {**circumstances, "load_average": [began, _load_average()]}
            _write(report, options.output)  # whatever comes after it
    print(f"Written: {options.output}")
    return 0


def _load_average() -> float | None:
    """How many processes wanted a core during the last minute; more than there are cores spoil the figures."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _measure(part: str, folders: dict[str, Path], bundle: str, repeats: int) -> dict[str, Any]:
    """One of :data:`PARTS`, also printed."""
    if part in folders:
        runs: dict[str, list[dict[str, Any]]] = {backend: [] for backend in BACKENDS}
        for _ in range(repeats):
            for backend in BACKENDS:
                runs[backend].append(run_child(folders[part], backend, bundle))
        found = {backend: median_of(values) for backend, values in runs.items()}
        show_runs(f"{bundle}, {part} study, segmentation", found)
        return found
    if part == "interactive":
        found = {backend: interactive(folders["registered"], backend, bundle) for backend in BACKENDS}
        print("\nworker; seconds")
        for name in found["torch"]:
            print(f"{name:<40}" + "".join(f"{b:>10} {found[b][name]:6.3f}" for b in BACKENDS))
        return found
    found = network_seconds(folders["registered"], bundle, repeats)
    print("\nnetworks alone, and peers; seconds per study")
    for name, seconds in found["seconds"].items():
        print(f"{name:<36}{seconds:8.2f}   {found['extrapolated'].get(name, '')}")
    print({key: found[key] for key in ("first_run_with_compile", *_FIGURES)})
    return found


def _write(report: dict[str, Any], path: Path) -> None:
    from disentangle.study import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
