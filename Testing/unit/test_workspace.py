"""The folders through which panel and worker hand over data: in memory where they fit, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from disentangle.errors import InputError
from disentangle.study import Image, Study
from disentangle.worker import codec, workspace
from disentangle.worker.client import WorkerClient
from disentangle.worker.workspace import Workspace

GIB = 1 << 30
STUDY = Study({"T1": Image(np.arange(60.0, dtype=np.float32).reshape(3, 4, 5), np.eye(4), "T1")})


@pytest.fixture
def free(tmp_path: Path, monkeypatch) -> dict[str, int]:
    """Bytes that are free in a memory and on a disk of the test's own, which are folders of these names."""
    free = {"memory": 64 * GIB, "disk": 64 * GIB}
    for name in free:
        (tmp_path / name).mkdir()

    def usage(place):
        Path(place).stat()
        return SimpleNamespace(free=free[Path(place).relative_to(tmp_path).parts[0]])

    monkeypatch.setattr(workspace, "_SHARED_MEMORY", tmp_path / "memory")
    monkeypatch.setattr(workspace.tempfile, "tempdir", str(tmp_path / "disk"))
    monkeypatch.setattr(workspace.shutil, "disk_usage", usage)
    return free


def lies_in(path: Path, tmp_path: Path) -> str:
    return path.resolve().relative_to(tmp_path.resolve()).parts[0]


def files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "owner"]


def test_a_study_that_fits_is_handed_over_in_memory(free, tmp_path: Path) -> None:
    folder = Workspace().folder()
    assert codec.write_study(STUDY, folder / "study") == folder / "study"
    assert {lies_in(path, tmp_path) for path in files(tmp_path)} == {"memory"}


def test_a_study_larger_than_what_memory_has_left_is_handed_over_on_disk(free, tmp_path: Path) -> None:
    folder = Workspace().folder()
    free["memory"] = STUDY["T1"].array.nbytes + (1 << 20)  # it would fit, but leave nothing to others
    codec.write_study(STUDY, folder / "study")
    assert {lies_in(path, tmp_path) for path in files(tmp_path)} == {"disk"}
    assert np.array_equal(codec.read_study(folder / "study")["T1"].array, STUDY["T1"].array)


def test_voxels_of_the_study_before_are_not_read_again_wherever_they_lie(tmp_path: Path) -> None:
    array = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
    array[1, 1, 1] = np.nan
    reader, first = codec.StudyReader(), Study({"T1": Image(array, np.eye(4), "T1")})
    before = reader.read(codec.write_study(first, tmp_path / "a"))["T1"].array
    more = Study({"T2": Image(array + 1, np.eye(4), "T2"), **first.images})
    after = reader.read(codec.write_study(more, tmp_path / "b"))
    assert after["T1"].array is before
    assert after["T2"].array is not before
    np.testing.assert_array_equal(after["T2"].array, array + 1)
    for voxels in (before, after["T2"].array):
        with pytest.raises(ValueError, match="read-only"):
            voxels[0] = 0


def test_another_patients_voxels_in_files_of_the_same_name_size_and_date_are_read(tmp_path: Path) -> None:
    reader, array = codec.StudyReader(), np.zeros((3, 4, 5), np.float32)
    folder = codec.write_study(Study({"T1": Image(array, np.eye(4), "T1")}), tmp_path / "study")
    before = reader.read(folder)["T1"].array
    file = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    written = file.stat()
    with file.open("r+b") as content:
        content.seek(-4, os.SEEK_END)
        content.write(np.float32(7).tobytes())
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))
    after = reader.read(folder)["T1"].array
    assert after[2, 3, 4] == 7
    assert not before.any()


def test_memory_that_fills_while_a_study_is_written_is_no_error(free, tmp_path: Path, monkeypatch) -> None:
    folder, save = Workspace().folder(), np.save

    def crowded(path, *arguments, **options):
        if lies_in(Path(path), tmp_path) == "memory":
            raise OSError("Not enough free space to write 240 bytes")
        save(path, *arguments, **options)

    monkeypatch.setattr(codec.np, "save", crowded)
    codec.write_study(STUDY, folder / "study")
    assert {lies_in(path, tmp_path) for path in files(tmp_path)} == {"disk"}
    assert codec.read_study(folder / "study").available == ("T1",)


