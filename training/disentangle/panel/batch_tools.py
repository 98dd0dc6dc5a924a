"""Many studies, one after the other: folders on disk, or the patients of the scene. Failures are listed, not fatal."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from ..errors import Cancelled, InputError
from ..mrml import hierarchy
from ..mrml.studies import Owner, assign_nodes, owner_name, owners_of
from ..mrml.text import _
from ..mrml.volumes import image_from_node
from ..study import IMAGE_SUFFIXES, write_atomically
from .tasks import Job, Task, Wanted

SUMMARY = "batch.csv"


@dataclass(eq=False)
class Entry:
    """A study of a batch.

    Attributes:
        name: of the study, and of its folder of results.
        folder: where its files are; None where its volumes are in the scene.
        nodes: sequence -> volume, where they are in the scene.
        status: "waiting", "running", "done", "skipped", "failed".
        message: why it failed, or what the run noted.
        volumes: structure -> ml.
    """

    name: str
    folder: Path | None = None
    nodes: dict[str, Any] = field(default_factory=dict)
    status: str = "waiting"
    message: str = ""
    seconds: float = 0.0
    volumes: dict[str, float] = field(default_factory=dict)


def studies_in(folder: str | Path) -> list[Entry]:
    """The studies of a folder: each folder in it that holds images or further folders (DICOM), or the folder itself.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(_("{folder} is not a folder; choose one that holds a folder per study.").format(folder=root))
    children = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [Entry(p.name, p) for p in children if any(p.iterdir())]
    if not found and any(p.name.lower().endswith(tuple(IMAGE_SUFFIXES)) for p in root.iterdir()):
        found = [Entry(root.name, root)]
    if not found:
        raise InputError(
            _("There are no studies in {folder}; choose a folder with a folder per study.").format(folder=root)
        )
    return found


def studies_of_scene(sequences: tuple[str, ...]) -> list[Entry]:
    """The studies of the scene (a patient's visits, say, or files that are told apart, see :func:`owners_of`) that have
    a volume of one of the sequences.

    Raises:
        InputError: there are none.
    """
    scene = slicer.mrmlScene
    firsts: dict[Owner, str] = {}
    for name, owner in owners_of(scene).items():
        firsts.setdefault(owner, name)
    found = []
    for owner, name in firsts.items():
        proposals = assign_nodes(scene, sequences, like=scene.GetNodeByID(name))
        if proposals:
            found.append((owner, {sequence: proposal.node for sequence, proposal in proposals.items()}))
    if not found:
        raise InputError(_("No volume of the scene looks like one of {names}.").format(names=", ".join(sequences)))
    patients = [owner.patient for owner, _nodes in found]
    return [Entry(_name(owner, patients.count(owner.patient) > 1, nodes), None, nodes) for owner, nodes in found]


def _name(owner: Owner, several: bool, nodes: Mapping[str, Any]) -> str:
    """What a study of the scene is called: its patient, and the study where the patient has several."""
    first = next(iter(nodes.values()))
    visit = owner.study and (several or not owner.patient)
    study = hierarchy.tree(slicer.mrmlScene).GetItemName(owner.study) if visit else ""
    return ", ".join(filter(None, (owner_name(first, owner), study))) or _("Scene")


@dataclass(frozen=True)
class Making:
    """From what, and like what, a batch makes targets.

    Attributes:
        source: the one sequence to read of each study; "" reads all.
        examples: target -> volume of any subject, whose appearance it takes.
    """

    source: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict)


def refuse_while_busy(logic: Any) -> None:
    """A batch that began now would count each of its studies as failed.

    Raises:
        InputError: something is being computed.
    """
    if logic.runner.busy:
        raise InputError(_("A computation is under way; wait for it or cancel it."))


