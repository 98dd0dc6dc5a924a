"""Studies: reading, writing, geometry, and DICOM folders."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

from dicom_files import dicom_object, dicom_slice, frame, write_multi_frame
from disentangle.errors import InputError
from disentangle.study import Grid, Image, Study, check_image, looks_like_ct, write_atomically

RNG = np.random.default_rng(7)
OBLIQUE = np.array([[1.2, -0.3, 0.1, 10.0], [0.3, 1.1, -0.2, -20.0], [-0.05, 0.2, 3.0, 30.0], [0, 0, 0, 1]])
OBLIQUE[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * [0.9, 0.9, 5.5]


def volume(shape=(6, 7, 8), affine=None, dtype=np.int16, **fields) -> Image:
    return Image(RNG.integers(0, 1000, shape).astype(dtype), np.eye(4) if affine is None else affine, **fields)


def write_series(folder: Path, count: int = 5, times: int = 1, tilt: float = 0.0, skip: int = -1, **tags) -> np.ndarray:
    """A DICOM series of sagittal slices, 4 mm apart; the files' names are in random order. Returns (T, K, J, I)."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels = RNG.integers(0, 1000, (times, count, 6, 8)).astype(np.uint16)
    series = generate_uid()
    for t in range(times):
        for k in RNG.permutation(count):
            if k == skip:
                continue
            place = {
                "SeriesInstanceUID": series,
                "StudyInstanceUID": "1.2.3",
                "SeriesNumber": 1,
                "InstanceNumber": int(k) + t * count + 1,
                "PixelSpacing": [0.5, 0.75],
                "SliceThickness": 4,
                "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
                "ImagePositionPatient": [-4.0 * int(k) + 10, tilt * int(k), 5.0],
            }
            item = dicom_slice(voxels[t, k], **place | tags)
            item.save_as(folder / f"{generate_uid()[-12:]}.dcm", enforce_file_format=True)
    return voxels


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_a_written_volume_comes_back_as_it_was(tmp_path: Path, suffix: str, dtype: type) -> None:
    image = volume(affine=OBLIQUE, dtype=dtype)
    again = Image.read(image.write(tmp_path / f"T1{suffix}"))
    assert again.array.dtype == dtype
    assert np.array_equal(again.array, image.array)
    assert again.grid.same_as(image.grid, 1e-4)


def test_nifti_written_here_lies_in_the_same_place_for_itk(tmp_path: Path) -> None:
    image = volume(affine=OBLIQUE)
    seen = sitk.ReadImage(str(image.write(tmp_path / "a.nii.gz")))
    assert Image.from_sitk(seen).grid.same_as(image.grid, 1e-4)
    assert np.array_equal(sitk.GetArrayFromImage(seen), image.array)


def test_nifti_written_by_itk_is_read_like_itk_does(tmp_path: Path) -> None:
    image = volume(affine=OBLIQUE, dtype=np.float32)
    sitk.WriteImage(image.to_sitk(), str(tmp_path / "a.nii.gz"))
    again = Image.read(tmp_path / "a.nii.gz")
    assert np.array_equal(again.array, image.array)
    assert again.grid.same_as(image.grid, 1e-4)


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    image = volume()
    assert image.write(tmp_path / "a.nii.gz").read_bytes() == image.write(tmp_path / "b.nii.gz").read_bytes()


def test_big_endian_and_scaled_nifti_are_understood(tmp_path: Path) -> None:
    path = volume(dtype=np.int16).write(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2f", raw, 112, 2.0, -5.0)
    path.write_bytes(raw)
    little = Image.read(path).array
    assert np.allclose(little, np.frombuffer(bytes(raw[352:]), "<i2").reshape(6, 7, 8) * 2.0 - 5.0)
    swapped = bytearray(352)
    fields = [(0, 4, "i4"), (40, 56, "i2"), (70, 74, "i2"), (76, 120, "f4"), (252, 256, "i2"), (256, 328, "f4")]
    for start, stop, kind in fields:
        swapped[start:stop] = np.frombuffer(bytes(raw[start:stop]), "<" + kind).astype(">" + kind).tobytes()
    swapped[123], swapped[344:348] = raw[123], raw[344:348]
    big = tmp_path / "big.nii"
    big.write_bytes(bytes(swapped) + np.frombuffer(bytes(raw[352:]), "<i2").astype(">i2").tobytes())
    assert np.array_equal(Image.read(big).array, little)


def test_disagreeing_sform_and_qform_are_reported(tmp_path: Path) -> None:
    path = volume().write(tmp_path / "T1.nii")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 280 + 12, 25.0)  # moves the sform only
    path.write_bytes(raw)
    study = Study.read({"T1": path})
    assert any("qform and sform" in w and str(path) in w for w in study.warnings)