def test_an_answer_may_be_written_again_wherever_there_is_room_then(free, tmp_path: Path) -> None:
    folder = Workspace().folder()
    for n, place in enumerate(("memory", "disk", "disk", "memory")):
        free["memory"] = 64 * GIB if place == "memory" else 0
        codec.write({"image": np.full(3, n)}, folder / "answer")
        assert lies_in(folder / "answer", tmp_path) == place
        assert codec.read(folder / "answer")["image"].tolist() == [n] * 3


def test_no_room_anywhere_is_a_sentence_that_speaks_of_no_output_folder(free, tmp_path: Path, monkeypatch) -> None:
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    folder = Workspace().folder()
    monkeypatch.setattr(codec.np, "save", full)
    with pytest.raises(InputError) as error:
        codec.write_study(STUDY, folder / "study")
    assert f"{tmp_path / 'disk'}" in str(error.value)
    assert "No space left on device" in str(error.value)
    assert "output folder" not in str(error.value)
    assert not os.path.lexists(folder / "study")
    assert files(tmp_path) == []


@pytest.mark.parametrize("room", [64 << 20, None])
def test_little_or_no_shared_memory_is_not_used(free, tmp_path: Path, room: int | None) -> None:
    if room is None:
        (tmp_path / "memory").rmdir()
    else:
        free["memory"] = room  # a container's
    folder = Workspace().folder()
    codec.write_study(STUDY, folder / "study")
    assert {lies_in(path, tmp_path) for path in files(tmp_path)} == {"disk"}
    assert not (folder / "study").is_symlink()


@pytest.mark.parametrize("end", ["discard", "close"])
def test_what_was_handed_over_in_memory_and_on_disk_is_deleted(free, tmp_path: Path, end: str) -> None:
    client = WorkerClient()
    folder = client.folder()
    codec.write_study(STUDY, folder / "small")
    free["memory"] = 0
    codec.write_study(STUDY, folder / "large")
    assert {lies_in(path, tmp_path) for path in files(tmp_path)} == {"memory", "disk"}
    client.discard(folder) if end == "discard" else client.close()
    assert files(tmp_path) == []
    assert not folder.exists()
    client.close()
    assert list((tmp_path / "memory").iterdir()) == list((tmp_path / "disk").iterdir()) == []


def test_the_next_session_deletes_what_a_session_that_died_before_its_worker_ran_has_left(free, tmp_path) -> None:
    script = f"""
import os, pathlib, tempfile
from disentangle.worker import workspace
from disentangle.worker.client import WorkerClient
workspace._SHARED_MEMORY = pathlib.Path({str(tmp_path / "memory")!r})
workspace._ROOM = 0
tempfile.tempdir = {str(tmp_path / "disk")!r}
client = WorkerClient()
folder = client.folder()
for place in (folder, workspace.spare_of(folder)):
    place.mkdir(exist_ok=True)
    (place / "patient.npy").write_text("private", encoding="utf-8")
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert len(files(tmp_path)) == 2
    folder = WorkerClient().folder()
    assert files(tmp_path) == []
    assert folder.exists()


def test_folders_of_the_living_and_of_nobody_known_stay(free, tmp_path: Path) -> None:
    living = Workspace()
    codec.write_study(STUDY, living.folder() / "study")
    unknown, begun, elsewhere = (tmp_path / "disk" / f"disentangle-{n}" for n in ("tests", "begun", "link"))
    unknown.mkdir()  # other programs and tests have folders with such names
    begun.mkdir()
    (begun / "owner").touch()  # a session that is about to lock it
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "owner").write_text("1", encoding="ascii")
    elsewhere.symlink_to(target, target_is_directory=True)
    there = sorted(tmp_path.rglob("*"))
    Workspace().close()
    assert sorted(tmp_path.rglob("*")) == there


def test_a_place_where_files_cannot_be_locked_is_used_and_nothing_in_it_is_taken_for_abandoned(
    free, tmp_path: Path, monkeypatch
) -> None:
    lock = workspace._lock

    def no_locks(file, wait):
        if wait:
            raise OSError(95, "Operation not supported")
        return lock(file, wait)

    monkeypatch.setattr(workspace, "_lock", no_locks)
    folder = Workspace().folder()
    Workspace()
    assert folder.exists()
