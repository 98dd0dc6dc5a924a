"""Volume nodes to a study, and which volume of the scene is which sequence."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from ..errors import InputError
from ..sequences import DICOM_TAGS, SEQUENCES, Guess, canonical, guess_sequence
from ..study import Study
from . import hierarchy
from .sources import Source, groups_of
from .text import _
from .volumes import Placement, check_node, image_from_node, placement_of

ROLE = "Disentangle.Role"
"""Attribute of every node that a run makes: segmentation, anatomy, argmax, reconstruction, cross, synthetic."""
SYNTHETIC = "Disentangle.Synthetic"
"""Attribute "1" of every volume with made-up intensities."""
CONFIRMED = "Disentangle.Confirmed"
"""Attribute: the sequence that the user has said a volume to be, whatever its image looks like."""


@dataclass(frozen=True, eq=False)
class StudyNodes:
    """A study and the nodes it was made from.

    Attributes:
        study: the images, as they lay in the world when it was made.
        nodes: sequence -> volume node, first input first.
        placement: where nodes made from results lie, so that they follow the first input.
    """

    study: Study
    nodes: dict[str, slicer.vtkMRMLScalarVolumeNode]
    placement: Placement

    @property
    def first(self) -> slicer.vtkMRMLScalarVolumeNode:
        """The first input, on whose grid segmentation and synthetic volumes come."""
        return next(iter(self.nodes.values()))


@dataclass(frozen=True)
class Owner:
    """Whose a volume is.

    Attributes:
        patient, study: items of the subject hierarchy; 0 where there are none.
        files: where there are neither: names that tell the study of its file from others, see :func:`groups_of`.
    """

    patient: int
    study: int
    files: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Assignment:
    """A volume proposed for a sequence, and why."""

    node: slicer.vtkMRMLScalarVolumeNode
    guess: Guess


def study_from_nodes(nodes: Mapping[str, slicer.vtkMRMLScalarVolumeNode | None], check: bool = True) -> StudyNodes:
    """Read volume nodes into a study; RAS becomes LPS, parent transforms are applied, the scene is left alone.

    Args:
        nodes: sequence (any known name of it) -> scalar volume; None entries are left out. The first is the
            first input.
        check: look at every voxel, too; where that would hold up the window, a thread has to do it (``check_image``).

    Raises:
        InputError: no volume, one volume or one sequence twice, a node that is not an image, an unknown sequence.
    """
    chosen: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}
    for name, node in nodes.items():
        if node is None:
            continue
        sequence = canonical(name)
        if sequence in chosen:
            message = _("Two volumes are given as {sequence}; give one volume per sequence.")
            raise InputError(message.format(sequence=sequence))
        twin = next((s for s, n in chosen.items() if n.GetID() == node.GetID()), None)
        if twin is not None:
            message = _("The volume {name!r} is given both as {twin} and as {sequence}; choose it for one of them.")
            raise InputError(message.format(name=node.GetName(), twin=twin, sequence=sequence))
        check_node(node)
        chosen[sequence] = node
    if not chosen:
        raise InputError(_("No volume is chosen; choose the volume of at least one sequence."))
    first = next(iter(chosen.values()))
    images = {sequence: image_from_node(node, sequence) for sequence, node in chosen.items()}
    name = subject_name(first)
    study = Study.from_images(images, name) if check else Study(images, name)
    for sequence, node in chosen.items():
        if node.GetAttribute(SYNTHETIC) == "1":
            note = _("The volume {name!r}, used as {sequence}, is synthetic.")
            study.warnings.append(note.format(name=node.GetName(), sequence=sequence))
    return StudyNodes(study, chosen, placement_of(first))


def subject_name(node: slicer.vtkMRMLVolumeNode) -> str:
    """Name of the patient in the subject hierarchy, else of the volume."""
    patient = hierarchy.patient_of(node)
    return hierarchy.tree(node.GetScene()).GetItemName(patient) if patient else node.GetName()


def guess_node(node: slicer.vtkMRMLVolumeNode) -> Guess:
    """Guess the sequence of a volume from its DICOM attributes, its name and the name of its file."""
    dicom = _dicom_attributes(node)
    storage = node.GetStorageNode()
    names = [node.GetName() or ""]
    if storage is not None and storage.GetFileName():
        names.append(storage.GetFileName())
    guesses = [guess_sequence(name=name, dicom=dicom or None) for name in names]
    return max(guesses, key=lambda guess: guess.confidence if guess.sequence else -1.0)


def assign_nodes(
    scene: slicer.vtkMRMLScene,
    sequences: Iterable[str],
    patient: int | None = None,
    like: slicer.vtkMRMLVolumeNode | None = None,
    among: Iterable[str] | None = None,
) -> dict[str, Assignment]:
    """Propose a volume of the scene for each sequence, the most convincing one.

    Label maps, volumes of several components and results of earlier runs are left out, and so are volumes of other
    patients and of other studies of the patient: all proposals belong together. Volumes of nobody are told apart by
    their files. Where nothing says which study is wanted, it is the one that offers most sequences, of equal ones the
    first of the scene.

    Args:
        patient: only volumes of this subject-hierarchy item (0: those of nobody).
        like: only volumes of the patient and the study of this one.
        among: IDs of the volumes that may be proposed; None takes all.

    Returns:
        sequence -> proposal; sequences without a proposal are absent.
    """
    wanted = [canonical(name) for name in sequences]
    groups: dict[Owner, dict[str, Assignment]] = {}
    owners = owners_of(scene)
    for node in _images(scene):
        if among is not None and node.GetID() not in among:
            continue
        group = groups.setdefault(owners[node.GetID()], {})
        guess = guess_node(node)
        if guess.sequence not in wanted:
            continue
        rival = group.get(guess.sequence)
        if rival is None or guess.confidence > rival.guess.confidence:
            group[guess.sequence] = Assignment(node, guess)
    if like is not None:
        found = groups.get(owner_of(like, owners), {})
    else:
        same = [group for owner, group in groups.items() if patient is None or owner.patient == patient]
        found = max(same, key=len, default={})
    return {name: found[name] for name in wanted if name in found}


def unnamed_images(
    scene: slicer.vtkMRMLScene, like: slicer.vtkMRMLVolumeNode | None = None, most: int = 8
) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Images of which neither name nor header tell what they are.

    Args:
        like: only volumes of the patient and the study of this one; None takes those of the first that is found.
        most: no more than these; a scene may hold hundreds.
    """
    found: list[slicer.vtkMRMLScalarVolumeNode] = []
    owners = owners_of(scene)
    for node in _images(scene):
        beside = owner_of(like or (found[0] if found else node), owners)
        if len(found) < most and guess_node(node).confidence == 0 and owners[node.GetID()] == beside:
            found.append(node)
    return found