def test_grids_are_compared_by_where_their_corners_lie() -> None:
    grid = Grid((5, 6, 7), OBLIQUE)
    turned = OBLIQUE.copy()
    turned[:3, :3] *= 1.01
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.005
    assert grid.same_as(Grid((5, 6, 7), moved))
    assert not grid.same_as(Grid((5, 6, 7), turned))
    assert not grid.same_as(Grid((5, 6, 8), OBLIQUE))
    assert np.allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-6)
    assert np.allclose(grid.spacing, [0.9, 0.9, 5.5])
    reference = grid.to_sitk_reference()
    assert np.allclose(reference.TransformIndexToPhysicalPoint((6, 5, 4)), grid.affine[:3] @ [6, 5, 4, 1])


def test_a_study_comes_back_from_its_folder(tmp_path: Path) -> None:
    labels = Image((RNG.random((6, 7, 8)) > 0.5).astype(np.uint8), OBLIQUE)
    finer = OBLIQUE @ np.diag([0.5, 0.5, 1, 1])
    study = Study.from_images({"t1ce": volume(affine=finer), "FLAIR": volume(affine=OBLIQUE)}, "case")
    study.labels, study.label_names = labels, {1: "lesion"}
    study.masks = {"FLAIR": Image(labels.array.astype(bool), OBLIQUE)}
    again = Study.from_folder(study.write(tmp_path / "out"))
    assert again.available == ("T1Gd", "FLAIR")
    assert again.name == "case"
    assert again.label_names == {1: "lesion"}
    assert np.array_equal(again.labels.array, labels.array)
    assert np.array_equal(again.masks["FLAIR"].array, labels.array)
    assert all(again[s].grid.same_as(study[s].grid, 1e-4) for s in again.available)
    assert again.subset(["FLAIR"]).available == ("FLAIR",)


def test_files_of_a_folder_are_guessed_by_name(tmp_path: Path) -> None:
    for name in ("t1", "t1ce", "flair", "seg"):
        volume().write(tmp_path / f"BraTS20_001_{name}.nii.gz")
    study = Study.from_folder(tmp_path)
    assert set(study.available) == {"T1", "T1Gd", "FLAIR"}
    assert study["T1Gd"].guess.sure
    assert any("seg" in w and "left out" in w for w in study.warnings)


def test_a_sidecar_names_the_sequence_where_the_file_name_does_not(tmp_path: Path) -> None:
    volume().write(tmp_path / "scan_004.nii.gz")
    sidecar = {"SeriesDescription": "AX T2", "EchoTime": 0.1, "RepetitionTime": 4.5, "ScanningSequence": "SE"}
    (tmp_path / "scan_004.json").write_text(json.dumps(sidecar), encoding="utf-8")
    assert Study.from_folder(tmp_path).available == ("T2",)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"])
def test_colours_are_no_time_points(tmp_path: Path, name: str) -> None:
    colours = sitk.GetImageFromArray(RNG.integers(0, 255, (6, 7, 8, 3)).astype(np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / name))
    for time_point in (None, 1):
        with pytest.raises(InputError, match=r"not hold one grey value per voxel \(but colours or vectors\)"):
            Image.read(tmp_path / name, time_point)


