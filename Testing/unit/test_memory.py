"""What was found about images before: shared by threads and processes, and never about another study."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from disentangle.preprocessing import Memory, study_key, surely_same
from disentangle.preprocessing import memory as memory_module
from disentangle.study import Image, Study

RNG = np.random.default_rng(8)


def image(sequence: str | None = None) -> Image:
    return Image(RNG.random((4, 5, 6)).astype(np.float32), np.eye(4), sequence=sequence)


def mask_of(like: Image, edited: bool = False) -> Image:
    array = np.zeros(like.array.shape, np.uint8)
    array[1:3, 1:4, 1:4] = 1
    array[0, 0, 0] = edited
    return Image(array, like.affine)


class Interrupted(OrderedDict):
    """Findings of which another thread drops one as soon as somebody has seen that it is there."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self._memory = memory

    def move_to_end(self, key: str, last: bool = True) -> None:
        other = threading.Thread(target=self._memory._keep, args=["other", {}])
        other.start()
        other.join(0.1)  # it ends within that time unless it has to wait for this thread
        super().move_to_end(key, last)


def test_what_another_thread_drops_meanwhile_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "_IN_MEMORY", 1)
    memory = Memory()
    memory._found = Interrupted(memory)
    memory.remember("a", {"x": 1})
    assert int(memory.recall("a")["x"]) == 1


def test_two_processes_that_store_the_same_entry_do_not_write_into_one_file(tmp_path: Path, monkeypatch) -> None:
    written: list[Path] = []
    write = Path.write_bytes

    def meanwhile(path: Path, content: bytes) -> int:
        written.append(path)
        size = write(path, content)
        if len(written) == 1:
            Memory(tmp_path).remember("a", {"x": 2})  # the other one
        return size

    monkeypatch.setattr(Path, "write_bytes", meanwhile)
    Memory(tmp_path).remember("a", {"x": 1})
    assert len(set(written)) == 2
    assert int(Memory(tmp_path).recall("a")["x"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_entry_that_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "another program has it open")

    monkeypatch.setattr(Path, "replace", refuse)
    memory = Memory(tmp_path)
    memory.remember("a", {"x": 1})
    assert list(tmp_path.iterdir()) == []
    assert int(memory.recall("a")["x"]) == 1


def test_what_a_process_left_half_written_goes_and_what_one_is_writing_stays(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.tmp", tmp_path / ".b.0123abcd.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    ago = old.stat().st_mtime - 2 * memory_module._UNFINISHED_S
    os.utime(old, (ago, ago))
    Memory(tmp_path).remember("c", {"x": 1})
    assert {path.name for path in tmp_path.iterdir()} == {new.name, "c.npz"}


def test_of_too_many_entries_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "_ENTRIES", 2)
    for age, key in ((20, "b"), (30, "a"), (10, "c")):
        (tmp_path / f"{key}.npz").write_bytes(b"")
        then = (tmp_path / f"{key}.npz").stat().st_mtime - age
        os.utime(tmp_path / f"{key}.npz", (then, then))
    Memory(tmp_path).remember("d", {"x": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"c.npz", "d.npz"}


def test_whatever_preparing_a_study_depends_on_makes_it_another_study() -> None:
    t1, t2 = image("T1"), image("T2")
    images, labels, mask = {"T1": t1, "T2": t2}, mask_of(t1), mask_of(t1)
    whole = {"name": "a", "labels": labels, "masks": {"T1": mask}, "label_names": {1: "lesion"}}
    whole |= {"warnings": ["w"], "sequence_labels": {"T2": labels}}
    others = [
        {"name": "b"},
        {"labels": mask_of(t1, edited=True)},
        {"labels": None},
        {"masks": {"T1": mask_of(t1, edited=True)}},
        {"masks": {"T2": mask}},
        {"masks": {}},
        {"label_names": {1: "oedema"}},
        {"warnings": []},
        {"sequence_labels": {"T2": mask_of(t1, edited=True)}},
    ]
    studies = [Study(images, **whole), Study({"T1": t1, "T2": image("T2")}, **whole)]
    studies += [Study(images, **{**whole, **other}) for other in others]
    assert study_key(Study(dict(images), **whole)) == study_key(studies[0])
    assert len({study_key(study) for study in studies}) == len(studies)
    for one in (t1, t2, labels, mask):
        one.array.setflags(write=False)
    again = Study({name: replace(one) for name, one in images.items()}, **whole)
    assert [surely_same(again, study) for study in studies] == [True] + [False] * (len(studies) - 1)


def test_a_study_whose_voxels_somebody_may_have_changed_is_not_surely_the_same() -> None:
    t1 = image("T1")
    study = Study({"T1": t1})
    assert not surely_same(study, study)
    view = t1.array[:]
    view.setflags(write=False)  # of an array that can still be written to
    assert not surely_same(Study({"T1": replace(t1, array=view)}), Study({"T1": replace(t1, array=view)}))
