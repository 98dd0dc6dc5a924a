"""DICOM studies: real files, read by Slicer's own reader, put into the scene as its DICOM browser does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from bench import dialogs
from dicom_files import dicom_slice

HEADERS: dict[str, dict[str, Any]] = {
    "T1": {"SeriesDescription": "AX SE PRE", "ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 12},
    "T1Gd": {
        "SeriesDescription": "AX SE POST",
        "ScanningSequence": "SE",
        "RepetitionTime": 550,
        "EchoTime": 12,
        "ContrastBolusAgent": "Gadovist",
    },
    "T2": {"SeriesDescription": "AX TSE", "ScanningSequence": "SE", "RepetitionTime": 5200, "EchoTime": 98},
    "FLAIR": {
        "SeriesDescription": "AX TSE IR",
        "ScanningSequence": ["SE", "IR"],
        "RepetitionTime": 9000,
        "EchoTime": 120,
        "InversionTime": 2500,
    },
}
"""What scanners write, with descriptions that do not tell the sequence by themselves."""


def write_series(folder: Path, image: Any, study: str, header: dict[str, Any], modality: str = "MR") -> list[Path]:
    """One file per slice of an image [k, j, i]."""
    folder.mkdir(parents=True)
    affine, array = image.affine, np.asarray(image.array, dtype=np.float64)
    stored = np.round(4000 * (array - array.min()) / np.ptp(array)).astype(np.uint16)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    columns = affine[:3, :3] / size
    common = {
        "PatientName": "Doe^Anna",
        "PatientID": "17",
        "Modality": modality,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": generate_uid(),
        "PixelSpacing": [float(size[1]), float(size[0])],
        "SliceThickness": float(size[2]),
        "ImageOrientationPatient": [float(f"{v:.6g}") for v in (*columns[:, 0], *columns[:, 1])],
        **header,
    }
    files = []
    for k, pixels in enumerate(stored):
        position = [float(f"{v:.8g}") for v in (affine @ [0, 0, k, 1])[:3]]
        item = dicom_slice(pixels, InstanceNumber=k + 1, ImagePositionPatient=position, **common)
        files.append(folder / f"{k:03d}.dcm")
        item.save_as(files[-1], enforce_file_format=True)
    return files


@pytest.fixture
def database(slicer_bench: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """instance UID -> file. ctkDICOMDatabase is part of the application: of it, the one question is answered."""
    import slicer

    known: dict[str, Path] = {}
    answers = SimpleNamespace(fileForInstance=lambda uid: str(known.get(uid, "")))
    monkeypatch.setattr(slicer, "dicomDatabase", answers, raising=False)
    return known


def load(files: list[Path], number: int, database: dict[str, Path]) -> Any:
    """As DICOMScalarVolumePlugin: the volume first, then its attributes and its place in the subject hierarchy."""
    import slicer

    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    database.update({str(h.SOPInstanceUID): file for h, file in zip(headers, files, strict=True)})
    first = headers[0]
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(files[0]))
    storage.ResetFileNameList()
    for file in files:
        storage.AddFileName(str(file))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{number}: {first.SeriesDescription}")
    assert storage.ReadData(node)
    node.CreateDefaultDisplayNodes()
    node.SetAttribute("DICOM.instanceUIDs", " ".join(str(h.SOPInstanceUID) for h in headers))
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = tree.GetItemByName("Doe^Anna") or tree.CreateSubjectItem(tree.GetSceneItemID(), "Doe^Anna")
    study = tree.GetItemChildWithName(patient, "Head") or tree.CreateStudyItem(patient, "Head")
    item = tree.GetItemByDataNode(node)
    tree.SetItemParent(item, study)
    tree.SetItemAttribute(item, "DICOM.Modality", str(first.Modality))
    return node


def images(study_folder: Path) -> dict[str, Any]:
    from disentangle.study import Image

    return {name: Image.read(study_folder / f"{name}.nii.gz") for name in HEADERS}


def chosen(panel: Any) -> dict[str, str]:
    return {sequence: node.GetName() for sequence, node in panel.studyBox.nodes().items()}


def test_a_dicom_study_is_assigned_by_its_headers_and_segmented(
    tiny_models: Any,
    database: dict[str, Path],
    study_folder: Path,
    load_module: Any,
    click: Any,
    wait_until: Any,
    tmp_path: Path,
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    study, nodes = generate_uid(), {}
    for number, (name, image) in enumerate(images(study_folder).items(), 2):
        files = write_series(tmp_path / name, image, study, HEADERS[name])
        nodes[name] = load(files, number, database)
    wait_until(lambda: len(chosen(panel)) == 4, 10, "the rows")
    assert chosen(panel) == {name: node.GetName() for name, node in nodes.items()}
    assert all("sure" in row.guess.text for row in panel.studyBox.rows.values()), [
        row.guess.text for row in panel.studyBox.rows.values()
    ]
    click(panel.ui.applyButton)
    wait_until(lambda: not panel.logic.runner.busy, 300, "the segmentation")
    assert dialogs.shown == []
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    item = tree.GetItemByDataNode(panel.outputs.segmentation)
    assert tree.GetItemName(tree.GetItemAncestorAtLevel(item, level)) == "Doe^Anna"


def test_a_ct_series_is_no_t1(
    tiny_models: Any, database: dict[str, Path], study_folder: Path, load_module: Any, tmp_path: Path
) -> None:
    files = write_series(
        tmp_path / "CT", images(study_folder)["T1"], generate_uid(), {"SeriesDescription": "HEAD"}, "CT"
    )
    node = load(files, 5, database)
    panel = load_module("DisentangleSeg")
    assert chosen(panel) == {}
    panel.studyBox.rows["T1"].combo.setCurrentNode(node)
    panel.updateReadiness()
    assert not panel.ui.applyButton.enabled
    assert "is CT, not MR" in panel.ui.applyButton.toolTip


def test_a_header_that_is_gone_leaves_the_name_to_go_by(
    tiny_models: Any, database: dict[str, Path], study_folder: Path, load_module: Any, tmp_path: Path
) -> None:
    files = write_series(
        tmp_path / "FLAIR", images(study_folder)["FLAIR"], generate_uid(), {"SeriesDescription": "ax FLAIR"}
    )
    load(files, 3, database)
    for file in files:
        file.unlink()
    panel = load_module("DisentangleSeg")
    assert chosen(panel) == {"FLAIR": "3: ax FLAIR"}


def test_a_header_is_read_again_where_the_file_is_another_and_only_then(
    tiny_models: Any, database: dict[str, Path], study_folder: Path, load_module: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slicer_bench: Any,
) -> None:  # fmt: skip
    def series(name: str) -> list[Path]:
        return write_series(tmp_path / name, images(study_folder)["T2"], generate_uid(), HEADERS[name])

    (file, *_), (gone, *_) = files = series("T1"), series("FLAIR")
    node, _other = (load(found, number, database) for number, found in enumerate(files))
    gone.unlink()
    read: list[Path] = []
    real = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda path, **how: read.append(Path(path)) or real(path, **how))
    with caplog.at_level("INFO"):
        panel = load_module("DisentangleSeg")
        for _time in range(2):
            panel.studyBox.assign()
            panel.updateReadiness()
    assert chosen(panel)["T1"] == node.GetName()
    assert sorted(read) == sorted([file, gone])
    assert sum("cannot be read" in record.getMessage() for record in caplog.records) == 1
    header = real(file)
    for attribute, value in HEADERS["T2"].items():
        setattr(header, attribute, value)
    header.save_as(file)
    panel.studyBox.assign()
    assert chosen(panel) == {"T2": node.GetName()}
