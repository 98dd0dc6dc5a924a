"""The ``disentangle`` command, from arguments to files, exit codes and what it says."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from disentangle.bundles import Bundle
from disentangle.cli import main
from disentangle.errors import InputError
from disentangle.inference.result_files import ResultFiles
from disentangle.learning.lineage import lineage
from disentangle.study import Image, Study
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Two subjects made by the command itself; the first one's folder."""
    folder = tmp_path_factory.mktemp("phantoms")
    arguments = ["phantom", "brain", "--subjects", "2", "--seed", "4", "-o", str(folder), "spacing=6", "lesions=ms"]
    assert main([*arguments, "--quiet"]) == 0
    return folder / "brain-4"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_phantoms_are_studies(study: Path):
    for folder in (study, study.parent / "brain-5"):
        found = Study.from_folder(folder)
        assert found.available == ("T1", "T1Gd", "T2", "FLAIR")
        assert found.labels is not None


def test_segment_writes_labels_probabilities_report_and_picture(study: Path, model: str, tmp_path: Path, capsys):
    arguments = ["segment", "--study", study, "--model", model, "-o", tmp_path / "o" / "seg.nii.gz"]
    arguments += ["--probabilities", tmp_path / "p", "--json", tmp_path / "r.json", "--overview", tmp_path / "o.png"]
    arguments += ["--uncertainty", tmp_path / "u"]
    assert main([str(a) for a in arguments]) == 0
    assert files(tmp_path / "u") == {"lesion_uncertainty.nii.gz", "uncertainty.nii.gz"}
    assert Image.read(tmp_path / "o" / "seg.nii.gz").grid.same_as(Study.from_folder(study).first.grid)
    assert len(files(tmp_path / "p")) == 5
    # What was checked beforehand not to overwrite anything is what was written.
    assert set(ResultFiles(tmp_path / "u").all_uncertainties()) == set((tmp_path / "u").iterdir())
    names = [info.name for info in Bundle.load(model).classes]
    assert set(ResultFiles(tmp_path / "p").all_probabilities(names)) == set((tmp_path / "p").iterdir())
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["labels"]["1"] == "cerebrospinal fluid"
    assert report["inputs"]["T1"]["file"].endswith("T1.nii.gz")
    assert report["volumes_ml"].keys() == set(report["labels"].values()) - {"background"}
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr()
    assert "grey matter" in said.out
    assert said.err == ""


def test_segment_draws_more_lesions_where_more_are_wanted(study: Path, model: str, tmp_path: Path):
    found = []
    for odds in ("0.01", "1", "100"):
        output, report = tmp_path / f"{odds}.nii.gz", tmp_path / "report.json"
        arguments = ["segment", "--study", study, "--model", model, "--sensitivity", odds, "-o", output, "-q"]
        assert main([str(a) for a in (*arguments, "--json", report)]) == 0
        assert json.loads(report.read_text())["sensitivity"] == float(odds)
        found.append(int((Image.read(output).array >= 4).sum()))
    assert found[0] < found[1] < found[2]


def test_segment_takes_files_by_sequence_and_the_first_one_gives_the_geometry(study: Path, model: str, tmp_path: Path):
    t2 = sitk.ReadImage(str(study / "T2.nii.gz"))
    sitk.WriteImage(t2[:, :, 3:-3], str(tmp_path / "second.nrrd"))
    arguments = ["segment", "--input", f"t2={tmp_path / 'second.nrrd'}", f"T1={study / 'T1.nii.gz'}", "-q"]
    assert main([*arguments, "--model", model, "--output", str(tmp_path / "seg.seg.nrrd")]) == 0
    found = sitk.ReadImage(str(tmp_path / "seg.seg.nrrd"))
    assert found.GetSize() == t2[:, :, 3:-3].GetSize()
    assert found.GetMetaData("Segment0_Name") == "cerebrospinal fluid"