def test_an_unclear_file_stops_with_how_to_name_it(tmp_path: Path) -> None:
    volume().write(tmp_path / "scan_004.nii.gz")
    with pytest.raises(InputError, match=r"not clear which sequence .*scan_004\.nii\.gz.*T1=PATH"):
        Study.from_folder(tmp_path)


def test_two_volumes_of_one_sequence_are_refused(tmp_path: Path) -> None:
    a, b = volume().write(tmp_path / "a_t1.nii.gz"), volume().write(tmp_path / "b_t1.nii.gz")
    for read in (lambda: Study.from_folder(tmp_path), lambda: Study.read([("T1", a), ("t1w", b)])):
        with pytest.raises(InputError, match=r"a_t1.*b_t1.*both T1"):
            read()
    with pytest.raises(InputError, match="given as T1 and as T2"):
        Study.read({"T1": a, "T2": a})


def test_a_time_point_of_a_series_is_chosen(tmp_path: Path) -> None:
    series = RNG.random((3, 6, 7, 8)).astype(np.float32)
    image = sitk.GetImageFromArray(series, isVector=False)
    listed = sitk.GetImageFromArray(np.moveaxis(series, 0, -1).copy(), isVector=True)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        sitk.WriteImage(image, str(tmp_path / name))
    sitk.WriteImage(listed, str(tmp_path / "list.nrrd"))
    raw = (tmp_path / "list.nrrd").read_bytes().replace(b"kinds: vector", b"kinds: list")
    (tmp_path / "list.nrrd").write_bytes(raw)
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "list.nrrd"):
        path = tmp_path / name
        assert np.array_equal(Image.read(path, time_point=2).array, series[2])
        with pytest.raises(InputError, match=r"3 time points.*from 0 to 2"):
            Image.read(path)
        with pytest.raises(InputError, match="no time point 3"):
            Image.read(path, time_point=3)


def test_a_dicom_series_lies_where_its_slices_lie(tmp_path: Path) -> None:
    voxels = write_series(tmp_path / "s", SeriesDescription="Sag T2 FLAIR")[0]
    image = Study.from_dicom(tmp_path)["FLAIR"]
    # Sagittal slices that go to the right: along the normal (row x column) they come in this order or reversed.
    for k in range(image.array.shape[0]):
        x = (image.affine @ [0, 0, k, 1])[0]
        assert np.array_equal(image.array[k], voxels[round((10 - x) / 4)])
    assert np.allclose(image.affine @ [1, 0, 0, 0], [0, 0.75, 0, 0])
    assert np.allclose(image.affine @ [0, 1, 0, 0], [0, 0, -0.5, 0])
    assert np.linalg.det(image.affine[:3, :3]) > 0


def test_the_series_of_a_folder_are_told_apart_and_guessed(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesDescription="AX T1", SeriesNumber=3)
    write_series(tmp_path, SeriesDescription="AX T1 POST", SeriesNumber=4)
    write_series(tmp_path, SeriesDescription="Localizer", SeriesNumber=1, count=4)
    write_series(tmp_path, SeriesDescription="AX T1 thin", SeriesNumber=9, PixelSpacing=[0.25, 0.25])
    study = Study.from_dicom(tmp_path)
    assert study.available == ("T1", "T1Gd")
    assert study["T1"].spacing[0] == 0.25
    assert any("Localizer" in w and "left out" in w for w in study.warnings)
    assert any("series 9 'AX T1 thin' and series 3 'AX T1' are both T1" in w for w in study.warnings)
    assert Image.read(tmp_path, sequence="T1Gd").header["SeriesDescription"] == "AX T1 POST"
    with pytest.raises(InputError, match=r"4 DICOM series: .*Localizer.*folder of its own"):
        Image.read(tmp_path, sequence="T2")


def test_echoes_of_one_series_are_separate_volumes(tmp_path: Path) -> None:
    uid = generate_uid()
    common = {"SeriesInstanceUID": uid, "SeriesDescription": "tse double echo", "RepetitionTime": 3000}
    write_series(tmp_path, EchoTime=15, ScanningSequence="SE", **common)
    write_series(tmp_path, EchoTime=100, ScanningSequence="SE", **common)
    with pytest.raises(InputError, match="not clear which sequence"):
        Study.from_dicom(tmp_path)  # the description does not say; it must not be guessed silently


