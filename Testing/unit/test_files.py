"""Files that replace others: all of them, or none and everything is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from disentangle.errors import InputError
from disentangle.inference import staged_outputs
from disentangle.study import write_atomically


def content(folder: Path) -> dict[str, str]:
    """What is in a folder: texts by path, hidden files and empty folders included."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: "" if path.is_dir() else path.read_text(encoding="utf-8") for name, path in sorted(found.items())}


def fill(folder: Path, names: list[str], text: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def stage(folder: Path, names: list[str], text: str = "new") -> None:
    """Several outputs of a command."""
    with staged_outputs(folder) as staging:
        for name in names:
            staging.path(folder / name).write_text(text, encoding="utf-8")


def write(folder: Path, names: list[str], text: str = "new") -> None:
    """A folder of files, written into one that may be there."""
    with write_atomically(folder) as temporary:
        fill(temporary, names, text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "out", ["a", "b", "below/c", "z", "mine"], "old")
    return tmp_path / "out"


def broken(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, after: bool = False) -> None:
    """The first move of a new file to a name fails, or fails after the file has arrived."""
    replace, failed = Path.replace, []

    def move(source: Path, target: Path) -> Path:
        if Path(target).name != name or failed:
            return replace(source, target)
        failed.append(target)
        if after:
            replace(source, target)
        raise error

    monkeypatch.setattr(Path, "replace", move)


MANNERS = pytest.mark.parametrize("manner", [stage, write])


@MANNERS
def test_new_files_take_the_place_of_the_old_ones_and_leave_the_others_alone(manner, folder: Path) -> None:
    manner(folder, ["a", "below/c", "new/d"])
    assert content(folder.parent / "out") == {
        **{"a": "new", "b": "old", "below": "", "below/c": "new", "mine": "old"},
        **{"new": "", "new/d": "new", "z": "old"},
    }
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


@MANNERS
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "error, raised", [(PermissionError(13, "no"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_file_that_cannot_be_replaced_leaves_all_of_them_as_they_were(
    manner, error, raised, after: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(folder.parent)
    broken(monkeypatch, "z", error, after)
    with pytest.raises(raised):
        manner(folder, ["a", "below/c", "below/d", "new/e", "z"])
    assert content(folder.parent) == before


@MANNERS
def test_a_new_file_that_cannot_arrive_takes_the_others_back(manner, folder: Path, monkeypatch) -> None:
    before = content(folder.parent)
    broken(monkeypatch, "zz", KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt):
        manner(folder, ["a", "new/b", "zz"])
    assert content(folder.parent) == before


@MANNERS
def test_a_folder_of_the_name_of_a_file_is_named_and_stays_with_all_else(manner, folder: Path) -> None:
    (folder / "y").mkdir()
    fill(folder, ["y/private"], "old")
    before = content(folder.parent)
    with pytest.raises(InputError, match=r"out.y is a folder and no file can replace it; rename it or"):
        manner(folder, ["a", "below/c", "y"])
    assert content(folder.parent) == before


def test_a_file_of_the_name_of_a_folder_stays_with_all_else(folder: Path) -> None:
    before = content(folder.parent)
    with pytest.raises(InputError, match="a part of its path is a file"):
        write(folder, ["a", "b/c"])
    assert content(folder.parent) == before


def test_the_old_file_is_there_until_the_moment_when_a_single_new_one_is(folder: Path, monkeypatch) -> None:
    seen: list[bool] = []
    replace = Path.replace

    def move(source: Path, target: Path) -> Path:
        seen.append((folder / "a").exists())
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", move)
    with write_atomically(folder / "a") as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert seen == [True] and (folder / "a").read_text(encoding="utf-8") == "new"


def test_a_block_that_writes_nothing_takes_nothing_away(folder: Path) -> None:
    before = content(folder.parent)
    with pytest.raises(InputError, match="cannot be written"), write_atomically(folder / "a"):
        pass
    with pytest.raises(InputError, match="cannot be written"), staged_outputs(folder) as staging:
        staging.path(folder / "b").write_text("new", encoding="utf-8")
        staging.path(folder / "z")
    assert content(folder.parent) == before


@MANNERS
def test_a_disk_that_fails_in_between_keeps_the_old_file_under_another_name(manner, folder: Path, monkeypatch) -> None:
    replace, moved = Path.replace, []

    def move(source: Path, target: Path) -> Path:
        if moved:
            raise OSError(5, "Input/output error")
        moved.append(target)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", move)
    fill(folder, ["a"], "the only copy")
    with pytest.raises(InputError, match="Input/output error"):
        manner(folder, ["a", "z"])
    assert "the only copy" in content(folder).values()
