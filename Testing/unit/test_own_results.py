"""What Disentangle made is never taken for what a scanner made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from disentangle.inference import Result, SequenceFactors
from disentangle.sequences import guess_from_name, guess_sequence
from disentangle.study import Image, Study
from disentangle.study.reading import read_file


@pytest.fixture
def image() -> Image:
    return Image(np.arange(210, dtype=np.float32).reshape(5, 6, 7), np.eye(4))


@pytest.fixture
def results(tmp_path: Path, image: Image) -> Path:
    """A folder with a T1 and everything that a run on it may write."""
    factors = {s: SequenceFactors([image], image, np.zeros(2), image, image, image) for s in ("T1", "T1Gd", "T1in")}
    pairs = {(a, b): image for a in factors for b in ("T1", "T1Gd", "T2SPIR", "cine")}
    uncertainty = {"uncertainty": image, "lesion_uncertainty": image, "differences": {"FLAIR": image, "T1": image}}
    whole = Result(image, [], {"grey matter": image}, {"FLAIR": image, "T1": image}, factors, pairs, **uncertainty)
    image.write(whole.write(tmp_path) / "T1.nii.gz")
    return tmp_path


def test_no_file_of_a_result_is_guessed_to_be_a_sequence(results: Path) -> None:
    # factors/T1/input is the T1 itself on another grid.
    made = [p for p in results.rglob("*.nii.gz") if p.name not in ("T1.nii.gz", "input.nii.gz")]
    assert len(made) == 1 + 1 + 2 + 4 + 3 * 4 + 3 * 4
    for path in made:
        guess = guess_sequence(str(path.relative_to(results)), read_file(path).header)
        assert guess.sequence is None and guess.confidence > 0, path


def test_results_in_the_folder_of_a_study_are_left_out_with_a_warning(results: Path) -> None:
    study = Study.from_folder(results)
    assert study.available == ("T1",)
    for name in ("synthetic_FLAIR", "synthetic_T1", "difference_FLAIR", "difference_T1", "uncertainty"):
        assert any(f"{name}.nii.gz was left out: it looks like a " in warning for warning in study.warnings)


def test_a_synthetic_image_is_left_out_of_a_folder_whatever_it_is_called(results: Path) -> None:
    (results / "synthetic_FLAIR.nii.gz").rename(results / "FLAIR.nii.gz")
    (results / "synthetic_T1.nii.gz").rename(results / "case_t2.nii.gz")
    study = Study.from_folder(results)
    assert study.available == ("T1",)
    for name in ("FLAIR", "case_t2"):
        assert any(f"{name}.nii.gz was left out: its header says that it is synthetic" in w for w in study.warnings)


def test_a_map_of_probabilities_is_left_out_of_a_folder_by_its_header(results: Path) -> None:
    (results / "probabilities" / "grey_matter.nii.gz").rename(results / "grey_matter.nii.gz")
    assert any("grey_matter.nii.gz was left out" in warning for warning in Study.from_folder(results).warnings)


def test_a_synthetic_image_that_is_given_as_an_input_is_used_with_a_warning(results: Path) -> None:
    paths = {"T1": results / "T1.nii.gz", "FLAIR": results / "synthetic_FLAIR.nii.gz"}
    study = Study.read(paths)
    assert study.available == ("T1", "FLAIR")
    twice, ours = study.warnings  # the tree's images are all the same one
    assert "synthetic_FLAIR.nii.gz was given as FLAIR but is hardly an acquired one" in ours
    assert "are the same image, voxel for voxel" in twice


def test_a_stripped_image_that_is_given_as_an_input_is_no_reason_to_warn(tmp_path: Path, image: Image) -> None:
    """ "bet" may stand for the mask and for the brain inside it."""
    assert Study.read({"T1": image.write(tmp_path / "T1_bet.nii.gz")}).warnings == []


@pytest.mark.parametrize(
    "name",
    [
        "FLAIR (synthetic)",
        "FLAIR (synthetic)_1.nrrd",
        "T1Gd synthetic minus real",
        "T1 anatomy as FLAIR",
        "T1 channel 2",
    ]
    + ["T1 reconstruction", "T1 domain-agnostic_1", "T2SPIR anatomy map", "Uncertainty of the drawing"]
    + ["Live appearance (synthetic)", "Synthesised T2", "T1_synthesized"],
)
def test_a_volume_named_like_a_result_of_the_panel_is_no_sequence(name: str) -> None:
    guess = guess_from_name(name)
    assert guess.sequence is None and guess.confidence > 0


@pytest.mark.parametrize(
    "name", ["T1_anatomy", "T1 sag reconstruction", "T1 ANATOMICAL", "anat_T1w", "T1 channel combined"]
)
def test_words_of_our_results_in_the_names_of_series_say_nothing(name: str) -> None:
    assert guess_from_name(name).sequence == "T1"