def test_a_dicom_time_series_asks_for_the_time_point(tmp_path: Path) -> None:
    voxels = write_series(tmp_path / "s", times=3, SeriesDescription="T2 dynamic")
    with pytest.raises(InputError, match="3 time points"):
        Study.from_dicom(tmp_path)
    image = Study.from_dicom(tmp_path, time_point=1)["T2"]
    assert np.array_equal(np.sort(image.array.ravel()), np.sort(voxels[1].ravel()))


def test_incomplete_or_tilted_dicom_series_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "gap", skip=2, SeriesDescription="T1")
    with pytest.raises(InputError, match=r"lacks slices.*4 mm apart, but once 8 mm"):
        Study.from_dicom(tmp_path / "gap")
    write_series(tmp_path / "tilt", tilt=1.0, SeriesDescription="T1")
    with pytest.raises(InputError, match="tilted gantry"):
        Study.from_dicom(tmp_path / "tilt")


@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "SR"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "DOC"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
        ("1.2.840.10008.5.1.4.1.1.66", "MR"),  # raw data
        ("1.2.840.10008.5.1.4.1.1.4.2", "MR"),  # spectroscopy
        ("1.3.12.2.1107.5.9.1", "MR"),  # Siemens' own, "non-image"
    ],
)
def test_dicom_objects_without_pixels_are_passed_over(tmp_path: Path, kind: str, modality: str) -> None:
    voxels = write_series(tmp_path / "s", SeriesDescription="T1")
    dicom_object(kind, modality).save_as(tmp_path / "other.dcm", enforce_file_format=True)
    study = Study.from_dicom(tmp_path)
    assert study.available == ("T1",) and study["T1"].array.size == voxels.size


def test_a_series_whose_slices_are_scaled_differently_keeps_its_values(tmp_path: Path) -> None:
    uid = generate_uid()
    slopes = [1, 0.25, 200, 3, 1]
    for k, slope in enumerate(slopes):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 4 * k]}
        scale = {"RescaleSlope": slope, "RescaleIntercept": 0, "RescaleType": "US", "PixelSpacing": [1, 1]}
        pixels = np.arange(48).reshape(6, 8) * 21
        item = dicom_slice(pixels, SeriesInstanceUID=uid, SeriesDescription="T1", **place, **scale)
        item.save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    array = Study.from_dicom(tmp_path)["T1"].array
    assert np.array_equal(array, np.multiply.outer(slopes, pixels))


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("open_ended", [False, True])
@pytest.mark.parametrize("order", ["volumes", "interleaved", "backwards"])
def test_echoes_of_a_multi_frame_file_are_separate_volumes(
    tmp_path: Path, implicit: bool, open_ended: bool, order: str
) -> None:
    voxels = RNG.integers(0, 1000, (2, 5, 6, 8))  # (echo, place from left to right, j, i)
    order_of = {"interleaved": lambda n: (n[1], n[0]), "backwards": lambda n: (-n[0], -n[1]), "volumes": lambda n: n}
    indices = sorted(np.ndindex(2, 5), key=order_of[order])
    frames = [frame([10 - 4.0 * k, 0, 5], echo=(15, 100)[e]) for e, k in indices]
    pixels = np.stack([voxels[n] for n in indices])
    write_multi_frame(tmp_path / "e.dcm", pixels, frames, implicit, open_ended, SeriesDescription="T1")
    with pytest.raises(InputError, match=r"'T1', echo times 15, 100 ms.* holds 2 time points.*from 0 to 1"):
        Study.from_dicom(tmp_path)
    for echo in range(2):
        image = Study.from_dicom(tmp_path, time_point=echo)["T1"]
        assert image.array.shape == (5, 6, 8)
        for k in range(5):
            x = (image.affine @ [0, 0, k, 1])[0]
            assert np.array_equal(image.array[k], voxels[echo, round((10 - x) / 4)])
        assert np.allclose(image.spacing, [0.75, 0.5, 4])


