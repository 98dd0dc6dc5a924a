"""Damaged, mislabelled and impossible input: one clear sentence that names the file, and nothing on the terminal."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_files import dicom_slice, frame, write_multi_frame
from disentangle.errors import InputError
from disentangle.preprocessing import prepare
from disentangle.study import Image, Study, write_atomically
from disentangle.study.dicom_header import read_header

ARRAY = np.random.default_rng(3).integers(0, 4000, (9, 10, 11)).astype(np.int16)
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def good(path: Path) -> Path:
    return Image(ARRAY, np.diag([1.0, 1.0, 2.0, 1.0])).write(path)


def sentence(path: Path, **options) -> str:
    """The message of reading ``path`` as a T1, checked for being one sentence that names the file."""
    with pytest.raises(InputError) as caught:
        Study.read({"T1": path}, **options)
    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".") and "\n" not in message and len(message) < 400 + len(str(path))
    return message


@pytest.fixture(autouse=True)
def terminal(capfd: pytest.CaptureFixture[str]):
    """Whatever a test reads, the libraries below write nothing to stdout or stderr."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"T1{suffix}"
    path.touch()
    assert "is empty (0 bytes)" in sentence(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_text_file_with_an_image_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"T1{suffix}"
    path.write_text("Dear colleague,\nplease find attached\n" * 40, encoding="utf-8")
    sentence(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    sentence(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(share=st.floats(0.0, 0.999))
@CALM
def test_a_file_cut_anywhere(tmp_path: Path, suffix: str, share: float) -> None:
    raw = good(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"T1{suffix}"
    path.write_bytes(raw[: int(len(raw) * share)])
    sentence(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("lost", [1, 4, 8, 9, 12])
def test_a_compressed_file_that_lacks_only_its_checksum(tmp_path: Path, suffix: str, lost: int) -> None:
    raw = good(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"T1{suffix}"
    path.write_bytes(raw[:-lost])
    assert "truncated" in sentence(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
@CALM
def test_flipped_bytes_are_read_or_refused_but_never_crash(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    raw = bytearray(good(tmp_path / f"whole{suffix}").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(len(raw) - 1, 700)))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"T1{suffix}"
    path.write_bytes(raw)
    try:
        image = Study.read({"T1": path}).first
    except InputError as error:
        assert path.name in str(error)
    else:
        assert image.array.ndim == 3


@given(raw=st.binary(max_size=600), suffix=st.sampled_from(SUFFIXES))
@CALM
def test_random_bytes(tmp_path: Path, raw: bytes, suffix: str) -> None:
    path = tmp_path / f"T1{suffix}"
    path.write_bytes(raw)
    sentence(path)


def test_voxels_that_are_not_numbers(tmp_path: Path) -> None:
    array = ARRAY.astype(np.float32)
    array[2, 3, 4], array[0, 0, 0] = np.nan, np.inf
    path = Image(array, np.eye(4)).write(tmp_path / "T1.nii.gz")
    assert "2 voxels that are not numbers" in sentence(path)


def test_a_voxel_that_no_float32_holds(tmp_path: Path) -> None:
    array = ARRAY.astype(np.float64)
    array[2, 3, 4] = -1e39
    picture = sitk.GetImageFromArray(array)  # our own writer would not write float64
    sitk.WriteImage(picture, str(tmp_path / "T1.nrrd"))
    assert "holds values up to -1e+39, which are no intensities" in sentence(tmp_path / "T1.nrrd")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice(tmp_path: Path, axis: int) -> None:
    path = Image(ARRAY.take([0], axis), np.eye(4)).write(tmp_path / "T1.nii.gz")
    assert "no volume but 1 slice (" in sentence(path)


def test_a_flat_picture_in_three_formats(tmp_path: Path) -> None:
    for suffix in (".nii", ".nrrd", ".mha"):
        path = tmp_path / f"T1{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(path))
        assert "no volume but 1 slice (" in sentence(path)


def test_a_blank_volume(tmp_path: Path) -> None:
    path = Image(np.zeros_like(ARRAY), np.eye(4)).write(tmp_path / "T1.nii.gz")
    assert "is blank" in sentence(path)


def test_a_four_dimensional_series(tmp_path: Path) -> None:
    path = tmp_path / "T1.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([ARRAY] * 5), isVector=False), str(path))
    assert "5 time points" in sentence(path)
    assert "no time point 9" in sentence(path, time_point=9)


def test_colours(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        path = tmp_path / f"T1{suffix}"
        colours = np.repeat(ARRAY[..., None].astype(np.uint8), 3, axis=-1)
        sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(path))
        assert "one grey value per voxel" in sentence(path) or "time points" in sentence(path)


def test_sheared_axes(tmp_path: Path) -> None:
    path = good(tmp_path / "T1.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2h", raw, 252, 0, 1)
    struct.pack_into("<12f", raw, 280, 1, 0.4, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    path.write_bytes(raw)
    assert "sheared" in sentence(path)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    assert "does not exist" in sentence(tmp_path / "T1.nii.gz")
    (tmp_path / "T1.docx").write_text("x", encoding="utf-8")
    assert "is not an image" in sentence(tmp_path / "T1.docx")
    (tmp_path / "folder").mkdir()
    assert "no DICOM images" in sentence(tmp_path / "folder")
    for folder, said in [(tmp_path / "none", "does not exist"), (tmp_path / "T1.docx", "is a file")]:
        with pytest.raises(InputError, match=said):
            Study.from_folder(folder)
    with pytest.raises(InputError, match="holds no images"):
        Study.from_folder(tmp_path / "folder")


def test_a_detached_header_without_its_voxels(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(tmp_path / "T1.mhd"))
    (tmp_path / "T1.raw").unlink()
    assert "T1.raw, which is not beside it" in sentence(tmp_path / "T1.mhd")


def test_volumes_without_overlap(tmp_path: Path) -> None:
    far = np.eye(4)
    far[0, 3] = 500
    first, second = good(tmp_path / "T1.nii.gz"), Image(ARRAY, far).write(tmp_path / "T2.nii.gz")
    with pytest.raises(InputError, match=r"T[12] and T[12] do not overlap in space"):
        prepare(Study.read({"T1": first, "T2": second}))


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b'{"labels": {"one": "x"}}', b"\xff\xfe"])
def test_a_damaged_study_description(tmp_path: Path, damage: bytes) -> None:
    good(tmp_path / "T1.nii.gz")
    (tmp_path / "study.json").write_bytes(damage)
    with pytest.raises(InputError, match=r"study\.json is damaged"):
        Study.from_folder(tmp_path)


def test_a_damaged_dicom_file(tmp_path: Path) -> None:
    (tmp_path / "IM0001.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes(range(256)))
    with pytest.raises(InputError, match=r"IM0001\.dcm is a damaged DICOM file"):
        Study.from_folder(tmp_path)


def test_a_dicom_slice_cut_off_is_damaged_and_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "IM0001.dcm"
    dicom_slice(ARRAY[0], SeriesDescription="T1").save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    for size in (140, 400, whole.index(b"\x28\0\x10\0US"), whole.index(b"\xe0\x7f\x10\0")):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"IM0001\.dcm is a damaged DICOM file"):
            Study.from_folder(tmp_path)


def test_a_dicom_position_that_is_no_number(tmp_path: Path) -> None:
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1], "SeriesInstanceUID": "1.2.3"}
    for k in (12345, 2):
        path = tmp_path / f"{k}.dcm"
        item = dicom_slice(ARRAY[0], SeriesDescription="T1", ImagePositionPatient=[0, 0, k], **place)
        item.save_as(path, enforce_file_format=True)
        path.write_bytes(path.read_bytes().replace(b"12345", b"nan  "))
    with pytest.raises(InputError, match="without a position in space"):
        Study.from_folder(tmp_path)


@pytest.fixture(scope="module")
def multi_frame(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("multi") / "e.dcm"
    write_multi_frame(path, ARRAY, [frame([0, 0, 2.0 * k]) for k in range(len(ARRAY))], open_ended=True)
    return path.read_bytes()


@CALM
@given(data=st.data())
def test_a_damaged_header_of_a_multi_frame_file(tmp_path: Path, multi_frame: bytes, data: st.DataObject) -> None:
    raw = bytearray(multi_frame)
    end = raw.rindex(b"\xe0\x7f\x10\0OW")
    for place in data.draw(st.lists(st.integers(132, end), min_size=1, max_size=8)):
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "e.dcm"
    path.write_bytes(raw[: data.draw(st.integers(132, len(raw)))])
    header, whole = read_header(path)
    assert isinstance(header, dict) and isinstance(whole, bool)


def test_a_header_of_endlessly_nested_sequences(tmp_path: Path) -> None:
    path = tmp_path / "e.dcm"
    nested = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    path.write_bytes(b"\0" * 128 + b"DICM" + nested * 100_000)
    assert read_header(path) == ({}, False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are no UTF-8")
def test_a_path_that_is_no_utf8(tmp_path: Path) -> None:
    # In a process of its own: SimpleITK ends the process over such a name.
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/st\xfc"))
    folder.mkdir()
    good(tmp_path / "T1.nii.gz").rename(folder / "T1.nii.gz")
    good(tmp_path / "T2.nrrd").rename(folder / "T2.nrrd")
    (folder / "d").mkdir()
    dicom_slice(ARRAY[0]).save_as(folder / "d" / "1.dcm", enforce_file_format=True)
    script = f"""
import os
from pathlib import Path
from disentangle.errors import InputError
from disentangle.inference.result import check_image_name, write_image
from disentangle.study import Image, Study
folder = Path(os.fsdecode({os.fsencode(folder)!r}))
good = Image.read({str(good(tmp_path / "T1.nii.gz"))!r})
for act in (lambda: Image.read(folder / "T1.nii.gz"), lambda: Image.read(folder / "T2.nrrd"),
            lambda: Study.from_dicom(folder / "d"), lambda: good.write(folder / "out.nrrd"),
            lambda: write_image(good, folder / "out.mha", "text"), lambda: check_image_name(folder / "out.nrrd")):
    try:
        act()
    except InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and all("st?" in line and line.endswith("rename the file or its folder.") for line in lines)
    assert sorted(p.name for p in folder.iterdir()) == ["T1.nii.gz", "T2.nrrd", "d"]


@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "no space left"), (errno.EROFS, "no permission"), (errno.EACCES, "no permission")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_place_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, code: int, said: str
) -> None:
    before = good(tmp_path / f"out{suffix}").read_bytes()
    really = Path.open

    def refuse(self: Path, mode: str = "r", *args, **kwargs):
        if "w" in mode:
            raise OSError(code, "refused")
        return really(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=rf"{said}.*out|out.*{said}"):
        good(tmp_path / f"out{suffix}")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]
    assert (tmp_path / f"out{suffix}").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file size to stand in for a full disk")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_while_writing(tmp_path: Path, suffix: str) -> None:
    # The kernel refuses to let any file of this process grow beyond 900 bytes, as a full disk would.
    script = f"""
import resource, numpy as np
from pathlib import Path
from disentangle.errors import InputError
from disentangle.study import Image, Study
resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
image = Image(np.random.default_rng(0).integers(0, 4000, (20, 20, 20)).astype(np.int16), np.eye(4))
for write in (lambda: image.write(Path({str(tmp_path)!r}) / "out{suffix}"),
              lambda: Study({{"T1": image}}).write(Path({str(tmp_path)!r}) / "study")):
    try:
        write()
    except InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("no space left" in line for line in lines), done
    assert str(tmp_path / f"out{suffix};") in lines[0] and str(tmp_path / "study") in lines[1]
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with (
        pytest.raises(InputError, match="a part of its path is a file"),
        write_atomically(tmp_path / "file" / "out.nii"),
    ):
        pass
