"""DICOM files for tests of every level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)


def dicom_slice(pixels: np.ndarray, **tags: Any) -> pydicom.dataset.FileDataset:
    """An MR slice, uint16 [j, i], with a UID of its own; ``tags`` are further attributes by keyword."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    item.Modality = "MR"
    item.Rows, item.Columns = pixels.shape
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 0
    item.PixelData = np.asarray(pixels, np.uint16).tobytes()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def dicom_object(kind: str, modality: str, **tags: Any) -> pydicom.dataset.FileDataset:
    """An object without pixels of the SOP class ``kind``: a report, a plan, a document."""
    item = dicom_slice(np.zeros((2, 2)), Modality=modality, SOPClassUID=kind, **tags)
    item.file_meta.MediaStorageSOPClassUID = kind
    for keyword in ("Rows", "Columns", "PixelData", "SamplesPerPixel", "PhotometricInterpretation"):
        delattr(item, keyword)
    return item


def frame(
    position: Sequence[float], echo: float = 3.0, slope: float = 1.0, orientation: Sequence[float] = ()
) -> Dataset:
    """The attributes of one frame of a multi-frame file."""
    item = Dataset()
    for keyword, values in {
        "PlanePositionSequence": {"ImagePositionPatient": list(position)},
        "MREchoSequence": {"EffectiveEchoTime": echo},
        "PixelValueTransformationSequence": {"RescaleIntercept": 0, "RescaleSlope": slope, "RescaleType": "US"},
        "PlaneOrientationSequence": {"ImageOrientationPatient": list(orientation)} if orientation else {},
    }.items():
        if values:
            setattr(item, keyword, [_dataset(values)])
    return item


def write_multi_frame(
    path: Path,
    pixels: np.ndarray,
    frames: Sequence[Dataset],
    implicit: bool = False,
    open_ended: bool = False,
    **tags: Any,
) -> None:
    """An Enhanced MR file, uint16 (frames, j, i) of 0.5 x 0.75 mm, in sagittal slices unless the frames say otherwise.

    Args:
        implicit: stored without value representations.
        open_ended: with sequences and items of undefined length.
    """
    place = {"PlaneOrientationSequence": [_dataset({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]})]}
    shared = _dataset({"PixelMeasuresSequence": [_dataset({"PixelSpacing": [0.5, 0.75], "SliceThickness": 4})]})
    if "PlaneOrientationSequence" not in frames[0]:
        shared.update(_dataset(place))
    item = dicom_slice(pixels[0], SOPClassUID=EnhancedMRImageStorage, NumberOfFrames=len(frames), **tags)
    item.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    item.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    item.SharedFunctionalGroupsSequence, item.PerFrameFunctionalGroupsSequence = [shared], list(frames)
    # A sequence that nobody asks for, with pixels of its own, and one without content.
    icon = dicom_slice(np.zeros((2, 2)))
    item.IconImageSequence, item.ReferencedStudySequence = [_dataset({"Rows": 2, "PixelData": icon.PixelData})], []
    item["PixelData"].VR = "OW"
    item.PixelData = np.asarray(pixels, np.uint16).tobytes()
    if open_ended:
        _open_ends(item)
    item.save_as(path, enforce_file_format=True)


def _dataset(values: dict[str, Any]) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    if "PixelData" in item:
        item["PixelData"].VR = "OW"
    return item


def _open_ends(item: Dataset) -> None:
    for element in item:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for inner in element.value:
                inner.is_undefined_length_sequence_item = True
                _open_ends(inner)
