"""Every bad input: exit code 2, one sentence on stderr that says what to do, and no partial output."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from disentangle.cli import main
from disentangle.inference import output, result
from disentangle.phantoms import brain_phantom
from disentangle.study import Image
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    brain_phantom(8, spacing=6.0, sequences=("T1", "T2")).study.write(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture
def refused(tmp_path: Path, study: Path, model: Path, capfd: pytest.CaptureFixture) -> Callable[..., str]:
    """Run ``segment`` with the inputs given, check that it is refused properly, and return the sentence."""

    def run(*inputs: str, model: Path = model, target: str | Path = "out/seg.nii.gz") -> str:
        place = tmp_path / "place"
        place.mkdir(exist_ok=True)
        before = sorted(p for p in place.rglob("*"))
        given = inputs or (f"T1={study / 'T1.nii.gz'}",)
        arguments = ["segment", "--input", *given, "--model", str(model), "--output", str(place / target)]
        code = main([*arguments, "--json", str(place / "out" / "r.json"), "--probabilities", str(place / "out" / "p")])
        error = capfd.readouterr().err
        assert code == 2, error
        assert error.count("\n") == 1, error
        assert error.startswith("disentangle segment: ")
        assert error.rstrip().endswith(".")
        assert "Traceback" not in error
        assert sorted(p for p in place.rglob("*")) == before
        return error

    return run


def test_a_file_that_does_not_exist(refused, tmp_path):
    assert "absent.nii.gz" in refused(f"T1={tmp_path / 'absent.nii.gz'}")


@pytest.mark.parametrize("name", ["empty.nii.gz", "empty.nii", "empty.nrrd", "empty.mha"])
def test_an_empty_file(refused, tmp_path, name):
    (tmp_path / name).touch()
    assert "empty" in refused(f"T1={tmp_path / name}")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_file(refused, tmp_path, study, share):
    data = (study / "T1.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(data[: int(len(data) * share)])
    assert "cut.nii.gz" in refused(f"T1={tmp_path / 'cut.nii.gz'}")


def test_a_truncated_file_without_compression(refused, tmp_path, study):
    data = gzip.decompress((study / "T1.nii.gz").read_bytes())
    (tmp_path / "cut.nii").write_bytes(data[: len(data) // 2])
    assert "cut.nii" in refused(f"T1={tmp_path / 'cut.nii'}")


def test_a_text_file_named_like_an_image(refused, tmp_path):
    (tmp_path / "text.nii.gz").write_text("This is no image.\n", encoding="utf-8")
    assert "text.nii.gz" in refused(f"T1={tmp_path / 'text.nii.gz'}")


def test_a_folder_without_images(refused, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "nothing" in refused(f"T1={tmp_path / 'nothing'}")


def test_one_sequence_twice(refused, study):
    assert "T1Gd is given twice" in refused(f"T1Gd={study / 'T1.nii.gz'}", f"t1ce={study / 'T2.nii.gz'}")


def test_one_file_as_two_sequences(refused, study):
    assert "as T1 and as T2" in refused(f"T1={study / 'T1.nii.gz'}", f"T2={study / 'T1.nii.gz'}")


def test_an_unknown_sequence(refused, study):
    assert "T9" in refused(f"T9={study / 'T1.nii.gz'}")


def test_an_input_without_a_sequence(refused, study):
    assert "write --input T1=PATH" in refused(str(study / "T1.nii.gz"))


@pytest.mark.parametrize("name", ["CT", "T1"])
def test_a_ct_for_a_model_of_mr(refused, tmp_path, study, name):
    t1, mask = Image.read(study / "T1.nii.gz"), Image.read(study / "brainmask.nii.gz")
    hounsfield = np.where(mask.array > 0, 40, -1000).astype(np.int16)
    hounsfield[10:20, 10:20, 10:15] = 900
    t1.with_array(hounsfield).write(tmp_path / "scan.nii.gz")
    assert "is a CT" in refused(f"{name}={tmp_path / 'scan.nii.gz'}", f"T2={study / 'T2.nii.gz'}")


def test_volumes_that_do_not_overlap(refused, tmp_path, study):
    image = sitk.ReadImage(str(study / "T2.nii.gz"))
    image.SetOrigin([x + 5000.0 for x in image.GetOrigin()])
    sitk.WriteImage(image, str(tmp_path / "far.nii.gz"))
    sentence = refused(f"T1={study / 'T1.nii.gz'}", f"T2={tmp_path / 'far.nii.gz'}")
    assert "do not overlap" in sentence


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_numbers(refused, tmp_path, study, value):
    t1 = Image.read(study / "T1.nii.gz")
    voxels = t1.array.astype(np.float32)
    voxels[voxels.shape[0] // 2] = value
    sitk.WriteImage(t1.with_array(voxels).to_sitk(), str(tmp_path / "holes.nii.gz"))
    assert "holes.nii.gz" in refused(f"T1={tmp_path / 'holes.nii.gz'}")


def test_a_single_slice(refused, tmp_path, study):
    image = sitk.ReadImage(str(study / "T1.nii.gz"))
    middle = image.GetSize()[2] // 2
    sitk.WriteImage(image[:, :, middle : middle + 1], str(tmp_path / "slice.nii.gz"))
    assert "slice" in refused(f"T1={tmp_path / 'slice.nii.gz'}")


def test_a_series_over_time(refused, tmp_path, study):
    image = sitk.ReadImage(str(study / "T1.nii.gz"))
    sitk.WriteImage(sitk.JoinSeries([image] * 7), str(tmp_path / "time.nii.gz"))
    sentence = refused(f"T1={tmp_path / 'time.nii.gz'}")
    assert "holds 7 time points (a 4-D series); say which one to use (--time-point N), from 0 to 6" in sentence


def test_an_image_of_nothing(refused, tmp_path, study):
    t1 = Image.read(study / "T1.nii.gz")
    t1.with_array(np.zeros_like(t1.array)).write(tmp_path / "zero.nii.gz")
    refused(f"T1={tmp_path / 'zero.nii.gz'}")


def test_weights_with_a_wrong_checksum(refused, tmp_path, model):
    shutil.copytree(model, tmp_path / "changed")
    weights = tmp_path / "changed" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 0xFF
    weights.write_bytes(data)
    assert "checksum" in refused(model=tmp_path / "changed")


def test_a_model_that_is_not_there(refused):
    assert "There is no model" in refused(model="nonsense")


def test_an_output_below_a_file(refused, tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "file").touch()
    assert "is a file" in refused(target="file/seg.nii.gz")


def test_an_output_that_is_no_image(refused):
    assert "no image suffix" in refused(target="out/seg.txt")


def test_a_read_only_output_folder(refused, monkeypatch):
    real = os.access
    monkeypatch.setattr(output.os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    assert "read-only" in refused()


def test_a_read_only_mount_that_claims_to_be_writable(refused, tmp_path, monkeypatch):
    real = Path.mkdir

    def mkdir(self, *args, **kwargs):
        if self.name.endswith("-disentangle"):
            raise OSError(30, "Read-only file system")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert "cannot be written" in refused()


def test_no_space_left_while_writing(refused, monkeypatch):
    real, calls = result.write_image, []

    def write(image, path, *more):
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half a fi")
            raise OSError(28, "No space left on device")
        real(image, path, *more)

    monkeypatch.setattr(result, "write_image", write)
    assert "no space left" in refused()
    assert len(calls) == 3


@pytest.fixture
def place(tmp_path: Path, study: Path) -> Path:
    """Where :func:`refused` writes to, with a study in it already."""
    shutil.copytree(study, tmp_path / "place")
    (tmp_path / "place" / "T1.json").write_text("{}", encoding="utf-8")
    return tmp_path / "place"


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_output_that_is_the_input(refused, place):
    before = contents(place)
    assert "T1.nii.gz, which is read as input" in refused(f"T1={place / 'T1.nii.gz'}", target="T1.nii.gz")
    assert contents(place) == before


@pytest.mark.skipif(os.name == "nt", reason="links need rights there that few users have")
def test_an_output_that_is_the_input_by_another_name(refused, place):
    (place / "link.nii.gz").symlink_to(place / "T1.nii.gz")
    (place / "folder").mkdir()
    before = contents(place)
    assert "which is read as input" in refused(f"T1={place / 'link.nii.gz'}", target="folder/../T1.nii.gz")
    assert contents(place) == before


def test_an_output_that_is_a_dicom_file(refused, place):
    (place / "image.nii.gz").write_bytes(bytes(128) + b"DICM")
    assert "a DICOM file" in refused(target="image.nii.gz")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("segment --study . -o T2.nii.gz", "T2.nii.gz, which is read as input"),
        ("segment --study . -o brainmask.nii.gz", "brainmask.nii.gz, which is read as input"),
        ("segment --study . -o s.nii.gz --json study.json", "study.json, which is read as input"),
        ("segment -i T1=T1.nii.gz -o s.nii.gz --json T1.json", "T1.json, which is read as input"),
        ("segment -i T1=T1.nii.gz --mask m.nii.gz -o m.nii.gz", "m.nii.gz, which is read as input"),
        ("segment -i T1=T1.nii.gz -o s.nii.gz --overview s.nii.gz", "Two outputs"),
        ("segment -i T1=T1.nii.gz -o new.nii.gz --json ./new.nii.gz", "Two outputs"),
        ("segment -i T1=T1.nii.gz -o new.nii.gz --probabilities new.nii.gz", "Two outputs"),
        ("segment -i T1=T1.nii.gz -o p/grey_matter.nii.gz --probabilities p", "Two outputs"),
        ("segment -i T1=p/grey_matter.nii.gz -o s.nii.gz --probabilities p", "which is read as input"),
        ("segment -i T1=p/uncertainty.nii.gz -o s.nii.gz --uncertainty p", "which is read as input"),
        ("synthesize -i T1=p/synthetic_T2.nii.gz --target T2 -o p", "which is read as input"),
        (
            "synthesize -i T1=T1.nii.gz --target T2 --reference T2=p/synthetic_T2.nii.gz -o p",
            "which is read as input",
        ),
        ("synthesize -i T1=T1.nii.gz --target T2 --style T2=T2.nii.gz -o p --json T2.nii.gz", "which is read as input"),
        ("synthesize -i T1=T1.nii.gz --target T2 -o new --json new/synthetic_T2.nii.gz", "Two outputs"),
        ("factors -i T1=p/factors/T1/anatomy_1.nii.gz -o p", "which is read as input"),
        ("factors -i T1=p/cross/T1_as_T1.nii.gz -o p", "which is read as input"),
        ("factors -i T1=T1.nii.gz -o new --json new/modality.json", "Two outputs"),
        ("batch batch.csv -o .", "batch.csv, which is read as input"),
        ("batch files.csv --target T2 -o .", "which is read as input"),
        ("evaluate config.yaml --json config.yaml", "config.yaml, which is read as input"),
    ],
)
def test_nothing_that_is_read_is_overwritten(place, model, monkeypatch, capfd, arguments, sentence):
    monkeypatch.chdir(place)
    copies = ["m.nii.gz", "s.nii.gz", "p/grey_matter.nii.gz", "p/uncertainty.nii.gz", "p/synthetic_T2.nii.gz"]
    for name in [*copies, "p/factors/T1/anatomy_1.nii.gz", "p/cross/T1_as_T1.nii.gz"]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / ("brainmask.nii.gz" if name == "m.nii.gz" else "T1.nii.gz"), place / name)
    for name, manifest in (
        ("batch", "study\n."),
        ("files", "name,T1\np,p/synthetic_T2.nii.gz"),
    ):
        (place / f"{name}.csv").write_text(manifest + "\n", encoding="utf-8")
    (place / "config.yaml").write_text("{}", encoding="utf-8")
    if "--study" in arguments:
        (place / "m.nii.gz").unlink()
        (place / "s.nii.gz").unlink()
    before = contents(place)
    words = arguments.split()
    assert main([*words, *([] if words[0] == "evaluate" else ["--model", str(model)])]) == 2
    error = capfd.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert contents(place) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_really_full(refused, monkeypatch):
    real = output.Staging.path

    def path(self, final):
        temporary = real(self, final)
        if temporary.name == "r.json":
            temporary.symlink_to("/dev/full")
        return temporary

    monkeypatch.setattr(output.Staging, "path", path)
    assert "no space left" in refused()