def modality_conflict(node: slicer.vtkMRMLVolumeNode, sequence: str) -> str | None:
    """A sentence where the volume's DICOM modality rules the sequence out (a CT given to an MR model), else None."""
    modality = _dicom_attributes(node).get("Modality")
    expected = SEQUENCES[canonical(sequence)].modality
    if modality in (None, "", expected):
        return None
    sentence = _("The volume {name!r} is {modality}, not {expected}; choose an {expected} volume as {sequence}.")
    return sentence.format(name=node.GetName(), modality=modality, expected=expected, sequence=sequence)


def objection(nodes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> str | None:
    """Why volumes cannot be one study, as a sentence; None where they can.

    Label maps, volumes of several components, volumes of another modality, made-up images (results of earlier runs
    among them) and volumes of different patients are refused.
    """
    for sequence, node in nodes.items():
        try:
            check_node(node)
        except InputError as error:
            return str(error)
        if node.GetAttribute(SYNTHETIC) == "1":
            sentence = _("The volume {name!r}, chosen as {sequence}, is synthetic; choose an acquired one.")
            return sentence.format(name=node.GetName(), sequence=sequence)
        if node.GetAttribute(ROLE):
            sentence = _(
                "The volume {name!r}, chosen as {sequence}, is a result of Disentangle; choose the volume that it was "
                "made from."
            )
            return sentence.format(name=node.GetName(), sequence=sequence)
        conflict = modality_conflict(node, sequence)
        if conflict:
            return conflict
    owners = {sequence: hierarchy.patient_of(node) for sequence, node in nodes.items()}
    known = {sequence: owner for sequence, owner in owners.items() if owner}
    if len(set(known.values())) > 1:
        tree = hierarchy.tree(next(iter(nodes.values())).GetScene())
        names = ", ".join(
            _("{sequence} of {patient}").format(sequence=sequence, patient=tree.GetItemName(owner))
            for sequence, owner in known.items()
        )
        return _("These volumes are of different patients ({names}); choose volumes of one patient.").format(
            names=names
        )
    return None


def other_times(nodes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> str:
    """A sentence where volumes of one patient come from different studies (two visits, say), else ""."""
    owners = {sequence: hierarchy.study_of(node) for sequence, node in nodes.items()}
    known = {sequence: owner for sequence, owner in owners.items() if owner}
    if len(set(known.values())) < 2:
        return ""
    tree = hierarchy.tree(next(iter(nodes.values())).GetScene())
    names = ", ".join(
        _("{sequence} of {study}").format(sequence=sequence, study=tree.GetItemName(owner))
        for sequence, owner in known.items()
    )
    return _("These volumes are of different studies of the patient: {names}.").format(names=names)


def other_files(nodes: Mapping[str, slicer.vtkMRMLVolumeNode], owners: Mapping[str, Owner]) -> str:
    """A sentence where volumes of nobody come from files of different studies, as far as folders and names tell; else
    "".

    Args:
        owners: those of the scene, see :func:`owners_of`.
    """
    known = {sequence: owner_of(node, owners) for sequence, node in nodes.items()}
    known = {sequence: owner for sequence, owner in known.items() if owner.files}
    if len(set(known.values())) < 2:
        return ""
    names = ", ".join(
        _("{sequence} of {study}").format(sequence=sequence, study=owner_name(nodes[sequence], owner))
        for sequence, owner in known.items()
    )
    return _(
        "These files seem to be of different patients or visits: {names}; check that they belong together."
    ).format(names=names)


def whose(nodes: Mapping[str, slicer.vtkMRMLVolumeNode], owners: Mapping[str, Owner]) -> str:
    """A sentence that says of whom volumes are, where they are all of one and the scene holds volumes of others, else
    "".

    Args:
        owners: those of the scene, see :func:`owners_of`.
    """
    chosen = {_person(owner_of(node, owners)): node for node in nodes.values()}
    if len(chosen) != 1 or len({_person(owner) for owner in owners.values()}) < 2:
        return ""
    node = next(iter(chosen.values()))
    name = owner_name(node, owner_of(node, owners))
    return _("These volumes are of {name}.").format(name=name) if name else ""


def _person(owner: Owner) -> tuple[int, tuple[str, ...]]:
    return owner.patient, owner.files


def owner_name(node: slicer.vtkMRMLVolumeNode, owner: Owner) -> str:
    """What to call the owner of a volume; "" where nobody is known and no files are told apart."""
    if owner.patient:
        return hierarchy.tree(node.GetScene()).GetItemName(owner.patient)
    if not owner.files:
        return ""
    return "/".join(name for name in owner.files if name) or Path(_file_of(node)).parent.name


def owners_of(scene: slicer.vtkMRMLScene) -> dict[str, Owner]:
    """ID -> owner of every volume of a scene that may be an input."""
    images = {node.GetID(): node for node in _images(scene)}
    owners = {name: _known_owner(node) for name, node in images.items()}
    files = {name: _file_of(images[name]) for name, owner in owners.items() if owner == Owner(0, 0)}
    sources = {name: Source(path, guess_node(images[name]).sequence) for name, path in files.items() if path}
    return owners | {name: Owner(0, 0, group) for name, group in groups_of(sources).items()}


def owner_of(node: slicer.vtkMRMLVolumeNode, owners: Mapping[str, Owner]) -> Owner:
    """The owner of any volume, one that may be no input, too.

    Args:
        owners: those of the scene, see :func:`owners_of`.
    """
    return owners.get(node.GetID()) or _known_owner(node)


def _images(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The volumes of a scene that may be inputs."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    volumes = [scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count)]
    return [node for node in volumes if _is_image(node)]


def _known_owner(node: slicer.vtkMRMLVolumeNode) -> Owner:
    return Owner(hierarchy.patient_of(node), hierarchy.study_of(node))


def _file_of(node: slicer.vtkMRMLVolumeNode) -> str:
    """The file that a volume was loaded from, with "/" between its folders; "" where there is none."""
    storage = node.GetStorageNode()
    if storage is None or not storage.GetFileName():
        return ""
    return (storage.GetFullNameFromFileName() or "").replace("\\", "/")


def _is_image(node: slicer.vtkMRMLVolumeNode) -> bool:
    if node.GetAttribute(ROLE) or node.GetAttribute(SYNTHETIC) == "1" or node.GetHideFromEditors():
        return False
    try:
        check_node(node)
    except InputError:
        return False
    return True


def _dicom_attributes(node: slicer.vtkMRMLVolumeNode) -> dict[str, Any]:
    """What the DICOM database, or failing that the subject hierarchy, knows about a volume."""
    modality = hierarchy.tree(node.GetScene()).GetItemAttribute(hierarchy.item_of(node), "DICOM.Modality")
    attributes = {"Modality": modality} if modality else {}
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)  # absent where Slicer was built without DICOM
    if not instances or database is None:
        return attributes
    return attributes | _header(node.GetName(), instances[0], str(database.fileForInstance(instances[0]) or ""))


_HEADERS_KEPT = 1000
_headers: dict[tuple[str, str], tuple[tuple[int, int] | None, dict[str, Any]]] = {}
"""(instance UID, file) -> modification time and size of the file, what its header tells."""


def _header(name: str, instance: str, path: str) -> dict[str, Any]:
    """The attributes of :data:`DICOM_TAGS` in a DICOM file, {} where it cannot be read, which is logged once.

    A panel asks a dozen times for each volume that is chosen, and an enhanced multi-frame file takes 55 ms to read.

    Args:
        name: of the volume, for the log.
        instance: SOP instance UID.
        path: the file; "" where the database knows none.
    """
    state = _state_of(path)
    known = _headers.get((instance, path))
    if known is None or known[0] != state:
        if len(_headers) >= _HEADERS_KEPT:
            _headers.clear()
        known = _headers[instance, path] = state, _read_header(name, path)
    return known[1]


def _state_of(path: str) -> tuple[int, int] | None:
    if not path:
        return None  # Path("") is the working directory
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read_header(name: str, path: str) -> dict[str, Any]:
    import pydicom

    tags = list(DICOM_TAGS.values())
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except Exception as error:  # of damaged headers pydicom raises half a dozen kinds; a selector must not fail of any
        logging.info("The DICOM header of %s cannot be read (%s); its name is used.", name, error)
        return {}
    found = {}
    for tag in tags:
        with contextlib.suppress(Exception):  # values are decoded when they are asked for: the others are of use
            found[tag] = header[tag].value
    return found