def test_the_frames_of_a_multi_frame_file_have_scales_of_their_own(tmp_path: Path) -> None:
    slopes = [0.5, 1, 100, 3, 1]
    voxels = RNG.integers(0, 1000, (5, 6, 8))
    frames = [frame([4.0 * k, 0, 0], slope=slope) for k, slope in enumerate(slopes)]
    write_multi_frame(tmp_path / "e.dcm", voxels, frames, SeriesDescription="T1")
    array = Study.from_dicom(tmp_path)["T1"].array
    expected = voxels * np.reshape(slopes, (-1, 1, 1))
    assert np.allclose(array, expected) or np.allclose(array, expected[::-1])


def test_the_stacks_of_a_multi_frame_scout_are_told_apart(tmp_path: Path) -> None:
    ways = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]
    normals = [np.cross(way[:3], way[3:]) for way in ways]
    frames = [frame(4.0 * k * n, orientation=way) for way, n in zip(ways, normals, strict=True) for k in range(3)]
    write_multi_frame(tmp_path / "a.dcm", RNG.integers(0, 1000, (9, 8, 8)), frames, SeriesDescription="Localizer")
    with pytest.raises(InputError, match=r"3 DICOM series.*3 slices.*export the one to use by itself"):
        Image.read(tmp_path)
    write_series(tmp_path / "s", SeriesDescription="T1")
    assert Study.from_dicom(tmp_path).available == ("T1",)


def test_a_multi_frame_file_with_missing_frames_harms_only_who_reads_it(tmp_path: Path) -> None:
    frames = [frame([4.0 * k, 0, 0]) for k in (0, 1, 2, 3, 0, 1)]
    pixels = RNG.integers(0, 1000, (6, 6, 8))
    write_multi_frame(tmp_path / "e.dcm", pixels, frames, SeriesDescription="Localizer")
    with pytest.raises(InputError, match="1 to 2 images per slice position"):
        Image.read(tmp_path)
    write_series(tmp_path / "s", SeriesDescription="T1")
    study = Study.from_dicom(tmp_path)
    assert study.available == ("T1",) and "Localizer" in study.warnings[0]


def test_an_assignment_against_the_evidence_is_warned_about(tmp_path: Path) -> None:
    path = volume().write(tmp_path / "case_flair.nii.gz")
    study = Study.read({"T1": path})
    assert any("was given as T1 but looks like FLAIR" in w for w in study.warnings)


def test_ct_is_recognised_by_header_and_by_hounsfield_units() -> None:
    ct = np.full((20, 20, 20), -1000, np.int16)
    ct[5:15, 5:15, 5:15] = RNG.normal(40, 20, (10, 10, 10))
    ct[9:11, 9:11, 9:11] = 900
    assert looks_like_ct(Image(ct, np.eye(4)))
    assert not looks_like_ct(Image(ct, np.eye(4), header={"Modality": "MR"}))
    assert looks_like_ct(Image(np.abs(ct), np.eye(4), header={"Modality": "CT"}))
    assert not looks_like_ct(volume((20, 20, 20)))
    assert not looks_like_ct(Image(RNG.normal(0, 1, (20, 20, 20)), np.eye(4)))


def test_no_real_mr_looks_like_ct_and_all_of_them_can_be_read(shared_data: Path) -> None:
    folders = [f for f in sorted(shared_data.iterdir()) if (f / "study.json").exists()]
    assert folders
    for folder in folders[::4]:
        study = Study.from_folder(folder)
        for image in study.images.values():
            check_image(image)
            assert not looks_like_ct(image), image.source


def test_a_failed_write_leaves_everything_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before", encoding="utf-8")
    with pytest.raises(RuntimeError), write_atomically(target) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert target.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_written_into_without_harming_its_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep", encoding="utf-8")
    study = Study.from_images({"T1": volume()})
    study.write(folder)
    study.write(folder)
    assert {p.name for p in folder.iterdir()} == {"mine.txt", "T1.nii.gz", "study.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
