"""``disentangle phantom``: mistakes are one sentence, and no folder holds parts of two subjects."""

from __future__ import annotations

from pathlib import Path

import pytest

from disentangle.cli import main
from disentangle.study import Study


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["spacing=abc"], "The option spacing of a phantom cannot be 'abc'"),
        (["noise=-3"], "The option noise of a phantom cannot be -3"),
        (["skull=maybe"], "The option skull of a phantom cannot be 'maybe'; give true or false"),
        (["seed=7"], "write --seed 7"),
        (["kind=heart"], "no option 'kind'"),
        (["skull=true", "skull=false"], "skull is given twice"),
        (["sequences=T9"], "'T9' is not a sequence"),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings: list[str], sentence: str, tmp_path: Path, capsys) -> None:
    assert main(["phantom", "brain", "-o", str(tmp_path), "lesions=none", *settings]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_brackets_is_a_list_of_one(tmp_path: Path) -> None:
    assert main(["phantom", "brain", "-o", str(tmp_path), "-q", "spacing=9", "missing=T2"]) == 0
    assert Study.from_folder(tmp_path / "brain-0").available == ("T1", "T1Gd", "FLAIR")


def test_a_phantom_is_not_written_over_one_with_other_sequences(tmp_path: Path, capsys) -> None:
    arguments = ["phantom", "brain", "-o", str(tmp_path), "-q", "spacing=9"]
    assert main([*arguments, "sequences=T2"]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "brain-0").iterdir()}
    assert main([*arguments, "sequences=T1"]) == 2
    error = capsys.readouterr().err
    assert "brain-0 holds T2.nii.gz, which this phantom would not replace" in error
    assert error.count("\n") == 1
    assert {p: p.read_bytes() for p in (tmp_path / "brain-0").iterdir()} == before
    assert main([*arguments, 'sequences=["T1","T2"]']) == 0
    assert Study.from_folder(tmp_path / "brain-0").available == ("T1", "T2")


def test_a_phantom_is_not_written_beside_tissues_of_another(tmp_path: Path, capsys) -> None:
    arguments = ["phantom", "brain", "-o", str(tmp_path), "-q", "spacing=9", "sequences=T1", "lesions=none"]
    assert main([*arguments, "--tissues"]) == 0
    assert main([*arguments, "--tissues"]) == 0
    assert main(arguments) == 2
    assert "brain-0 holds tissues/" in capsys.readouterr().err
