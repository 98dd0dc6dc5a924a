"""Which files belong to one study, by their folders and names alone."""

from __future__ import annotations

import pytest

from disentangle.mrml.sources import Source, groups_of
from disentangle.sequences import guess_from_name

TOGETHER = {
    "files of one folder": ["p/T1.nii.gz", "p/T2.nii.gz", "p/FLAIR.nii.gz"],
    "a folder per sequence": ["p/T1/T1.nii.gz", "p/FLAIR/FLAIR.nii.gz"],
    "a folder per series, one repeated": ["p/003_T1/im.nii", "p/004_T1/im.nii", "p/005_FLAIR/im.nii"],
    "a sequence repeated in one folder": ["p/T1.nii", "p/T1_repeat.nii", "p/FLAIR.nii"],
    "numbered series, one repeated": ["p/3_T1.nii", "p/4_T1.nii", "p/5_FLAIR.nii"],
    "planes": ["p/ax_T1.nii", "p/sag_T1.nii", "p/ax_FLAIR.nii", "p/T2.nii"],
    "before and after contrast agent": ["p/pre_T1.nii", "p/post_T1.nii", "p/pre_FLAIR.nii", "p/T2.nii"],
    "folders of a BIDS subject": ["sub-01/anat/sub-01_T1w.nii", "sub-01/dwi/sub-01_dwi.nii"],
}
APART = {
    "a folder each": (["anna/T1.nii", "anna/FLAIR.nii"], ["bert/T1.nii", "bert/T2.nii", "bert/FLAIR.nii"]),
    "a folder each, of one sequence each": (
        ["anna/T1/T1.nii", "anna/FLAIR/FLAIR.nii"],
        ["bert/T1/T1.nii", "bert/FLAIR/FLAIR.nii"],
    ),
    "names in one folder": (["all/anna_T1.nii", "all/anna_FLAIR.nii"], ["all/bert_T1.nii", "all/bert_T2.nii"]),
    "names of folders of one sequence": (["anna_T1/im.nii", "anna_FLAIR/im.nii"], ["bert_T1/im.nii", "bert_T2/im.nii"]),
    "BIDS subjects that share no sequence": (["all/sub-01_T1w.nii", "all/sub-01_T2w.nii"], ["all/sub-02_FLAIR.nii"]),
    "visits": (["sub-01/ses-1/T1.nii", "sub-01/ses-1/T2.nii"], ["sub-01/ses-2/T1.nii"], ["sub-02/ses-1/T1.nii"]),
    "an unnamed file in a folder": (["anna/T1.nii", "anna/FLAIR.nii", "anna/scan5.nii"], ["bert/T1.nii"]),
    "an older visit below": (["p/T1.nii", "p/FLAIR.nii"], ["p/old/T1.nii", "p/old/FLAIR.nii"]),
}


def groups(paths: list[str]) -> dict[str, tuple[str, ...]]:
    return groups_of({path: Source(f"/data/{path}", guess_from_name(path).sequence) for path in paths})


@pytest.mark.parametrize("paths", TOGETHER.values(), ids=TOGETHER)
def test_files_of_one_study_stay_together(paths: list[str]) -> None:
    assert set(groups(paths).values()) == {()}


@pytest.mark.parametrize("studies", APART.values(), ids=APART)
def test_files_of_different_studies_are_told_apart(studies: tuple[list[str], ...]) -> None:
    found = groups([path for study in studies for path in study])
    names = [{found[path] for path in study} for study in studies]
    assert all(len(name) == 1 for name in names), found
    assert len(set.union(*names)) == len(studies)


def test_studies_are_called_what_tells_them_apart() -> None:
    assert set(groups(APART["a folder each"][0] + APART["a folder each"][1]).values()) == {("anna",), ("bert",)}
    assert ("sub-01", "ses-2") in groups([path for study in APART["visits"] for path in study]).values()
