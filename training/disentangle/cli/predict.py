"""``segment``, ``synthesize`` and ``factors``: a model on one study."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..sequences import canonical
from .options import (
    add_loudness,
    add_model,
    add_sensitivity,
    add_study,
    give_mask,
    make_predictor,
    read_images,
    read_study,
)
from .outputs import check_outputs, files_of
from .running import Console

if TYPE_CHECKING:
    from ..inference import Result
    from ..inference.result_files import ResultFiles
    from ..study import Image, Study


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    segment = commands.add_parser("segment", help="segment a study, in the geometry of its first input")
    add_study(segment)
    add_model(segment)
    group = segment.add_argument_group("output")
    group.add_argument("-o", "--output", type=Path, required=True, metavar="PATH", help="seg.nii.gz, .nrrd, ...")
    add_sensitivity(group)
    group.add_argument("--probabilities", type=Path, metavar="DIR", help="also the probability of each class")
    group.add_argument(
        "--uncertainty", type=Path, metavar="DIR", help="also maps of where the model is unsure: of lesions, of classes"
    )
    group.add_argument("--json", type=Path, metavar="PATH", help="a report: volumes, times, warnings, registration")
    group.add_argument("--overview", type=Path, metavar="PNG", help="a picture of the result")
    add_loudness(segment)
    segment.set_defaults(run=run_segment)

    synthesize = commands.add_parser("synthesize", help="make missing sequences, in the geometry of the first input")
    add_study(synthesize)
    add_model(synthesize)
    group = synthesize.add_argument_group("output")
    group.add_argument("--target", action="append", nargs="+", required=True, metavar="SEQ", help="sequence to make")
    group.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    group.add_argument(
        "--reference", action="append", nargs="+", default=[], metavar="SEQ=PATH", help="a real image to compare with"
    )
    group.add_argument(
        "--style", action="append", nargs="+", default=[], metavar="SEQ=PATH",
        help="an image, of anyone, whose appearance a target takes instead of the average one",
    )  # fmt: skip
    group.add_argument("--json", type=Path, metavar="PATH", help="the report also here (it is in DIR/report.json)")
    add_loudness(synthesize)
    synthesize.set_defaults(run=run_synthesize)

    factors = commands.add_parser("factors", help="anatomy channels, modality factors and cross-reconstructions")
    add_study(factors)
    add_model(factors)
    group = factors.add_argument_group("output")
    group.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    group.add_argument("--json", type=Path, metavar="PATH", help="the report also here (it is in DIR/report.json)")
    add_loudness(factors)
    factors.set_defaults(run=run_factors)


def run_segment(options: argparse.Namespace, console: Console) -> None:
    """``disentangle segment``."""
    from ..inference.output import check_writable, staged_outputs
    from ..inference.png import write_png
    from ..inference.result import check_image_name
    from ..inference.result_files import ResultFiles

    check_image_name(options.output)
    for path in (options.output, options.json, options.overview):
        if path is not None:
            check_writable(path)
    for folder in (options.probabilities, options.uncertainty):
        if folder is not None:
            check_writable(folder, folder=True)
    predictor = make_predictor(options)
    study = read_study(options, console)
    outputs = [path for path in (options.output, options.json, options.overview) if path is not None]
    if options.probabilities is not None:
        outputs += ResultFiles(options.probabilities).all_probabilities(c.name for c in predictor.bundle.classes)
    if options.uncertainty is not None:
        outputs += ResultFiles(options.uncertainty).all_uncertainties()
    check_outputs(outputs, _inputs(study, options))
    give_mask(study, options, predictor.bundle)
    result = predictor.run(
        study,
        segment=True,
        probabilities=options.probabilities is not None,
        uncertainty=options.uncertainty is not None,
        sensitivity=options.sensitivity,
        progress=console.progress,
    )
    with staged_outputs(options.output) as staging:
        result.stage_segmentation(staging, options.output)
        if options.probabilities is not None:
            result.stage_probabilities(staging, options.probabilities)
        if options.uncertainty is not None:
            result.stage_uncertainty(staging, options.uncertainty)
        if options.json is not None:
            result.stage_report(staging, options.json)
        if options.overview is not None:
            write_png(staging.path(options.overview), result.overview)
    tell(result, console)
    console.say(f"Segmentation: {options.output}")


def run_synthesize(options: argparse.Namespace, console: Console) -> None:
    """``disentangle synthesize``."""
    from ..inference.result_files import ResultFiles

    targets = [canonical(name) for group in options.target for name in group]
    _check_folder(options)
    predictor = make_predictor(options)
    references, examples = read_images(options.reference, "--reference"), read_images(options.style, "--style")
    study = read_study(options, console)
    files = ResultFiles(options.output)
    outputs = [*files.all_files(targets=targets), *_second_report(options, files)]
    check_outputs(outputs, _inputs(study, options, [*references.values(), *examples.values()]))
    if options.study:
        study, held_out = hold_out(study, targets)
        for target in held_out:
            console.note(f"{target} is in the study: it is made of the other sequences and compared with the real one.")
        references = {**held_out, **references}
    give_mask(study, options, predictor.bundle)
    result = predictor.run(
        study,
        segment=False,
        synthesize=targets,
        reference_images=references,
        style_images=examples,
        progress=console.progress,
    )
    _write_folder(result, options)
    tell(result, console)
    console.say(f"Synthesised {', '.join(result.synthesized)}: {options.output}")


def hold_out(study: Study, targets: Sequence[str]) -> tuple[Study, dict[str, Image]]:
    """A study without the sequences that are to be made, and these: nobody wants to see an image made of itself.

    Raises:
        InputError: nothing is left to make them of.
    """
    kept = [name for name in study.available if name not in targets]
    if not kept:
        raise InputError(f"The study holds nothing but what is to be made ({', '.join(targets)}); add a sequence.")
    return study.subset(kept), {name: study[name] for name in study.available if name in targets}


def run_factors(options: argparse.Namespace, console: Console) -> None:
    """``disentangle factors``."""
    from ..inference.result_files import ResultFiles

    _check_folder(options)
    predictor = make_predictor(options)
    study = read_study(options, console)
    files = ResultFiles(options.output)
    outputs = [*files.all_files(sequences=study.available), *_second_report(options, files)]
    check_outputs(outputs, _inputs(study, options))
    give_mask(study, options, predictor.bundle)
    result = predictor.run(study, segment=False, factors=True, cross_reconstructions=True, progress=console.progress)
    _write_folder(result, options)
    tell(result, console)
    console.say(f"Factors of {', '.join(result.factors)}: {options.output}")


def _check_folder(options: argparse.Namespace) -> None:
    from ..inference.output import check_writable

    check_writable(options.output, folder=True)
    if options.json is not None:
        check_writable(options.json)


def _inputs(study: Study, options: argparse.Namespace, others: Iterable[Image] = ()) -> list[Path]:
    """Every file that was read, or will be."""
    return [
        *files_of(study, options.study),
        *(Path(image.source) for image in others),
        *([] if options.mask is None else [options.mask]),
    ]


def _second_report(options: argparse.Namespace, files: ResultFiles) -> list[Path]:
    """What ``--json`` names; it may well be the report of the folder."""
    return [] if options.json is None or options.json.resolve() == files.report.resolve() else [options.json]


def _write_folder(result: Result, options: argparse.Namespace) -> None:
    from ..inference.output import staged_outputs

    with staged_outputs(options.output) as staging:
        result.stage(staging, options.output)
        if options.json is not None:
            result.stage_report(staging, options.json)


def tell(result: Result, console: Console) -> None:
    """Say what a result holds: volumes, scores, warnings, times."""
    report = result.report
    for warning in report["warnings"]:
        console.note(f"Warning: {warning}")
    for name, volume in report.get("volumes_ml", {}).items():
        console.say(f"{name:<32} {volume:>10.2f} ml")
    for name, score in report["quality"].get("segmentation", {}).items():
        console.say(f"{name:<32} Dice {score:.3f}")
    for name, quality in report["quality"].get("synthesis", {}).items():
        console.say(f"{name}: {_scores(quality)}")
        nearest = quality.get("nearest_input")
        if nearest:
            console.say(f"{name}, had {nearest['sequence']} been taken instead: {_scores(nearest)}")
    if "study" in report["confidence"]:
        console.say(_confidence(report["confidence"]))
    for name, entry in report["inputs"].items():
        if "looks_like" in entry:
            found = entry["looks_like"]
            console.detail(f"{name}: looks like {found['sequence']} (confidence {found['confidence']:.2f})")
        registration = entry.get("registration") or {}
        if registration.get("error_estimate_mm") is not None:
            how = "not registered, since " + registration["skipped"] if "skipped" in registration else "registered"
            console.detail(f"{name}: {how}; error estimate {registration['error_estimate_mm']:.2f} mm")
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report["timings_s"].items())
    console.detail(f"On {report['device']}: {times}")


def _confidence(found: dict[str, Any]) -> str:
    if "segmentation" not in found:  # it is about the inputs alone: nothing tells how far a synthetic image is right
        return f"The inputs look like what they are used as: {found['study']:.2f}"
    parts = [f"{name} {found[name]:.2f}" for name in ("input", "segmentation") if name in found]
    return f"Confidence: {found['study']:.2f} ({', '.join(parts)})"


def _scores(quality: dict[str, Any]) -> str:
    psnr = "identical" if quality["psnr"] is None else f"{quality['psnr']:.2f} dB"
    return f"PSNR {psnr}, SSIM {quality['ssim']:.3f}, MAE {quality['mae']:.4g}"
