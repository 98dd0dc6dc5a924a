"""Whole runs of a study, from files to files, each in a process of its own in which nothing is remembered.

``python training/benchmarks/whole_runs.py '{"folder": ..., "backend": ..., "bundle": ...}'`` is such a process: it
prints one line of JSON, what :func:`whole_run` returns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import HERE, median_of, peak_mib

BACKENDS = ("torch", "openvino")
RUNS = ("first", "second", "remembered")
"""The second is that of a warm process, the third what a new process finds in the cache of the first."""
PHASES = ("lay", "resample", "normalise", "wait", "network", "recognise", "results")
"""What follows on each other in a run, so that their seconds add up to its total. "lay": the sequences are registered
and, beside that, the mask and the pose are found, while the networks are loaded; "wait": for networks that are not
loaded yet; "results": all that follows on the networks, back in the geometry of the input."""
IMPORTS = ("import disentangle", "from disentangle import Predictor, Study")
NORMALISATION_AND_IO = ("read", "normalise", "results", "write")


class Clock:
    """A progress callback that notes when each stage was heard of first and last."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def __call__(self, stage: str, fraction: float, message: str) -> None:
        now = time.perf_counter()
        self.first.setdefault(stage, now)
        self.last[stage] = now

    def phases(self, ended: float) -> dict[str, float]:
        """Seconds by :data:`PHASES`; a phase that a run leaves out takes none.

        Args:
            ended: of ``time.perf_counter``.
        """
        starts = {"lay": self.began, "resample": self.first.get("resample"), "normalise": self.first.get("normalize")}
        starts |= {"wait": self.last.get("normalize"), "network": self.first.get("network")}
        starts |= {"recognise": self.first.get("recognize"), "results": self.first.get("results")}
        found, following = {}, ended
        for phase in reversed(PHASES):
            start = following if starts[phase] is None else starts[phase]
            found[phase], following = following - start, start
        return {phase: found[phase] for phase in PHASES}


