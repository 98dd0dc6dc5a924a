"""DICOM headers damaged byte by byte: the study box reads them while it is shown, and must not fail of any."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

pytest.importorskip("slicer", reason="slicer-core is not installed")
from disentangle.mrml import studies

VALUES = {"Modality": "MR", "SeriesDescription": "ax T1", "EchoTime": "12", "RepetitionTime": "500"}


@pytest.fixture
def header(tmp_path: Path) -> Path:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    for name, value in VALUES.items():
        setattr(data, name, value)
    pydicom.dcmwrite(tmp_path / "x.dcm", data, enforce_file_format=True)
    return tmp_path / "x.dcm"


def test_a_header_of_damaged_bytes_never_raises(header: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    raw, chance = header.read_bytes(), random.Random(1)
    for _ in range(400):
        damaged = bytearray(raw)
        for _byte in range(chance.choice([1, 1, 2, 4])):
            damaged[chance.randrange(132, len(damaged))] = chance.randrange(256)
        header.write_bytes(damaged)
        assert isinstance(studies._read_header("x", str(header)), dict)


def test_a_value_that_cannot_be_decoded_leaves_the_others(header: Path) -> None:
    raw = header.read_bytes()
    place = raw.index(b"DS", raw.index(b"\x18\x00\x81\x00"))  # the kind of the echo time's value
    header.write_bytes(raw[:place] + b"UZ" + raw[place + 2 :])
    found = studies._read_header("x", str(header))
    assert "ax T1" in found.values() and 12 not in found.values()
