"""DICOM files for tests of every level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


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
