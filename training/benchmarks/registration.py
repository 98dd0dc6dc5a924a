"""Error and time of registration: ``python training/benchmarks/registration.py [--data FOLDER] [--output FILE]``.

*Pairs.* Needs the studies ms-long-* (Lesjak et al., Neuroinformatics 2016), whose T1 and T2 come with the data set's
own registrations to FLAIR. The error of a pair is the mean distance over the head between where the two registrations
put a point; the data set's are themselves accurate to about a millimetre. The stress rows give the registration a copy
of T1 that is turned by 40 degrees and moved by 29 mm.

*Preparation.* Native studies, digital (whose poses are known) and a real one, from images in memory to what a network
reads: with the plain settings of ``plain.py`` and with today's, in turns.

Every pair is registered with both settings, too. Seconds of a busy machine say little: CPU seconds, over all cores, are
given beside them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from digital_studies import digital_head, native_poses, native_study
from measuring import REPOSITORY, RESULTS, measured, median_of, write_report
from plain import SETTINGS, plain_settings

from disentangle.bundles import find_bundle
from disentangle.errors import InputError
from disentangle.inference.brain import find_brain
from disentangle.preprocessing import Memory, PreparedStudy, PreprocessingConfig, head_mask, prepare, register
from disentangle.preprocessing.registration import displacement, rotation_about
from disentangle.preprocessing.resampling import matrix_of
from disentangle.study import Image, Study

STUDIES = ("ms-long-01a", "ms-long-01b", "ms-long-03b", "ms-long-04a")
NATIVE = "tcga-fg-6692-native"
TARGET_MM = 1.5
TARGET_RATIO = 0.6
TURNS = {"40 degrees of pitch": (40, 0, 0), "40 degrees of yaw": (0, 0, 40), "40 degrees oblique": (24, 22, 24)}
STRESSED = "ms-long-03b"
WAYS: Mapping[str, Callable[[], Any]] = {"plain": plain_settings, "today": nullcontext}

# -- pairs -------------------------------------------------------------------------------------------------------------


def turned(image: Image, angles_deg: tuple[float, float, float]) -> tuple[Image, np.ndarray]:
    """A copy that lies turned and moved in space, and the (4, 4) matrix from old to new points."""
    grid = image.grid
    centre = grid.corners().mean(axis=0)
    matrix = rotation_about(angles_deg, centre, centre + (15.0, -20.0, 15.0))
    return Image(image.array, matrix @ image.affine, sequence=image.sequence), matrix


def pairs(data: Path) -> list[dict[str, Any]]:
    """One row per pair and per stress."""
    rows = []
    for study in STUDIES:
        fixed = Image.read(data / study / "FLAIR.nii.gz", sequence="FLAIR")
        head = points_of(fixed)
        for sequence in ("T1", "T2"):
            moving = Image.read(data / study / f"{sequence}.nii.gz", sequence=sequence)
            truth = matrix_of(sitk.ReadTransform(str(data / study / f"{sequence}_to_FLAIR.tfm")))
            rows.append(row(study, f"{sequence} to FLAIR", moving, fixed, truth, head))
            print(line(rows[-1]), flush=True)
            if study == STRESSED and sequence == "T1":
                for name, angles in TURNS.items():
                    copy, matrix = turned(moving, angles)
                    rows.append(row(study, f"{sequence} to FLAIR, {name}", copy, fixed, matrix @ truth, head))
                    print(line(rows[-1]), flush=True)
    return rows


def points_of(image: Image) -> np.ndarray:
    """(N, 3) some points of the head, LPS mm."""
    index = np.argwhere(head_mask(image))[::500, ::-1]
    return index @ image.affine[:3, :3].T + image.affine[:3, 3]


def row(study: str, pair: str, moving: Image, fixed: Image, truth: np.ndarray, head: np.ndarray) -> dict[str, Any]:
    """Register one pair with both settings and compare with the truth, (4, 4) fixed points to moving points."""
    told: dict[str, Any] = {"study": study, "pair": pair, "before_mm": round(displacement(truth, np.eye(4), head), 2)}
    for way, settings in WAYS.items():
        began = time.process_time()
        with settings():
            found = register(moving, fixed)
        told[way] = {
            "error_mm": round(displacement(truth, found.matrix, head), 2),
            "estimate_mm": round(found.error_estimate_mm, 2),
            "metric": round(found.metric, 3),
            "start": found.start,
            "seconds": round(found.seconds, 1),
            "cpu_seconds": round(time.process_time() - began, 1),
        }
    return told


HEADER = f"{'study':12} {'pair':36} {'before':>7}" + "".join(
    f"   {way:<6}{'error':>6} {'estimate':>8} {'seconds':>7} {'cpu s':>6}" for way in WAYS
)


def line(values: Mapping[str, Any]) -> str:
    """A row of the table."""
    cells = "".join(
        f"   {'':<6}{v['error_mm']:6.2f} {v['estimate_mm']:8.2f} {v['seconds']:7.1f} {v['cpu_seconds']:6.1f}"
        for v in (values[way] for way in WAYS)
    )
    return f"{values['study']:12} {values['pair']:36} {values['before_mm']:7.2f}{cells}"


# -- preparation -------------------------------------------------------------------------------------------------------


def prepared(study: Study, config: PreprocessingConfig, way: str) -> tuple[PreparedStudy, dict[str, float]]:
    """A study prepared with nothing remembered, and the seconds that it took: of the clock, and of all cores."""
    finder = None if way == "plain" else partial(find_brain, compiled=True)
    wall, cpu = time.perf_counter(), time.process_time()
    with WAYS[way]():
        found = prepare(study, config, memory=Memory(), find_brain=finder)
    return found, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def preparation(
    study: Study, config: PreprocessingConfig, repeats: int, poses: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Medians of preparing a native study, the settings taking turns, after today's have loaded what both need.

    Args:
        study: whose sequences are not registered.
        config: of a bundle.
        repeats: turns.
        poses: sequence -> (4, 4) points of the head to points of its image, where they are known; errors then are
            mean distances over the head.

    Returns:
        By way: "seconds", "cpu_seconds", and "error_mm", the worst of the sequences, None where poses are not known;
        "ratio" of the seconds, today's over the plain ones.
    """
    turns: list[dict[str, Any]] = []
    prepared(study, config, "today")
    for _ in range(repeats):
        turn = {}
        for way in WAYS:
            found, turn[way] = prepared(study, config, way)
            turn[way]["error_mm"] = None if poses is None else worst_error(found, poses)
        turns.append(turn)
    medians = median_of(turns)
    return {**medians, "ratio": round(medians["today"]["seconds"] / medians["plain"]["seconds"], 3)}