class Batch:
    """Runs entries one after the other.

    Args:
        logic: starts the runs.
        entries: the studies.
        wanted: what to compute for each.
        output: folder for results of studies from files; ``batch.csv`` there lists them.
        resume: leave out studies whose results are there.
        onChange: called whenever an entry changes.
        onDone: called when all are over.
        making: from what, and like what, targets are made.

    Raises:
        InputError: no folder for the results of studies from files, or a look that is no image.
    """

    def __init__(
        self,
        logic: Any,
        entries: list[Entry],
        wanted: Wanted,
        output: str | Path | None = None,
        resume: bool = True,
        onChange: Callable[[Entry], None] | None = None,
        onDone: Callable[[Batch], None] | None = None,
        making: Making | None = None,
    ) -> None:
        self.logic, self.entries, self.wanted = logic, entries, wanted
        self.output = Path(output) if output else None
        self.resume = resume
        self.making = making or Making()
        self._on_change, self._on_done = onChange or (lambda entry: None), onDone or (lambda batch: None)
        self._current: Entry | None = None
        self._advancing = False
        self.done = False
        if self.output is None and any(entry.folder is not None for entry in entries):
            raise InputError(_("Choose a folder for the results."))
        # As they are now: the scene may be closed while studies from files are run.
        self._looks = {name: image_from_node(node, name) for name, node in self.making.examples.items()}

    def start(self) -> None:
        """Start with the first study that waits.

        Raises:
            InputError: something else is being computed.
        """
        refuse_while_busy(self.logic)
        self.done = False
        self._advance()

    def _advance(self) -> None:
        """Begin studies until one is under way. A loop: thousands may fail at once, before the worker sees them."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._current is None and not self.done:
                self._current = next((entry for entry in self.entries if entry.status == "waiting"), None)
                if self._current is None:
                    self._finish()
                else:
                    self._begin(self._current)
        finally:
            self._advancing = False

    def _begin(self, entry: Entry) -> None:
        entry.status = "running"
        self._on_change(entry)
        try:
            if entry.folder is None:
                self.logic.start(self._volumes(entry), self.wanted, self._ended, examples=self.making.examples)
            else:
                job = Job(request=self._request(entry), sends=self._looks or None, title=entry.name, reads=False)
                self.logic.work(job, False, self._ended)
        except InputError as error:
            self._failed(entry, str(error))
        except Cancelled as error:
            self._stop(entry, str(error))
        else:
            self._say_kept()

    def _volumes(self, entry: Entry) -> dict[str, Any]:
        """The volumes to read of a study of the scene."""
        source = self.making.source
        if source and source not in entry.nodes:
            message = _("The study has no {source}; choose from {names}.")
            raise InputError(message.format(source=source, names=", ".join(entry.nodes)))
        return {source: entry.nodes[source]} if source else entry.nodes

    def _request(self, entry: Entry) -> dict[str, Any]:
        request = {name: getattr(self.wanted, name) for name in self.wanted.__dataclass_fields__}
        request.update(request="batch", folder=str(entry.folder), output=str(self.output / entry.name))
        request.update(synthesize=list(self.wanted.synthesize), source=self.making.source, resume=self.resume)
        request.pop("point")
        return request

    def _say_kept(self) -> None:
        """Where this study is cancelled, those that were done before it stay."""
        done = sum(entry.status in ("done", "skipped") for entry in self.entries)
        if done:
            kept = _("Cancelled; {done} of {all} studies are done, and their results stay.")
            self.logic.controller.kept = kept.format(done=done, all=len(self.entries))

    def _ended(self, task: Task) -> None:
        entry = self._current
        if isinstance(task.error, Cancelled):
            self._stop(entry, _("stopped by you"))
        elif task.error is not None:
            self._failed(entry, str(task.error))
        else:
            job = isinstance(task, Job)
            report = task.answer["report"] if job else task.report
            entry.status = "skipped" if job and task.answer.get("skipped") else "done"
            entry.seconds = sum((report.get("timings_s") or {}).values())
            entry.volumes = report.get("volumes_ml") or {}
            entry.message = "; ".join(report.get("warnings") or ())
            self._over(entry)
        self._advance()

    def _failed(self, entry: Entry, message: str) -> None:
        entry.status, entry.message = "failed", message
        self._over(entry)

    def _over(self, entry: Entry) -> None:
        self._current = None
        self._on_change(entry)
        self._write()

    def _stop(self, entry: Entry, message: str) -> None:
        """The user stopped: the studies that wait keep waiting for another start."""
        entry.status, entry.message = "waiting", message
        self._on_change(entry)
        self._finish()

    def _finish(self) -> None:
        self.done, self._current = True, None
        self._write()
        self._on_done(self)

    def _write(self) -> None:
        if self.output is None or not self.output.is_dir():
            return
        names = list(dict.fromkeys(name for entry in self.entries for name in entry.volumes))
        rows = [["name", "status", "seconds", "message", *(f"{name} (ml)" for name in names)]]
        for entry in self.entries:
            figures = [entry.volumes.get(name, "") for name in names]
            rows.append([entry.name, entry.status, f"{entry.seconds:.1f}", entry.message, *figures])
        with (
            write_atomically(self.output / SUMMARY) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as f,
        ):
            csv.writer(f).writerows(rows)
