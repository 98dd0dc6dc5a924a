"""The networks of a bundle, whole runs and peers, taking turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flops import gflop_per_slice
from speed_targets import NNUNET, SEGRESNET
from turns import Job, in_turns
from whole_runs import BACKENDS, in_a_process
from yardstick import best, peak_gflops

from disentangle import Predictor, Study
from disentangle.inference.engine import Wanted
from disentangle.inference.run import Run
from disentangle.parallel import cores
from disentangle.progress import Progress

WHOLE = "whole run, openvino"
SEGRESNET_BOX = f"{SEGRESNET}, brain only"
PEERS = (NNUNET, SEGRESNET, SEGRESNET_BOX)


def compared(folder: Path, bundle: str, repeats: int, compile: bool = False, few: bool = False) -> dict[str, Any]:
    """Seconds per study of everything, and what they are of each other.

    Args:
        folder: of a registered study.
        bundle: name or folder.
        repeats: turns, after one that does not count.
        compile: torch.compile too, which takes over a minute before its first answer.
        few: only the networks of the bundle and its whole run, for tests.
    """
    study, jobs, compiling = Study.from_folder(folder), {}, None
    for backend in (*BACKENDS, *["compile"] * compile):
        predictor = Predictor(bundle, device="cpu", backend=backend)
        began = time.perf_counter()
        predictor.run(study)
        if backend == "compile":
            compiling = round(time.perf_counter() - began, 1)
        run = predictor.last[0]
        jobs.update(network_jobs(run, backend))
    slices = int(run.prepared.mask.any(axis=(1, 2)).sum())
    jobs[WHOLE] = Job(lambda: in_a_process(folder, "openvino", bundle, runs=["first"])["whole"], how="files to files")
    if not few:
        from peers import peer_jobs  # imports MONAI, which takes seconds

        jobs.update(peer_jobs(brain_box(study), slices))
    seconds, rounds = in_turns(jobs, repeats, partial(peak_gflops, cores(), few))
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    gflop = gflop_per_slice(run.bundle.system().fold(), *run.prepared.grid.shape[1:])
    rates = best(rounds)
    every = f"{len(run.prepared.images)} sequences"
    return {
        "seconds": medians,
        "how": {name: job.how for name, job in jobs.items() if job.how},
        "first_run_with_compile": compiling,
        "grid": list(run.prepared.grid.shape),
        "slices": slices,
        "ratios": ratios(medians, every),
        "gflop_per_slice": round(gflop, 3),
        "gflops_fp32": rates,
        "peak_gflops_fp32": max(rates.values()),
        "share_of_peak": {
            backend: round(gflop * slices / medians[f"{backend}, {every}"] / max(rates.values()), 3)
            for backend in (*BACKENDS, "compile")
            if f"{backend}, {every}" in medians
        },
    }


def brain_box(study: Study) -> tuple[int, int, int]:
    """Voxels (K, J, I) of 1 mm around what a skull-stripped study shows."""
    first = study.first
    box = np.argwhere(first.array != first.array.flat[0])
    extent = (box.max(axis=0) - box.min(axis=0) + 1) * first.spacing[::-1]
    return tuple(int(np.ceil(v)) for v in extent)


def network_jobs(run: Run, backend: str) -> dict[str, Job]:
    """The network stage of a run: of all sequences and half of the slices; compiled, also of fewer sequences."""
    mask, names = run.prepared.mask, list(run.prepared.images)
    half = mask.copy()
    half[: len(half) // 2] = False
    cases = {f"{len(names)} sequences": (names, mask)}
    if backend == "openvino":
        cases = {f"{n} sequences": (names[:n], mask) for n in range(1, len(names) + 1)}
    if backend != "compile":
        cases["half of the slices"] = (names, half)

    def job(kept: list[str], where: np.ndarray) -> None:
        engine = run.engine(len(kept), len(run.bundle.classes))
        engine.run({name: run.prepared.images[name] for name in kept}, where, Wanted(), Progress())

    return {f"{backend}, {label}": Job(partial(job, *case)) for label, case in cases.items()}


def ratios(seconds: Mapping[str, float], every: str) -> dict[str, dict[str, float]]:
    """Peer -> its seconds over those of a whole compiled run, and over those of the compiled networks alone.

    Args:
        seconds: by name of a job.
        every: name of the job of all sequences, without the backend.
    """
    ours = {"whole_run": WHOLE, "networks": f"openvino, {every}"}
    return {
        peer: {kind: round(seconds[peer] / seconds[name], 2) for kind, name in ours.items()}
        for peer in PEERS
        if peer in seconds
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the seconds and the ratios."""
    print("\nnetworks alone, peers, and a whole run; seconds per study")
    for name, seconds in found["seconds"].items():
        print(f"{name:<42}{seconds:8.2f}   {found['how'].get(name, '')}")
    for peer, of in found["ratios"].items():
        print(f"{peer}: {of['whole_run']:.1f} times a whole run of ours, {of['networks']:.1f} times our networks")
    shares = ", ".join(f"{backend} {share:.0%}" for backend, share in found["share_of_peak"].items())
    print(
        f"{found['gflop_per_slice']} GFLOP a slice of {found['grid'][1]} x {found['grid'][2]}, {found['slices']} "
        f"slices; networks reach of {found['peak_gflops_fp32']} GFLOP/s on all cores: {shares}"
    )
    if found["first_run_with_compile"]:
        print(f"first run with torch.compile: {found['first_run_with_compile']} s")
