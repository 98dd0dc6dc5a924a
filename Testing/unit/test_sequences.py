"""The vocabulary, and what is guessed from names, headers and DICOM attributes."""

from __future__ import annotations

import pytest

from disentangle.errors import InputError
from disentangle.sequences import (
    SEQUENCES,
    canonical,
    guess_from_dicom,
    guess_from_header,
    guess_from_name,
    guess_sequence,
    sidecar_attributes,
)

NAMES = {
    "BraTS20_Training_001_t1ce.nii.gz": "T1Gd",
    "BraTS20_Training_001_t1.nii.gz": "T1",
    "BraTS20_Training_001_t2.nii.gz": "T2",
    "BraTS20_Training_001_flair.nii.gz": "FLAIR",
    "BraTS-GLI-00000-000-t1c.nii.gz": "T1Gd",
    "BraTS-GLI-00000-000-t1n.nii.gz": "T1",
    "BraTS-GLI-00000-000-t2f.nii.gz": "FLAIR",
    "BraTS-GLI-00000-000-t2w.nii.gz": "T2",
    "VSD.Brain.XX.O.MR_T1c.54513.nii": "T1Gd",
    "VSD.Brain.XX.O.MR_Flair.54512.mha": "FLAIR",
    "IXI012-HH-1211-T1.nii.gz": "T1",
    "IXI012-HH-1211-PD.nii.gz": "PD",
    "IXI012-HH-1211-T2.nii.gz": "T2",
    "CHAOS/MR/1/T1DUAL/DICOM_anon/InPhase": "T1in",
    "CHAOS/MR/1/T1DUAL/DICOM_anon/OutPhase": "T1out",
    "CHAOS/MR/1/T2SPIR/DICOM_anon": "T2SPIR",
    "AX T1 POST GAD": "T1Gd",
    "AX T1 PRE": "T1",
    "AX T1 W/O CONTRAST": "T1",
    "T1 without contrast": "T1",
    "t1_mprage_sag_p2_iso_KM": "T1Gd",
    "t1_mprage_sag_p2_iso": "T1",
    "SAG MPRAGE": "T1",
    "MPRAGE +C": "T1Gd",
    "Ax BRAVO": "T1",
    "AX FSPGR 3D POST": "T1Gd",
    "t2_tirm_tra_dark-fluid": "FLAIR",
    "t2_space_dark-fluid_sag_p2_iso": "FLAIR",
    "Ax T2 FLAIR FS": "FLAIR",
    "Sag Cube FLAIR": "FLAIR",
    "FLAIR post contrast": "FLAIR",
    "T1 FLAIR SAG": "T1",
    "T2W_TSE": "T2",
    "t2_tse_tra_512": "T2",
    "AX T2 FRFSE": "T2",
    "3DT1": "T1",
    "AXT2": "T2",
    "T1W_3D_TFE_GD": "T1Gd",
    "T1wCE": "T1Gd",
    "sub-01_ses-pre_ce-gadolinium_T1w.nii.gz": "T1Gd",
    "sub-01_ses-01_run-2_T1w.nii.gz": "T1",
    "sub-01_space-T1w_FLAIR.nii.gz": "FLAIR",
    "sub-01_acq-highres_T2w.nii.gz": "T2",
    "T1_to_FLAIR.nii.gz": "T1",
    "T2_in_T1_space.nii.gz": "T2",
    "pd_tse_tra": "PD",
    "ep2d_diff_3scan_trace_ADC": "ADC",
    "ep2d_diff_3scan_trace_TRACEW": "DWI",
    "DWI_b1000": "DWI",
    "Ax SWAN": "SWI",
    "patient7/LGE.nii.gz": "LGE",
    "SAX CINE trufi": "cine",
    "ct_train_1001_image.nii.gz": "CT",
    "FDG PET AC": "PET",
    "C:\\studies\\Müller\\T1Gd.nii.gz": "T1Gd",
    "T1/scan.nii.gz": "T1",
}


@pytest.mark.parametrize(("name", "sequence"), NAMES.items(), ids=list(NAMES))
def test_a_usual_name_is_guessed_surely(name: str, sequence: str) -> None:
    guess = guess_from_name(name)
    assert (guess.sequence, guess.sure) == (sequence, True), guess


@pytest.mark.parametrize(
    "name",
    [
        "image.nii.gz",
        "subject1.nii.gz",
        "part1",
        "volume_0042",
        "mr_train_1001_image.nii.gz",
        "T1map.nii.gz",
        "T2* GRE",
        "sub-01_T2starw",
        "PD+T2 TSE double echo",
        "localizer",
        "T1_seg.nii.gz",
        "FLAIR_lesion_mask.nii.gz",
        "AX T1 PRE AND POST",
        "TOF MRA",
        "AX TSE",
        "IXI012-HH-1211-MRA",
        "Perfusion T2",
        "STIR COR",
    ],
)
def test_an_unclear_name_is_never_sure_and_says_why(name: str) -> None:
    guess = guess_from_name(name)
    assert not guess.sure
    assert guess.reason