def step_seconds(steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds by name of a step of a report's ``preprocessing``: of all sequences together, and of the slowest one.

    Sequences are worked on side by side, and registration beside the mask: sums exceed what the clock says.
    """
    found: dict[str, dict[str, float]] = {}
    for step in steps:
        of = found.setdefault(step["name"].replace(" ", "_"), {"sum": 0.0, "slowest": 0.0})
        of["sum"] = round(of["sum"] + step["seconds"], 3)
        of["slowest"] = max(of["slowest"], step["seconds"])
    return found


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Shares in a whole run of reading, normalisation, write-back and writing; and of these with the resampling.

    Args:
        seconds: of "read", "write" and :data:`PHASES`.
    """
    whole = sum(seconds[name] for name in ("read", *PHASES, "write"))
    spent = sum(seconds[name] for name in NORMALISATION_AND_IO)
    return {
        "io_normalisation_write_back": round(spent / whole, 3),
        "with_resampling": round((spent + seconds["resample"]) / whole, 3),
    }


def wishes(bundle: Any) -> dict[str, dict[str, Any]]:
    """What is asked of a run, by name."""
    everything = {
        "segment": bool(bundle.classes),
        "synthesize": list(bundle.targets),
        **dict.fromkeys(("factors", "cross_reconstructions", "probabilities", "uncertainty"), True),
    }
    return {"segmentation": {"segment": True}, "everything": everything}


def whole_run(
    folder: str, backend: str, bundle: str, wish: str = "segmentation", runs: Sequence[str] = RUNS
) -> dict[str, Any]:
    """Read a study, run it, write the result; and once more what ``runs`` names.

    Returns:
        Seconds: "read", "write", of each run its :data:`PHASES` and "total", and "whole", from files to files. "steps"
        of the first run, see :func:`step_seconds`; "shares", see :func:`shares`; "peak_mib" up to the written result.
    """
    import disentangle
    from disentangle.preprocessing import Memory

    began = time.perf_counter()
    study = disentangle.Study.from_folder(folder)
    found: dict[str, Any] = {"read": time.perf_counter() - began}
    with tempfile.TemporaryDirectory() as scratch:
        for run in runs:
            if run != "second":
                memory = Memory(Path(scratch) / "findings")
                predictor = disentangle.Predictor(bundle, device="cpu", backend=backend, memory=memory)
            clock = Clock()
            result = predictor.run(study, progress=clock, **wishes(predictor.bundle)[wish])
            ended = time.perf_counter()
            found[run] = {**clock.phases(ended), "total": ended - clock.began}
            if run == "first":
                began = time.perf_counter()
                result.write(Path(scratch) / "out")
                found["write"], found["peak_mib"] = time.perf_counter() - began, peak_mib()
                found["steps"] = step_seconds(result.report["preprocessing"])
                prepared = predictor.last[0].prepared
                found["grid"] = list(prepared.grid.shape)
                found["slices"] = int(prepared.mask.any(axis=(1, 2)).sum())
                found["backend"] = result.report["backend"]["name"]
            del result
    found["whole"] = found["read"] + found["first"]["total"] + found["write"]
    found["shares"] = shares({**found["first"], "read": found["read"], "write": found["write"]})
    found["imported"] = [name for name in ("torch", "openvino", "monai") if name in sys.modules]
    return found


def in_a_process(folder: Path, backend: str, bundle: str, **arguments: Any) -> dict[str, Any]:
    """:func:`whole_run` in a fresh interpreter.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    asked = json.dumps({"folder": str(folder), "backend": backend, "bundle": bundle, **arguments})
    return json.loads(_python([__file__, asked]).splitlines()[-1])


def import_seconds(repeats: int) -> dict[str, float]:
    """Seconds of :data:`IMPORTS`, each in a fresh interpreter, in turns; the first turn only fetches from the disk."""
    program = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
    turns = [{line: float(_python(["-c", program.format(line)])) for line in IMPORTS} for _ in range(repeats + 1)]
    return median_of(turns[1:])


def _python(arguments: Sequence[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


def of_a_study(folder: Path, bundle: str, repeats: int) -> dict[str, Any]:
    """Medians of :func:`whole_run` by backend, which take turns."""
    runs = [{backend: in_a_process(folder, backend, bundle) for backend in BACKENDS} for _ in range(repeats)]
    return median_of(runs)


def memory(folder: Path, bundle: str) -> dict[str, Any]:
    """Peak memory in MiB, and seconds, of a segmentation and of everything at once, by backend."""
    found: dict[str, Any] = {}
    for wish in ("segmentation", "everything"):
        for backend in BACKENDS:
            run = in_a_process(folder, backend, bundle, wish=wish, runs=["first"])
            seconds = {name: round(run[name], 3) for name in ("whole", "write")}
            found.setdefault(wish, {})[backend] = {"peak_mib": run["peak_mib"] and round(run["peak_mib"]), **seconds}
    return found


def costs(folders: Mapping[str, Path], bundle: str, repeats: int) -> dict[str, Any]:
    """Medians of first runs of several studies, compiled, which take turns."""
    turns = [
        {name: in_a_process(folder, "openvino", bundle, runs=["first"]) for name, folder in folders.items()}
        for _ in range(repeats)
    ]
    return median_of(turns)


# -- tables ------------------------------------------------------------------------------------------------------------

_CELL = 10


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:<28}" + "".join(f"{cell:>{_CELL}}" for cell in cells)


def show(title: str, by_name: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the phases of the runs by backend, or by study."""
    print(f"\n{title}; seconds\n" + _row("", ["read", *PHASES, "write", "whole"]))
    for name, values in by_name.items():
        for run in (run for run in RUNS if run in values):
            phases = [f"{values[run][phase]:.2f}" for phase in PHASES]
            first = run == "first"
            ends = [f"{values['read']:.2f}" if first else "", f"{values['write']:.2f}" if first else ""]
            total = values["whole"] if first else values[run]["total"]
            print(_row(f"{name}, {run}", [ends[0], *phases, ends[1], f"{total:.2f}"]))
        steps = ", ".join(f"{step} {of['sum']:.2f} ({of['slowest']:.2f})" for step, of in values["steps"].items())
        print(f"{'':<28}steps of all sequences, side by side (of the slowest): {steps}")
        share = values["shares"]
        print(
            f"{'':<28}I/O, normalisation and write-back {share['io_normalisation_write_back']:.0%}, with resampling "
            f"{share['with_resampling']:.0%}; peak {values['peak_mib'] or 0:.0f} MiB"
        )


def show_memory(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print peaks."""
    print("\npeak memory, MiB (seconds from files to files)")
    for wish, by_backend in found.items():
        print(
            f"{wish:<28}" + "".join(f"{b:>10} {v['peak_mib'] or 0} ({v['whole']:.1f})" for b, v in by_backend.items())
        )


if __name__ == "__main__":
    print(json.dumps(whole_run(**json.loads(sys.argv[1]))))
