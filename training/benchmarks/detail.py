"""What the detail of synthesised images is worth: ``python training/benchmarks/detail.py``; a quarter of an hour.

Every sequence of some real studies is made from the others, and compared with the real one on the grid of the first
input: as the network draws it, with detail (a bundle's rule ``detail``) fitted around each voxel, and fitted to all of
its tissue. Beside them stands the best input, its histogram matched to that of the real image. Prints a table and
writes JSON.

A model that was trained on a study draws it better than others; what detail adds is the difference of two columns. Of
folds each has studies of its own that it never saw: run once per fold, with ``--bundle``, ``--studies`` and ``--keep``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, measured, write_report

from disentangle.bundles import Bundle, find_bundle
from disentangle.inference import Predictor
from disentangle.inference.quality import fit_scale
from disentangle.study import Study

STUDIES = ("ms-07", "ms-19", "tcga-du-7294", "tcga-fg-6692", "brats13-01", "brats13-05")
"""Registered ones: the real image needs no interpolation."""
SEQUENCES = ("T1", "T1Gd", "T2", "FLAIR")
AROUND: dict[str, Any] = {"sigma_mm": 1.5, "epsilon": 0.01}
RULES: dict[str, dict[str, Any] | None] = {
    "as drawn": None,
    "around": AROUND,
    **{f"tissues {share:g}": AROUND | {"tissue_share": dict.fromkeys(SEQUENCES, share)} for share in (0.5, 0.75, 1.0)},
}
COPY = "matched copy"
FIGURES = ("psnr", "ssim", "lesions", "seconds")
"""PSNR in dB and SSIM inside the brain; mean absolute error where the study's labels show a lesion, as a share of the
real image's range; seconds from the networks' answer to images, scores and pictures."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Synthesised images with and without detail, beside real ones.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of studies")
    parser.add_argument("--studies", nargs="+", default=list(STUDIES))
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--keep", action="store_true", help="keep the other studies of the report that is there")
    parser.add_argument("--output", type=Path, default=RESULTS / "detail.json")
    options = parser.parse_args(arguments)
    bundle = find_bundle(options.bundle)
    seen = {entry["name"] for entry in bundle.card["training"]["data"]}
    with measured("detail.py", arguments, bundle=f"{bundle.name} {bundle.version}") as block:
        studies = {name: of_study(bundle, options.data / name) for name in options.studies}
    old = json.loads(options.output.read_text(encoding="utf-8")) if options.keep else {"measured": {}, "studies": {}}
    made = {name: block | {"seen": name in seen} for name in studies}
    report: dict[str, Any] = {"measured": old["measured"] | made, "studies": old["studies"] | studies}
    report["mean"] = {
        title: means([rows for name, rows in report["studies"].items() if report["measured"][name]["seen"] is known])
        for title, known in (("seen in training", True), ("not seen", False))
    }
    show(report["mean"])
    write_report(report, options.output)
    print(f"\nWritten: {options.output}")
    return 0


def of_study(bundle: Bundle, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Sequence -> column -> figures; what the networks answered is kept from column to column."""
    study, predictor, found = Study.from_folder(folder), Predictor(replace(bundle, card=dict(bundle.card))), {}
    for target in study.available:
        found[target] = {}
        for column, rule in RULES.items():
            predictor.bundle.card["detail"] = rule
            result = predictor.run(study, segment=False, synthesize=[target], leave_out_target=True)
            figures = result.report["quality"]["synthesis"][target]
            made, real = result.synthesized[target].array, study[target].array.astype(np.float32)
            found[target][column] = {
                "psnr": figures["psnr"],
                "ssim": figures["ssim"],
                **lesion_error(made, real, study),
                "seconds": round(result.report["timings_s"]["results"], 2),
            }
            found[target][COPY] = {name: figures["nearest_input"][name] for name in ("psnr", "ssim")}
        print(f"{folder.name} {target}: {line(found[target])}", flush=True)
    return found


def lesion_error(made: np.ndarray, real: np.ndarray, study: Study) -> dict[str, float]:
    """See :data:`FIGURES`; nothing where the study shows no lesion on this grid."""
    if study.labels is None or study.labels.array.shape != real.shape or not (study.labels.array > 0).any():
        return {}
    brain, lesion = made != 0, study.labels.array > 0
    fitted, (low, high) = fit_scale(made, real, brain), np.percentile(real[brain], (0.5, 99.5))
    return {"lesions": round(float(np.abs(fitted - real)[lesion].mean() / (high - low)), 4)}


def means(studies: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Sequence -> column -> mean figures over the studies that have it."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for rows in studies:
        for target, columns in rows.items():
            for column, figures in columns.items():
                for name, value in figures.items():
                    found.setdefault(target, {}).setdefault(column, {}).setdefault(name, []).append(value)
    return {
        target: {
            column: {name: round(statistics.fmean(values), 4) for name, values in figures.items()}
            for column, figures in columns.items()
        }
        for target, columns in found.items()
    }


def line(columns: dict[str, dict[str, float]]) -> str:
    """PSNR and SSIM of every column."""
    return ", ".join(f"{column} {figures['psnr']:.2f} {figures['ssim']:.3f}" for column, figures in columns.items())


def show(mean: dict[str, Any]) -> None:
    """Print the means as a table: a line for each sequence and figure."""
    columns = [*RULES, COPY]
    for title, rows in mean.items():
        print(f"\n{title:<18}" + "".join(f"{column:>14}" for column in columns))
        for target, found in rows.items():
            for name in FIGURES:
                values = [found[column].get(name) for column in columns]
                cells = "".join(f"{'-' if value is None else format(value, '.3f'):>14}" for value in values)
                print(f"{f'{target} {name}':<18}{cells}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