def test_segment_reads_one_time_point(study: Path, model: str, tmp_path: Path):
    t1 = sitk.ReadImage(str(study / "T1.nii.gz"))
    sitk.WriteImage(sitk.JoinSeries([t1, sitk.Cast(t1 * 0 + 5, t1.GetPixelID())]), str(tmp_path / "series.nii.gz"))
    output = tmp_path / "seg.nii.gz"
    arguments = ["segment", "--input", f"T1={tmp_path / 'series.nii.gz'}", "--model", model, "-o", str(output), "-q"]
    assert main([*arguments, "--time-point", "0"]) == 0
    alone = tmp_path / "alone.nii.gz"
    assert main(["segment", "-i", f"T1={study / 'T1.nii.gz'}", "--model", model, "-o", str(alone), "-q"]) == 0
    assert np.array_equal(Image.read(output).array, Image.read(alone).array)


def test_a_given_mask_limits_the_labels(study: Path, model: str, tmp_path: Path):
    mask = Image.read(study / "brainmask.nii.gz")
    half = mask.array.copy()
    half[:, :, half.shape[2] // 2 :] = 0
    mask.with_array(half).write(tmp_path / "mask.nii.gz")
    arguments = ["segment", "-i", f"T1={study / 'T1.nii.gz'}", "--mask", str(tmp_path / "mask.nii.gz"), "-q"]
    assert main([*arguments, "--model", model, "-o", str(tmp_path / "seg.nii.gz")]) == 0
    labels = Image.read(tmp_path / "seg.nii.gz").array
    assert labels[half > 0].any()
    assert not labels[:, :, half.shape[2] // 2 + 2 :].any()


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ("segment --input FLAIR=FLAIR.nii.gz T1=T1.nii.gz -o s.nii.gz", "FLAIR"),
        ("segment --input PD=PD.nii.gz T2=T2.nii.gz T1=T1.nii.gz -o s.nii.gz", "T2"),  # PD is none of the model's
        ("segment --study . -o s.nii.gz", "T1"),
        ("factors --input T2=T2.nii.gz T1=T1.nii.gz -o out", "T2"),
        ("synthesize --study . --target T1 -o out", "T1Gd"),
    ],
)
def test_a_given_mask_is_the_only_one_and_lies_on_the_first_input(
    study: Path, model: str, tmp_path: Path, monkeypatch, arguments: str, first: str
):
    import disentangle.inference

    shutil.copytree(study, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    mask = Image.read("brainmask.nii.gz")
    mask.with_array(np.roll(mask.array, 1, 0)).write("../mask.nii.gz")
    mask.write("brainmask_T1.nii.gz")
    if "PD" in arguments:
        shutil.copy("T2.nii.gz", "PD.nii.gz")
    masks = {}

    def run(predictor, study, **wanted):
        masks.update(study.masks)
        raise InputError("That is all.")

    monkeypatch.setattr(disentangle.inference.Predictor, "run", run)
    assert main([*arguments.split(), "--mask", "../mask.nii.gz", "--model", model, "-q"]) == 2
    assert list(masks) == [first]
    assert np.array_equal(masks[first].array, np.roll(mask.array, 1, 0))


def test_synthesize_scores_what_it_makes(study: Path, model: str, tmp_path: Path, capsys):
    arguments = ["synthesize", "--target", "FLAIR", "--reference", f"FLAIR={study / 'FLAIR.nii.gz'}"]
    arguments += ["-i", f"T1={study / 'T1.nii.gz'}", "-i", f"T2={study / 'T2.nii.gz'}", "--model", model]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    expected = {"synthetic_FLAIR.nii.gz", "difference_FLAIR.nii.gz", "report.json", "overview.png"}
    assert files(tmp_path / "out") == expected
    assert {p.name for p in ResultFiles(tmp_path / "out").all_files(targets=("FLAIR",))} == expected
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["quality"]["synthesis"]["FLAIR"]["psnr"] > 0
    told = capsys.readouterr().out
    assert "FLAIR: PSNR" in told
    # Nothing here says how far the synthetic image is right; that of the inputs must not be read so.
    assert "The inputs look like what they are used as: " in told and "Confidence" not in told


def test_a_target_in_the_study_is_made_of_the_others_and_compared(study: Path, model: str, tmp_path: Path, capsys):
    arguments = ["synthesize", "--study", str(study), "--target", "T1", "--model", model, "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert list(report["inputs"]) == ["T1Gd", "T2", "FLAIR"]
    assert report["quality"]["synthesis"]["T1"]["reference"].endswith("T1.nii.gz")
    assert "T1 is in the study" in capsys.readouterr().err
    assert main([*arguments, "--target", "T1Gd", "T2", "FLAIR"]) == 2
    assert "nothing but" in capsys.readouterr().err


def test_factors_come_with_cross_reconstructions_and_pictures(study: Path, model: str, tmp_path: Path):
    arguments = ["factors", "-i", f"T1={study / 'T1.nii.gz'}", f"FLAIR={study / 'FLAIR.nii.gz'}", "--model", model]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json", str(tmp_path / "r.json"), "-q"]) == 0
    found = files(tmp_path / "out")
    assert found >= {"overview.png", "cross.png", "modality.json", "cross/T1_as_FLAIR.nii.gz"}
    assert {f"factors/T1/anatomy_{n}.nii.gz" for n in (1, 2, 3, 4)} <= found
    assert json.loads((tmp_path / "out" / "modality.json").read_text(encoding="utf-8")).keys() == {"T1", "FLAIR"}
    assert (tmp_path / "r.json").exists()
    may_be = ResultFiles(tmp_path / "out").all_files(sequences=("T1", "FLAIR"))
    assert found <= {p.relative_to(tmp_path / "out").as_posix() for p in may_be}


def test_results_in_the_folder_of_the_study_may_be_made_again(
    study: Path, model: str, tmp_path: Path, monkeypatch, capsys
):
    from disentangle.worker import client

    folder = tmp_path / "brain"
    shutil.copytree(study, folder)
    arguments = ["segment", "--study", str(folder), "--model", model, "-o", str(folder / "segmentation.nii.gz"), "-q"]
    for _ in range(2):
        assert main(arguments) == 0

    def begin(python):
        raise InputError("The outputs are as they should be.")

    monkeypatch.setattr(client, "WorkerClient", begin)
    (tmp_path / "list.csv").write_text("study\nbrain\n", encoding="utf-8")
    assert main(["batch", str(tmp_path / "list.csv"), "--factors", "--model", model, "-o", str(tmp_path), "-q"]) == 2
    assert "as they should be" in capsys.readouterr().err


def test_the_report_may_be_named_where_it_is_anyway(study: Path, model: str, tmp_path: Path):
    arguments = ["synthesize", "-i", f"T1={study / 'T1.nii.gz'}", "--target", "T2", "--model", model, "-q"]
    assert main([*arguments, "-o", str(tmp_path / "out"), "--json", str(tmp_path / "out" / "report.json")]) == 0
    assert "T1" in json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["inputs"]


def test_models_are_added_listed_shown_verified_and_removed(model: str, home: Path, capsys):
    assert main(["models", "add", model]) == 0
    assert main(["models", "list", "--json"]) == 0
    said = capsys.readouterr().out
    listed = json.loads(said[said.index("{") :])
    assert "tiny" in [entry["name"] for entry in listed["models"]]
    assert main(["models", "show", "tiny"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert main(["models", "verify", "tiny"]) == 0
    assert "tiny 0.1.0: sound" in capsys.readouterr().out
    weights = home / "Models" / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    assert main(["models", "verify"]) == 2
    assert "checksum" in capsys.readouterr().err
    assert main(["models", "remove", "tiny"]) == 0
    assert not (home / "Models" / "tiny").exists()


def test_a_restrictive_licence_is_agreed_to_once(study: Path, tmp_path: Path, capsys):
    bundle = tiny_bundle(tmp_path / "nc", license={"name": "CC BY-NC-SA 4.0", "permissive": False})
    arguments = ["segment", "-i", f"T1={study / 'T1.nii.gz'}", "--model", str(bundle.path), "-q"]
    arguments += ["-o", str(tmp_path / "seg.nii.gz")]
    assert main(arguments) == 2
    assert "--accept-license" in capsys.readouterr().err
    assert not (tmp_path / "seg.nii.gz").exists()
    assert main([*arguments, "--accept-license"]) == 0
    assert main(arguments) == 0


def test_batch_goes_on_after_a_failure_and_resumes(study: Path, model: str, tmp_path: Path, capsys):
    (tmp_path / "bad.nii.gz").write_text("no image", encoding="utf-8")
    rows = [
        ["name", "study", "T1", "T2"],
        ["whole", str(study), "", ""],
        ["bad", "", "bad.nii.gz", ""],
        ["files", "", str(study / "T1.nii.gz"), str(study / "T2.nii.gz")],
    ]
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    arguments = ["batch", str(tmp_path / "list.csv"), "-o", str(tmp_path / "out"), "--model", model]
    assert main(arguments) == 2
    assert "bad.nii.gz" in capsys.readouterr().err
    with (tmp_path / "out" / "batch.csv").open(newline="", encoding="utf-8") as stream:
        summary = {row["name"]: row["status"] for row in csv.DictReader(stream)}
    assert summary == {"whole": "done", "bad": "failed", "files": "done"}
    assert not (tmp_path / "out" / "bad").exists()
    before = (tmp_path / "out" / "whole" / "segmentation.nii.gz").stat().st_mtime_ns
    Study.from_folder(study)["T1"].write(tmp_path / "bad.nii.gz")
    assert main([*arguments, "--resume"]) == 0
    assert (tmp_path / "out" / "whole" / "segmentation.nii.gz").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "bad" / "segmentation.nii.gz").exists()


def test_batch_runs_the_model_of_a_folder_and_not_an_installed_one_of_its_name(
    study: Path, model: str, tmp_path: Path, monkeypatch
):
    assert main(["models", "add", model]) == 0
    tiny_bundle(tmp_path / "tiny", version="9.8.7")
    (tmp_path / "list.csv").write_text(f"name,T1\none,{study / 'T1.nii.gz'}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["batch", "list.csv", "-o", "out", "--model", "./tiny", "-q"]) == 0
    report = json.loads(Path("out/one/report.json").read_text(encoding="utf-8"))
    assert report["bundle"]["version"] == "9.8.7"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name\na\n", "neither a column 'study' nor columns of sequences"),
        ("study,T1\nfolder,t1.nii.gz\n", "Row 1"),
        ("study\n", "lists no studies"),
        ("study\nx/a\ny/A\n", "Two studies"),
        ("study,T9\na,\n", "T9"),
    ],
)
def test_a_manifest_with_a_mistake_is_one_sentence(tmp_path: Path, capsys, content: str, sentence: str):
    (tmp_path / "list.csv").write_text(content, encoding="utf-8")
    assert main(["batch", str(tmp_path / "list.csv"), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required"),
        (["segment"], "-o/--output"),
        (["segment", "-o", "x.nii.gz", "--device", "gpu"], "no device 'gpu'"),
        (["segment", "-o", "x.nii.gz", "--threads", "0"], "'0' is not a whole number from 1"),
        (["segment", "-o", "x.nii.gz", "--precision", "int8"], "choose from 'fp32', 'bf16'"),
        (["segment", "-o", "x.nii.gz", "--sensitivity", "0"], "give a number from 1/1024 to 1024"),
        (["segment", "-o", "x.nii.gz", "--nonsense"], "--nonsense"),
        (["segment", "-o", "x.nii.gz", "-q", "-v"], "not allowed with"),
        (["phantom", "spine", "-o", "x"], "no phantoms of kind 'spine'"),
        (["phantom", "brain", "-o", "x", "spacing"], "not a setting"),
        (["phantom", "brain", "-o", "x", "speed=3"], "speed"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, tmp_path, monkeypatch, arguments: list[str], sentence: str):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_defect_of_ours_is_exit_code_1_and_only_verbose_shows_the_trace(monkeypatch, capsys, study, model, tmp_path):
    import disentangle.inference

    def broken(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(disentangle.inference.Predictor, "run", broken)
    arguments = ["segment", "--study", str(study), "--model", model, "-o", str(tmp_path / "seg.nii.gz")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ZeroDivisionError" in error
    assert main([*arguments, "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_stopping_leaves_nothing_behind(monkeypatch, capsys, study, model, tmp_path):
    from disentangle.inference import engine

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "neighbours", interrupt)
    arguments = ["factors", "--study", str(study), "--model", model, "-o", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "stopped" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


_STOPPED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is started deaf to it
from disentangle import parallel
from disentangle.cli import main, predict

def long(item, progress):
    if item == 2:
        print("begun", flush=True)
    time.sleep(60)  # as native code, which nobody can stop

def run(options, console):
    parallel.in_parallel(long, [1, 2])

parallel.cores = lambda: 2
predict.run_segment = run
sys.argv = ["disentangle", "segment", "-o", "x.nii.gz"]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal that one can send there")
@pytest.mark.parametrize("times", [1, 2])
def test_a_stopped_process_ends_at_once_and_says_one_line(times: int, tmp_path: Path):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _STOPPED], cwd=tmp_path, **streams) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.2)
            began = time.monotonic()
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 1
    assert said.count("\n") == 1 and "stopped" in said
    assert time.monotonic() - began < 10


def test_training_without_its_packages_names_the_extra(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "lightning", None)
    for name in [n for n in sys.modules if n.startswith("disentangle.learning.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["train", str(tmp_path / "config.yaml")]) == 2
    error = capsys.readouterr().err
    assert "pip install -e '.[train]'" in error
    assert error.count("\n") == 1


def test_a_checkpoint_becomes_a_bundle_that_segments(study, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(  # JSON is YAML
            {
                "name": "run",
                "output": str(tmp_path),
                "system": {
                    "name": "margindis",
                    "classes": "brain",
                    "width": 0.125,
                    "decoder_hidden": 16,
                    "head_channels": [8, 8],
                    "pool_size": 8,
                },
                "preprocessing": {"spacing": [6, 6, 6], "registration": "none", "pose": "reference"},
                "data": {
                    "cache": str(tmp_path / "cache"),
                    "studies": None,
                    "phantoms": {"subjects": 2, "validation": 1, "arguments": {"spacing": 6}},
                },
            }
        ),
        encoding="utf-8",
    )
    settings = ["training.steps=2", "training.log_every=1", "sampling.batch=2", "sampling.sizes=[[32, 32]]", "-q"]
    assert main(["train", str(config), *settings]) == 0
    (tmp_path / "card.json").write_text('{"version": "9.8"}', encoding="utf-8")
    bundle = tmp_path / "mine"
    checkpoint = str(tmp_path / "run" / "final.ckpt")
    (tmp_path / "more.json").write_text('{"description": "A tiny one."}', encoding="utf-8")
    cards = [str(tmp_path / "card.json"), str(tmp_path / "more.json")]
    assert main(["export", checkpoint, "-o", str(bundle), "--card", *cards]) == 0
    assert "mine 9.8" in capsys.readouterr().out
    card = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert card["description"] == "A tiny one."
    # How to repeat it: every run that led to these weights, here this one and the one that starts from the bundle.
    assert [(r["run"], r["steps"], r["seed"]) for r in card["training_runs"]] == [("run", 2, 0)]
    log = card["training_runs"][0]["log"]
    terms = [values[1] for term, values in log.items() if "/" in term and term != "generator/total"]
    assert log["step"] == [1, 2] and log["generator/total"][1] == pytest.approx(sum(terms), rel=0.01)
    settings = ["training.steps=1", "sampling.batch=2", "sampling.sizes=[[32, 32]]", "name=next", "-q"]
    assert main(["train", str(config), f"training.init_from={bundle.as_posix()}", *settings]) == 0
    assert [r["run"] for r in lineage(tmp_path / "next" / "final.ckpt")] == ["run", "next"]
    arguments = ["segment", "-i", f"T1={study / 'T1.nii.gz'}", "--model", str(bundle), "-q"]
    assert main([*arguments, "-o", str(tmp_path / "seg.nii.gz")]) == 0
    capsys.readouterr()
    where = [f"data.studies.folder={study.parent.as_posix()}", "data.studies.include=[brain-4]"]
    where += [f"data.cache={(tmp_path / 'cache').as_posix()}"]
    assert main(["evaluate", str(bundle), *where, "--json", str(tmp_path / "quality.json")]) == 0
    assert "Dice" in capsys.readouterr().out
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["mean"]["cross"]


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "not valid JSON"), ("[]", "must hold a JSON object"), (None, "cannot be read")]
)
def test_a_card_with_a_mistake_is_one_sentence(tmp_path, capsys, content, sentence):
    if content is not None:
        (tmp_path / "card.json").write_text(content, encoding="utf-8")
    arguments = ["export", str(tmp_path / "x.ckpt"), "-o", str(tmp_path / "b"), "--card", str(tmp_path / "card.json")]
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_module_runs_as_a_program_without_importing_torch():
    code = "import sys; from disentangle.cli import main; main(['models']); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("False")
    version = subprocess.run([sys.executable, "-m", "disentangle", "--version"], capture_output=True, text=True)
    assert (version.returncode, version.stdout.split()[0]) == (0, "disentangle")
