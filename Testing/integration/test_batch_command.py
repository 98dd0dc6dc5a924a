"""``disentangle batch``: its manifest, its table, and what it refuses before the first study."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import SimpleITK as sitk

from disentangle.cli import main
from disentangle.cli.batch import read_manifest
from disentangle.errors import InputError
from disentangle.phantoms import brain_phantom
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return brain_phantom(8, spacing=8.0, sequences=("T1", "T2")).study.write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "batch.csv").open(newline="", encoding="utf-8") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_manifest_is_read_with_any_usual_separator(separator: str, encoding: str, tmp_path: Path) -> None:
    text = "name,t1ce,T2,\r\nMüller,a b.nii.gz,c.nii.gz,\r\nother,,d.nii.gz,\r\n".replace(",", separator)
    first, second = read_manifest(manifest(tmp_path, text, encoding))
    assert (first.name, second.name) == ("Müller", "other")
    assert first.files == (("T1Gd", tmp_path / "a b.nii.gz"), ("T2", tmp_path / "c.nii.gz"))
    assert second.files == (("T2", tmp_path / "d.nii.gz"),)


def test_a_comma_in_a_path_separates_nothing_where_semicolons_do(tmp_path: Path) -> None:
    (row,) = read_manifest(manifest(tmp_path, "name;study\na;x, y\n"))
    assert row.folder == tmp_path / "x, y"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,T1,T1\na,b,c\n", "has the column 'T1' twice"),
        ("study,Study\na,b\n", "has 'study' and 'Study'"),
        ("study, study\na,b\n", "has the column 'study' twice"),
        ("T1,name,t1w\na,b,c\n", "has 'T1' and 't1w', which is one column"),
        ("name,path\na,b\n", "The column 'path' of .* is none that a manifest has; columns are study, name or seq"),
        ("study;T9\na;\n", "The column 'T9'"),
        ("study:T1\na\n", "The column 'study:T1'"),
    ],
)
def test_columns_that_say_nothing_or_the_same_are_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_manifest(manifest(tmp_path, text))


def test_a_manifest_in_the_letters_of_a_system_is_asked_for_in_utf_8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no UTF-8 text; save it as CSV UTF-8"):
        read_manifest(manifest(tmp_path, "study\nMüller\n", "cp1252"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--no-segment"], "nothing to do"),
        (["--target", "PD"], "cannot synthesise PD; it can synthesise T1"),
        (["--target", "T2", "PD"], "cannot synthesise PD"),
        (["--target", "T9"], "'T9' is not a sequence"),
    ],
)
def test_what_no_study_could_give_is_refused_before_the_first(arguments, sentence, study, model, tmp_path, capsys):
    path = manifest(tmp_path, f"study\n{study}\n")
    assert main(["batch", str(path), "-o", str(tmp_path / "out"), "--model", model, *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_segment_has_nothing_to_do_without_targets(study, tmp_path, capsys):
    path = manifest(tmp_path, f"study\n{study}\n")
    bundle = tiny_bundle(tmp_path / "blind").path
    card = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    (bundle / "bundle.json").write_text(json.dumps(card | {"classes": []}), encoding="utf-8")
    assert main(["batch", str(path), "-o", str(tmp_path / "out"), "--model", str(bundle)]) == 2
    assert "does not segment; give --target or --factors" in capsys.readouterr().err


def test_the_table_holds_volumes_and_a_second_start_keeps_the_lines_of_the_first(study, model, tmp_path):
    series = sitk.JoinSeries([sitk.Image(6, 6, 6, sitk.sitkInt16)] * 3)
    sitk.WriteImage(series, str(tmp_path / "bad.nii.gz"))
    text = f"name,study,T1,T2\nwhole,{study},,\nbad,,bad.nii.gz,\nodd,,,{study / 'T1.nii.gz'}\n"
    arguments = ["batch", str(manifest(tmp_path, text)), "-o", str(tmp_path / "out"), "--model", model, "-q"]
    assert main(arguments) == 2
    first = table(tmp_path / "out")
    assert {name: line["status"] for name, line in first.items()} == {"whole": "done", "bad": "failed", "odd": "done"}
    assert "say which one to use (--time-point N), from 0 to 2" in first["bad"]["message"]
    assert "was given as T2 but looks like T1" in first["odd"]["message"]
    report = json.loads((tmp_path / "out" / "whole" / "report.json").read_text(encoding="utf-8"))
    assert report["volumes_ml"]
    for name, volume in report["volumes_ml"].items():
        assert float(first["whole"][f"{name} (ml)"]) == volume
        assert first["bad"][f"{name} (ml)"] == ""

    assert main([*arguments, "--resume"]) == 2
    second = table(tmp_path / "out")
    assert [second[name] for name in ("whole", "odd")] == [first[name] for name in ("whole", "odd")]
    assert second["bad"]["message"] == first["bad"]["message"]

    (tmp_path / "out" / "batch.csv").unlink()  # then the reports tell what they can
    assert main([*arguments, "--resume"]) == 2
    third = table(tmp_path / "out")
    assert third["odd"]["status"] == "skipped"
    figures = [key for key in first["odd"] if key not in ("status", "seconds")]
    assert [third["odd"][key] for key in figures] == [first["odd"][key] for key in figures]
    assert 0 < float(third["odd"]["seconds"]) <= float(first["odd"]["seconds"]) + 0.1


def test_a_resumed_batch_that_is_stopped_keeps_the_lines_of_studies_it_did_not_reach(tmp_path, model, monkeypatch):
    from disentangle.cli import batch

    out = tmp_path / "out"
    (out / "last").mkdir(parents=True)
    (out / "last" / "report.json").write_text("{}", encoding="utf-8")
    old = 'name,status,seconds,message,grey matter (ml)\nlast,done,12.5,"a, warning",3.25\ngone,done,1,,\n'
    (out / "batch.csv").write_text(old, encoding="utf-8")
    path = manifest(tmp_path, "name,T1\nnew,a.nii.gz\nnext,b.nii.gz\nlast,c.nii.gz\n")

    def one(row, *_):
        if row.name == "next":
            raise KeyboardInterrupt
        return batch.Line(row.name, "done", "", ""), 0

    monkeypatch.setattr(batch, "_one", one)
    arguments = ["batch", str(path), "-o", str(out), "--model", model, "-q", "--resume"]
    assert main(arguments) == 1
    lines = table(out)
    assert list(lines) == ["new", "last"]
    assert [lines["last"][key] for key in ("status", "seconds", "message", "grey matter (ml)")] == [
        "done", "12.5", "a, warning", "3.25",
    ]  # fmt: skip


def test_a_table_or_report_that_cannot_be_read_stops_no_batch(study, model, tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "report.json").write_text("[]", encoding="utf-8")
    (tmp_path / "out" / "batch.csv").write_bytes(b"\xff\xfe\x00")
    path = manifest(tmp_path, f"name,study\na,{study}\n")
    assert main(["batch", str(path), "-o", str(tmp_path / "out"), "--model", model, "-q", "--resume"]) == 0
    assert table(tmp_path / "out")["a"]["status"] == "done"
    assert (tmp_path / "out" / "a" / "segmentation.nii.gz").is_file()


def test_a_resumed_batch_makes_what_is_asked_for_now(study, model, tmp_path):
    arguments = ["batch", str(manifest(tmp_path, f"name,study\na,{study}\n")), "-o", str(tmp_path / "out"), "-q"]
    assert main([*arguments, "--model", model]) == 0
    synthesis = [*arguments, "--no-segment", "--target", "T2", "--resume"]
    assert main([*synthesis, "--model", model]) == 0
    made = tmp_path / "out" / "a" / "synthetic_T2.nii.gz"
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text(encoding="utf-8"))
    assert made.is_file()
    before = made.stat().st_mtime_ns
    assert main([*synthesis, "--model", model]) == 0
    assert made.stat().st_mtime_ns == before, "the same again is left out"
    other = tiny_bundle(tmp_path / "other", version="2.0.0").path
    assert main([*synthesis, "--model", str(other)]) == 0
    again = json.loads((tmp_path / "out" / "a" / "report.json").read_text(encoding="utf-8"))
    assert (report["bundle"]["version"], again["bundle"]["version"]) == ("0.1.0", "2.0.0")