def worst_error(found: PreparedStudy, poses: Mapping[str, np.ndarray]) -> float:
    """mm by which the worst sequence lies wrong on the reference, on average over the head."""
    head = points_of(found.study[found.reference])
    back = np.linalg.inv(poses[found.reference])
    matrices = {sequence: matrix_of(transform) for sequence, transform in found.transforms.items()}
    return max(
        displacement(poses[name] @ back, matrix, head) for name, matrix in matrices.items() if name != found.reference
    )


def preparations(data: Path, bundle: str, repeats: int) -> dict[str, Any]:
    """:func:`preparation` of the native studies, with what the plain settings are."""
    config = PreprocessingConfig.from_dict(find_bundle(bundle).preprocessing)
    head = digital_head()
    rows = {"digital, four whole heads": preparation(native_study(head), config, repeats, native_poses(head))}
    if (data / NATIVE).is_dir():
        real = Study.from_folder(data / NATIVE)
        known = real.subset([name for name in real.available if name in find_bundle(bundle).sequences])
        rows[NATIVE] = preparation(known, config, repeats)
    for name, values in rows.items():
        cells = [f"{way} {values[way]['seconds']:.1f} s (CPU {values[way]['cpu_seconds']:.1f})" for way in WAYS]
        errors = [values[way]["error_mm"] for way in WAYS]
        told = "" if None in errors else f", errors {errors[0]:.2f} and {errors[1]:.2f} mm"
        print(f"{name:<28} {cells[0]}, {cells[1]}: {values['ratio']:.0%}{told}")
    return {"bundle": bundle, "plain": SETTINGS, "target_ratio": TARGET_RATIO, "studies": rows}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, write the JSON file; 1 when an error or a time misses its target."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--bundle", default="brain-mr", help="whose preprocessing is timed; name or folder")
    parser.add_argument("--repeats", type=int, default=3, help="of the preparation of a native study")
    parser.add_argument("--output", type=Path, default=RESULTS / "registration.json")
    options = parser.parse_args(arguments)
    if not (options.data / STUDIES[0]).is_dir():
        print(f"{options.data} holds no {STUDIES[0]}; give the folder of the studies with --data.", file=sys.stderr)
        return 2
    said = sys.argv[1:] if arguments is None else arguments
    try:
        with measured("registration.py", said, repeats=options.repeats) as block:
            prepares = preparations(options.data, options.bundle, options.repeats)
            print(f"\n{HEADER}   (mm)")
            rows = pairs(options.data)
        worst = {way: max(values[way]["error_mm"] for values in rows) for way in WAYS}
        seconds = {way: round(statistics.fmean(values[way]["seconds"] for values in rows), 2) for way in WAYS}
        print(f"worst {worst}, target {TARGET_MM} mm; seconds a pair {seconds}")
        report = {"target_mm": TARGET_MM, "worst_mm": worst, "mean_seconds": seconds, "rows": rows}
        write_report({**report, "preparation": prepares, "measured": block}, options.output)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(options.output)
    kept = worst["today"] <= TARGET_MM and all(s["ratio"] <= TARGET_RATIO for s in prepares["studies"].values())
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
