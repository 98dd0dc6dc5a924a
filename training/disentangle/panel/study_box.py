"""A row per sequence of the model: which volume it is, how sure that is, and what a missing one costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import qt
import slicer

from ..inference.confidence import SURE_LOOK, contradicts, doubts
from ..inference.recognition import LEAST_AGREEMENT, Recognition, discriminant
from ..mrml.live import volume_in_view
from ..mrml.outputs import run_of
from ..mrml.studies import (
    Assignment,
    assign_nodes,
    objection,
    other_files,
    other_times,
    owner_of,
    owners_of,
    unnamed_images,
    whose,
)
from ..mrml.text import _
from .model_facts import cost_of_missing
from .parameters import input_parameter
from .study_drag import RowDrag
from .study_row import StudyRow


class StudyBox:
    """The rows of the chosen model and the button that fills them.

    Args:
        area: the widget whose grid layout takes the rows.
        button: "Assign from scene".
        on_change: called when a volume was chosen.
        missing: label that says what is missing and what that means.
        meaning: sentences about missing sequences, from a model's card.
        looks_of: what the image of a volume looks like, see ``recognizer.py``; None where that is not known.
        store: writes choices, sequence -> volume or None, where they are remembered; all of them at once.
    """

    def __init__(
        self,
        area: qt.QWidget,
        button: qt.QPushButton,
        on_change: Callable[[], None],
        missing: qt.QLabel,
        meaning: Callable[[Mapping[str, Any], Iterable[str]], list[str]] = cost_of_missing,
        looks_of: Callable[[slicer.vtkMRMLScalarVolumeNode], Mapping[str, Any] | None] = lambda _node: None,
        store: Callable[[Mapping[str, slicer.vtkMRMLNode | None]], None] = lambda _choices: None,
    ) -> None:
        self.grid = area.layout()
        self.grid.setColumnStretch(1, 1)
        self.on_change = on_change
        self.missing, self._meaning, self._looks_of, self._store = missing, meaning, looks_of, store
        self.rows: dict[str, StudyRow] = {}
        self.drag = RowDrag(area, lambda: self.rows.values(), self.exchange)
        self.card: Mapping[str, Any] = {}
        self._swapping = False
        self._hint: str | None = None
        self._proposing = False
        button.connect("clicked(bool)", lambda _checked=False: self.assign())

    @contextmanager
    def as_stored(self) -> Iterator[None]:
        """While the rows are filled from a parameter node: what is stored must not be swapped around."""
        self._swapping = True
        try:
            yield
        finally:
            self._swapping = False
            for row in self.rows.values():
                row.before = row.combo.currentNode()
            self.refresh()

    def show(self, sequences: Iterable[str], card: Mapping[str, Any] | None = None) -> None:
        """Make a row per sequence; rows of other sequences go.

        Args:
            card: the model's, for what a missing sequence costs.
        """
        self.card = card or {}
        for row in self.rows.values():
            row.remove()
        names = tuple(sequences)
        self.rows = {
            name: StudyRow(name, self.grid, number, names, self._changed, self._leaving, self.use_as, self.refresh)
            for number, name in enumerate(names)
        }
        for row in self.rows.values():
            self.drag.watch(row)
        self.refresh()

    def _changed(self, row: StudyRow) -> None:
        """A volume chosen in two rows changes places: the other row gets what this one had."""
        node, before = row.combo.currentNode(), row.before
        row.before = node
        if self._swapping:
            return  # whoever fills the rows brings them up to date
        self._store({row.sequence: node})  # first: a parameter node that has not heard of it would undo it
        if node is not before:  # else only its name is another
            self._hint = node.GetID() if node is not None else self._hint
            self._proposing = False  # a row that the user leaves empty stays so
            self._exchange_with_twin(row, node, before)
        self.refresh()
        self.on_change()

    def _exchange_with_twin(
        self, row: StudyRow, node: slicer.vtkMRMLNode | None, before: slicer.vtkMRMLNode | None
    ) -> None:
        twin = next((r for r in self.rows.values() if r is not row and node and r.combo.currentNode() is node), None)
        if twin is not None:  # later: others have not heard of the first change yet
            qt.QTimer.singleShot(0, lambda: self._give(row, twin, node, before))

    def _give(self, row: StudyRow, twin: StudyRow, node: slicer.vtkMRMLNode, before: slicer.vtkMRMLNode | None) -> None:
        """The second half of a swap, if both rows still have the volume."""
        if before is not None and before.GetScene() is None:
            before = None  # removed from the scene in between
        rows = self.rows.values()
        if row in rows and twin in rows and row.combo.currentNode() is node and twin.combo.currentNode() is node:
            self._put(twin, before)

    def _leaving(self, row: StudyRow, node: slicer.vtkMRMLNode) -> None:
        """The volume of a row is about to go: the row is left empty.

        Left alone, QComboBox would go to the next volume of the list, which is another sequence, and tell of it as of a
        choice of the user.
        """
        if row.combo.currentNode() is not node:
            return
        self._put(row, None)

    def _put(self, row: StudyRow, node: slicer.vtkMRMLNode | None) -> None:
        """Choose the volume of a row, where that is no choice of the user."""
        self._choose({row.sequence: node})
        if not self._swapping:
            self.refresh()
            self.on_change()

    def _choose(self, choices: Mapping[str, slicer.vtkMRMLNode | None]) -> None:
        """Set rows, and nothing else.

        What is remembered comes first, for all rows at once: a selector does not tell of a volume that has the name of
        the one before (see :func:`parts.when_chosen`), and the next change of the parameter node would bring that back.
        """
        swapping, self._swapping = self._swapping, True
        self._store(choices)
        for sequence, node in choices.items():
            row = self.rows[sequence]
            row.combo.setCurrentNode(node)
            row.before = row.combo.currentNode()
        self._swapping = swapping

    def exchange(self, first: StudyRow, second: StudyRow) -> None:
        """Two rows change their volumes; one of them may be empty."""
        if first is second:
            return
        self._choose({second.sequence: first.combo.currentNode(), first.sequence: second.combo.currentNode()})
        self.refresh()
        self.on_change()

    def use_as(self, row: StudyRow, sequence: str) -> None:
        """The volume of a row is another sequence: it goes there, and what is there comes here."""
        self.exchange(row, self.rows[sequence])

    def refresh(self) -> None:
        """Mark the rows by what is known of their volumes, and say what is missing, what that costs, and what looks
        like an oversight."""
        given = self.nodes()
        seen = {name: self._looks_of(node) for name, node in given.items() if name in discriminant().sequences}
        found = {name: Recognition.from_dict(looks) for name, looks in seen.items() if looks}
        blank = {name for name, looks in seen.items() if looks is not None and not looks}
        # One that is cut off agrees little with the atlas; where none agrees, they show something else.
        strange = max((looks.agreement for looks in found.values()), default=1.0) < LEAST_AGREEMENT
        for name, row in self.rows.items():
            no_brain = name in blank or (name in found and strange)
            row.show(found.get(name), name in found and contradicts(name, found), no_brain)
        missing = [name for name in self.rows if name not in given]
        owners = owners_of(slicer.mrmlScene) if given else {}
        lines = [whose(given, owners), *self._meaning(self.card, missing)]
        lines += [other_times(given), other_files(given, owners)]
        lines = lines if given else []
        empty = _("No brain was found in {name}; check what it shows.")
        lines += [empty.format(name=given[name].GetName()) for name in blank if not self.rows[name].confirmed]
        wrong = {name for name in found if contradicts(name, found)}
        told = {name for name in wrong if self.rows[name].named == name}
        settled = told | {name for name in found if self.rows[name].confirmed}
        lines += doubts({name: looks for name, looks in found.items() if name not in settled})
        named = _("{volume} is called {sequence} and used as such, but its image looks like {other} ({percent} %).")
        lines += [
            named.format(
                volume=given[name].GetName(),
                sequence=name,
                other=found[name].sequence,
                percent=round(100 * found[name].probabilities[found[name].sequence]),
            )
            for name in found
            if name in told and not self.rows[name].confirmed
        ]
        self.missing.text = "\n".join(line for line in lines if line)
        self.missing.visible = bool(self.missing.text)

    def widgets(self) -> dict[str, slicer.qMRMLNodeComboBox]:
        """Parameter name -> combo box."""
        return {input_parameter(sequence): row.combo for sequence, row in self.rows.items()}

    def nodes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Sequence -> chosen volume."""
        chosen = {sequence: row.combo.currentNode() for sequence, row in self.rows.items()}
        return {sequence: node for sequence, node in chosen.items() if node is not None}

    def assign(self, only_empty: bool = False, among: Iterable[str] | None = None) -> None:
        """Choose the volumes of the scene that look most like the sequences, none of them twice.

        Where the user has chosen a volume, the others are looked for in the study that it belongs to; where no volume
        is chosen, in that of the one that the red slice view shows, if it has any of the sequences.

        Args:
            only_empty: keep what is chosen already; else what :meth:`_kept` says.
            among: IDs of the volumes that may be chosen; None takes all.
        """
        chosen = list(self.nodes().values())
        hint = slicer.mrmlScene.GetNodeByID(self._hint) if self._hint else None
        like = hint if hint in chosen else chosen[0] if only_empty and chosen else None
        proposals = self._proposals(like, among)
        kept = self.nodes() if only_empty else self._kept(like, proposals)
        proposed = {name: proposal.node for name, proposal in proposals.items() if proposal.node not in kept.values()}
        self._choose({sequence: proposed.get(sequence) for sequence in self.rows if sequence not in kept})
        self._proposing = len(self.nodes()) < len(self.rows)
        self.refresh()
        self.on_change()

    def _proposals(self, like: slicer.vtkMRMLNode | None, among: Iterable[str] | None = None) -> dict[str, Assignment]:
        """What :func:`assign_nodes` proposes in the study that is wanted, see :meth:`assign`."""
        shown = None if self.nodes() else volume_in_view(slicer.mrmlScene)
        if shown is not None:
            shown = next(iter(run_of(shown).values()), shown)  # a result belongs to what it was made from
            proposals = assign_nodes(slicer.mrmlScene, self.rows, like=shown, among=among)
            if proposals:
                return proposals
        return assign_nodes(slicer.mrmlScene, self.rows, like=like, among=among)

    def _kept(
        self, hint: slicer.vtkMRMLNode | None, proposals: Mapping[str, Assignment]
    ) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Sequence -> volume that stays where the user has put it.

        That is the volume chosen last, unless its name surely says what else it is; those that the user has confirmed;
        and those that nothing better is known for. All are of the study that the others are looked for in.

        Args:
            hint: the volume chosen last; None where that is not known.
            proposals: what the rows would get.
        """
        given = self.nodes()
        proposed = [proposal.node for proposal in proposals.values()]
        beside = next((node for node in [hint, *proposed, *given.values()] if node is not None), None)
        owners = owners_of(slicer.mrmlScene)
        kept: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}
        for sequence, node in given.items():
            row = self.rows[sequence]
            if node is hint:
                wanted = row.named == sequence or row.named not in proposals or proposals[row.named].node is not node
            else:
                wanted = sequence not in proposals and row.named in ("", sequence) and not objection({sequence: node})
            together = owner_of(node, owners) == owner_of(beside, owners)
            if (wanted or row.confirmed) and together and node not in kept.values():
                kept[sequence] = node
        return kept

    def to_look_at(self) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """The volumes whose images are worth a look: the chosen ones, and where rows were left empty by
        :meth:`assign`, those beside them whose names tell nothing."""
        chosen = list(self.nodes().values())
        if not self._proposing:
            return chosen
        return chosen + [node for node in unnamed_images(slicer.mrmlScene, *chosen[:1]) if node not in chosen]

    def take_seen(self) -> None:
        """More is known of the images: mark the rows, and fill those that :meth:`assign` left empty with volumes that
        surely look like theirs."""
        if self._proposing:
            self._proposing = False
            chosen = list(self.nodes().values())
            seen: dict[str, slicer.vtkMRMLNode] = {}
            for node in unnamed_images(slicer.mrmlScene, *chosen[:1]):
                looks = self._looks_of(node)
                row = self.rows.get(looks["sequence"]) if looks and looks["confidence"] >= SURE_LOOK else None
                if row is not None and node not in chosen and row.combo.currentNode() is None:
                    seen.setdefault(row.sequence, node)
            self._choose(seen)
            if chosen != list(self.nodes().values()):
                self.on_change()
        self.refresh()

    def problem(self) -> str:
        """Why the study cannot be used; "" where it can."""
        nodes = self.nodes()
        if not nodes:
            return _("Choose the volume of at least one sequence.")
        seen: dict[str, str] = {}
        for sequence, node in nodes.items():
            other = seen.setdefault(node.GetID(), sequence)
            if other != sequence:
                return _("{name} is chosen both as {first} and as {second}; choose it for one of them.").format(
                    name=node.GetName(), first=other, second=sequence
                )
        return objection(nodes) or ""
