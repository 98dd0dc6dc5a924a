"""CHAOS and other unregistered sets, written as they are published, read back as subjects and a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from disentangle.datasets.layouts import find_cases, layout
from disentangle.datasets.layouts.chaos import slice_number
from disentangle.datasets.loading import Loading, load_cases
from disentangle.datasets.pairs import PairSampler, PairSamplingConfig
from disentangle.datasets.stacks import STACKED
from disentangle.errors import InputError
from disentangle.preprocessing import PreprocessingConfig
from disentangle.study import Image

ABDOMEN = ("background", "liver", "right kidney", "left kidney", "spleen")


def write_slices(folder: Path, numbers: list[int], spacing: float) -> None:
    """Slices of which the one numbered n lies at -4 n mm and holds the intensity n somewhere; every file has a series
    UID of its own, as anonymisation leaves them."""
    folder.mkdir(parents=True)
    for place, n in enumerate(numbers):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        item.SeriesInstanceUID, item.StudyInstanceUID, item.Modality = generate_uid(), "1.2.3", "MR"
        item.Rows, item.Columns, item.SamplesPerPixel, item.PhotometricInterpretation = 16, 16, 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 0
        item.PixelSpacing, item.SliceThickness = [spacing, spacing], 4
        item.ImageOrientationPatient, item.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, -4.0 * place]
        pixels = np.zeros((16, 16), np.uint16)
        pixels[4:8, 4:8] = 100 + n
        item.PixelData = pixels.tobytes()
        item.save_as(folder / f"IMG-0004-{n:05d}.dcm", enforce_file_format=True)


def write_masks(folder: Path, numbers: list[int]) -> None:
    folder.mkdir(parents=True)
    for n in numbers:
        grey = np.zeros((16, 16), np.uint8)
        grey[4:8, 4:8], grey[0, :4], grey[15, 15] = 63, (60, 126, 190, 251), 90
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(folder / f"IMG-0004-{n:05d}.png"))


def write_chaos(root: Path, number: int, slices: int = 24, masks: bool = True) -> Path:
    place = root / "Train_Sets" / "MR" / str(number)
    even, odd = [2 * n + 2 for n in range(slices)], [2 * n + 1 for n in range(slices)]
    write_slices(place / "T1DUAL" / "DICOM_anon" / "InPhase", even, 1.0)
    write_slices(place / "T1DUAL" / "DICOM_anon" / "OutPhase", odd, 1.0)
    write_slices(place / "T2SPIR" / "DICOM_anon", [n + 1 for n in range(slices)], 1.0)
    if masks:
        write_masks(place / "T1DUAL" / "Ground", even)
        write_masks(place / "T2SPIR" / "Ground", [n + 1 for n in range(slices)])
    return place


def load(name: str, cases, tmp_path: Path, sequences, classes, pairs="expert", centred=False, size=(16, 16), pixel=1.0):
    settings = STACKED | dict(layout(name).preprocessing) | {"spacing": [pixel] * 3}
    preprocessing = PreprocessingConfig.from_dict(settings)
    loading = Loading(tuple(sequences), tuple(classes), preprocessing, pairs, size, centred)
    return load_cases(cases, layout(name), loading, tmp_path / "c")


def test_chaos_pairs_slices_as_the_expert_did(tmp_path: Path):
    for number in (15, 39):
        write_chaos(tmp_path, number)
    cases = find_cases("chaos", tmp_path)
    assert [c.subject for c in cases] == ["15", "39"]
    subjects = load("chaos", cases, tmp_path, ("T1in", "T2SPIR"), ABDOMEN)
    assert subjects[1].images["T1in"].shape == (19, 16, 16)
    labels = subjects[0].sequence_labels["T2SPIR"][0]
    assert labels[0, :4].tolist() == [1, 2, 3, 4] and labels[15, 15] == 0 and (labels[4:8, 4:8] == 1).all()
    assert subjects[0].images["T1in"].min() == -1 and subjects[0].images["T1in"].max() == 1
    config = PairSamplingConfig(batch=2, sizes=((16, 16),))
    batch = PairSampler(subjects, ("T1in", "T2SPIR"), (), config, 0).batch(0)
    assert batch["images"]["T1in"].shape == (2, 1, 16, 16)


def test_chaos_slices_are_numbered_after_the_last_dash():
    assert slice_number(Path("IMG-0004-00042.dcm")) == 42
    assert slice_number(Path("i0007,0000b.dcm")) == 7
    assert slice_number(Path("liver_GT_007.png")) == 7


def test_chaos_without_masks_of_one_subject_is_refused(tmp_path: Path):
    write_chaos(tmp_path, 15)
    write_chaos(tmp_path, 20, masks=False)
    with pytest.raises(InputError, match=r"Subject 20 of CHAOS MR lacks the file .*Ground"):
        find_cases("chaos", tmp_path)
    assert [c.subject for c in find_cases("chaos", tmp_path, exclude=["20"])] == ["15"]


def test_lits_in_any_orientation(tmp_path: Path):
    volume = np.full((4, 16, 16), -1000, np.int16)
    volume[:, 2:6, 9:12] = 50
    labels = np.where(volume == 50, 1, 0).astype(np.uint8)
    labels[:, 3, 10] = 2
    for n, affine in enumerate((np.diag([1.0, 1, 5, 1]), np.diag([-1.0, -1, 5, 1]))):
        flip = (slice(None), slice(None, None, -1), slice(None, None, -1)) if n else slice(None)
        Image(volume[flip].copy(), affine).write(tmp_path / "Training Batch 1" / f"volume-{n}.nii")
        Image(labels[flip].copy(), affine).write(tmp_path / "Training Batch 2" / f"segmentation-{n}.nii")
    subjects = load(
        "lits", find_cases("lits", tmp_path), tmp_path, ("CT",), ("background", "liver"), size=(16, 16), pixel=1.0
    )
    a, b = (s.sequence_labels["CT"] for s in subjects)
    assert a.sum() == 48 and a.max() == 1
    assert np.allclose([np.argwhere(a).mean(0)], [np.argwhere(b).mean(0)], atol=1.01)


def test_mscmrseg_masks_of_some_patients(tmp_path: Path):
    place = tmp_path / "C0LET2_nii45_for_challenge19"
    random = np.random.default_rng(0)
    for patient in (1, 10):
        for key, depth in (("C0", 5), ("T2", 3), ("LGE", 5)):
            spacing = 10.0 if key != "T2" else 20.0
            image = random.integers(0, 500, (depth, 16, 16)).astype(np.int16)
            affine = np.diag([1.0, 1, spacing, 1])
            Image(image, affine).write(place / "c0t2lge" / f"patient{patient}_{key}.nii.gz")
            if patient == 1 or key != "LGE":
                mask = np.zeros(image.shape, np.int16)
                mask[:, 2:9, 2:9], mask[:, 4:6, 4:6], mask[:, 12:, 12:] = 200, 500, 600
                Image(mask, affine).write(place / f"{key.lower()}gt" / f"patient{patient}_{key}_manual.nii.gz")
    cases = find_cases("mscmrseg", tmp_path)
    assert [c.subject for c in cases] == ["patient1", "patient10"]
    heart = ("background", "myocardium", "left ventricle")
    one, ten = load("mscmrseg", cases, tmp_path, ("cine", "LGE"), heart, "position")
    assert sorted(np.unique(one.sequence_labels["LGE"])) == [0, 1, 2]
    assert (ten.sequence_labels["LGE"] == 255).all() and ten.sequence_labels["cine"].max() == 2
    alone = load("mscmrseg", cases, tmp_path, ("cine", "T2"), heart, "none")
    assert [s.name for s in alone] == ["patient1-cine", "patient1-T2", "patient10-cine", "patient10-T2"]
    with pytest.raises(InputError, match="Subject patient1 of MS-CMRSeg 2019: nobody has paired"):
        load("mscmrseg", cases, tmp_path, ("cine", "T2"), heart, "expert")