@pytest.mark.parametrize("info", SEQUENCES.values(), ids=lambda i: i.name)
def test_every_synonym_leads_to_its_sequence(info) -> None:
    for name in (info.name, info.name.upper(), info.name.lower(), *info.synonyms):
        assert canonical(name) == info.name


def test_an_unknown_sequence_is_one_clear_sentence_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"'AX T1 GAD axial brain' is not a sequence.*did you mean T1Gd\?.*FLAIR"):
        canonical("AX T1 GAD axial brain")


MR = {"Modality": "MR"}
DICOM = [
    ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "GADAVIST", "EchoTime": 9, "RepetitionTime": 500}, "T1Gd"),
    ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "", "EchoTime": 9, "RepetitionTime": 500}, "T1"),
    ({"SeriesDescription": "AX T1", "ContrastBolusAgent": "NONE"}, "T1"),
    ({"EchoTime": "9", "RepetitionTime": "550", "ScanningSequence": "SE"}, "T1"),
    ({"EchoTime": "9", "RepetitionTime": "550", "ScanningSequence": "SE", "ContrastBolusAgent": "Dotarem"}, "T1Gd"),
    ({"EchoTime": 100, "RepetitionTime": 4500, "ScanningSequence": ["SE"], "SequenceVariant": "SK"}, "T2"),
    ({"EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500, "ScanningSequence": "SE\\IR"}, "FLAIR"),
    ({"EchoTime": 3, "RepetitionTime": 1900, "InversionTime": 900, "ScanningSequence": "GR\\IR"}, "T1"),
    ({"SeriesDescription": "Head", "ProtocolName": "t2_tirm_tra_dark-fluid"}, "FLAIR"),
    ({"SeriesDescription": "diff", "ImageType": "DERIVED\\PRIMARY\\DIFFUSION\\ADC"}, "ADC"),
]


@pytest.mark.parametrize(("attributes", "sequence"), DICOM)
def test_dicom_attributes_tell_the_sequence(attributes: dict, sequence: str) -> None:
    guess = guess_from_dicom({**MR, **attributes})
    assert (guess.sequence, guess.sure) == (sequence, True), guess


def test_the_dicom_modality_decides_over_the_description() -> None:
    assert guess_from_dicom({"Modality": "CT", "SeriesDescription": "T1 spine level"}).sequence == "CT"
    assert guess_from_dicom({"Modality": "PT"}).sequence == "PET"
    assert guess_from_dicom({"Modality": "SEG", "SeriesDescription": "T1"}).sequence is None


def test_contradicting_evidence_is_not_sure() -> None:
    fluid_dark = {"EchoTime": 120, "RepetitionTime": 9000, "InversionTime": 2500, "ScanningSequence": "SE\\IR"}
    guess = guess_from_dicom({**MR, **fluid_dark, "SeriesDescription": "AX T1"})
    assert not guess.sure
    assert "T1" in guess.reason and "FLAIR" in guess.reason
    assert not guess_from_dicom({**MR, "SeriesDescription": "T1 PRE", "ContrastBolusAgent": "Gadavist"}).sure
    assert not guess_sequence("T1.nii.gz", dicom={**MR, "SeriesDescription": "T1 POST"}).sure


def test_what_a_word_often_means_yields_to_what_the_scanner_did() -> None:
    flair = {"Modality": "MR", "SeriesDescription": "AX TSE IR", "ScanningSequence": "SE\\IR"}
    flair |= {"EchoTime": "120", "RepetitionTime": "9000", "InversionTime": "2500"}
    guess = guess_sequence(name="5: AX TSE IR", dicom=flair)
    assert (guess.sequence, guess.confidence) == ("FLAIR", 0.85)
    assert guess_sequence(name="AX TSE", dicom={"EchoTime": "12", "RepetitionTime": "550"}).sequence == "T1"
    assert guess_sequence(name="AX TSE").sequence == "T2"


def test_agreeing_evidence_is_stronger_than_either() -> None:
    dicom = {**MR, "SeriesDescription": "AX T2", "EchoTime": 100, "RepetitionTime": 4500}
    assert guess_from_dicom(dicom).confidence > guess_from_name("AX T2").confidence


@pytest.mark.parametrize(
    ("meta", "sequence"),
    [
        ({"descrip": "TE=12;TR=450;Time=231118.330"}, "T1"),
        ({"descrip": "AX T1 POST"}, "T1Gd"),
        ({"0008|103e": "Ax T2 FLAIR", "0008|0060": "MR"}, "FLAIR"),
        ({"MultiVolume.DICOM.SeriesDescription": "AX T2"}, "T2"),
    ],
)
def test_header_texts_tell_the_sequence(meta: dict, sequence: str) -> None:
    guess = guess_from_header(meta)
    assert (guess.sequence, guess.sure) == (sequence, True), guess


def test_an_echo_time_alone_decides_nothing() -> None:
    assert not guess_from_header({"descrip": "TE=12;Time=231118.330"}).sure


def test_sidecar_times_are_seconds() -> None:
    attributes = sidecar_attributes({"EchoTime": 0.1, "RepetitionTime": 4.5, "ScanningSequence": "SE", "Other": 1})
    assert guess_from_dicom(attributes).sequence == "T2"
    assert "Other" not in attributes
