"""The main job on a bare machine: ``python3 training/demo.py``.

Makes or reuses ``.venv``, grows a phantom study (a head with known truth), segments it with the shipped bundle
from all sequences and with each one missing, synthesises every sequence from the others, and prints how well that
went. Result files and an overview picture land in ``demo-output``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bootstrap import REPOSITORY, enter


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Segment and complete a phantom study with the shipped bundle.")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "demo-output", help="folder for the results")
    parser.add_argument("--seed", type=int, default=2026, help="which phantom subject")
    parser.add_argument("--model", default="brain-mr", help="bundle name or folder")
    options = parser.parse_args(arguments)
    enter()

    from disentangle.inference import Predictor
    from disentangle.metrics.overlap import dice
    from disentangle.phantoms import create_phantom, write_phantom
    from disentangle.progress import Progress

    began = time.monotonic()
    print(f"Growing phantom subject {options.seed} ...", flush=True)
    phantom = create_phantom("brain", options.seed, spacing=1.5, lesions="both")
    study = phantom.study
    write_phantom(phantom, options.output / "study")
    predictor = Predictor(options.model)
    sequences = study.available
    progress = Progress(_show)

    print(f"Segmenting from {', '.join(sequences)} ...", flush=True)
    complete = predictor.run(study, segment=True, factors=True, cross_reconstructions=True, progress=progress)
    complete.write(options.output / "complete")
    segmentations = {"all sequences": complete}
    synthesis: dict[str, dict[str, float]] = {}
    for missing in sequences:
        print(f"Without {missing}: segmenting, and synthesising it ...", flush=True)
        result = predictor.run(
            study.subset([name for name in sequences if name != missing]),
            segment=True,
            synthesize=[missing],
            reference_images={missing: study[missing]},
            progress=progress,
        )
        result.write(options.output / f"without-{missing}")
        segmentations[f"without {missing}"] = result
        synthesis[missing] = result.report["quality"]["synthesis"][missing]

    classes = {info.value: info.name for info in complete.classes if info.value != 0}
    present = [value for value in classes if (phantom.labels == value).any()]
    scores = {
        condition: {
            classes[value]: dice(result.segmentation.array == value, phantom.labels == value) for value in present
        }
        for condition, result in segmentations.items()
    }
    print("\nDice of the segmentation against the phantom's truth")
    _table(["", *[classes[v] for v in present]], [[c, *row.values()] for c, row in scores.items()])
    print("\nEach sequence synthesised from the others, against the real one (inside the brain)")
    _table(
        ["synthesised", "PSNR (dB)", "SSIM"],
        [[name, quality["psnr"], quality["ssim"]] for name, quality in synthesis.items()],
    )
    report = options.output / "demo.json"
    report.write_text(json.dumps({"seed": options.seed, "dice": scores, "synthesis": synthesis}, indent=2), "utf-8")
    print(f"\nOverview picture: {options.output / 'complete' / 'overview.png'}")
    print(f"Results:          {options.output}")
    print(f"Table as JSON:    {report}")
    print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


def _show(stage: str, fraction: float, message: str) -> None:
    if sys.stdout.isatty():
        print(f"\r  {stage:<16} {fraction:4.0%} {message:<50.50}", end="\n" if fraction >= 1 else "", flush=True)


def _table(header: list[str], rows: list[list]) -> None:
    cells = [header, *[[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  " + "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
