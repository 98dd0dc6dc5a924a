"""Subject hierarchy: which patient and study a node belongs to, and a folder for the results of a run."""

from __future__ import annotations

import slicer


def tree(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSubjectHierarchyNode:
    """The subject hierarchy of a scene."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def item_of(node: slicer.vtkMRMLNode) -> int:
    """The subject-hierarchy item of a node, made where it has none yet."""
    hierarchy = tree(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    return item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def home_of(node: slicer.vtkMRMLNode) -> int:
    """The item under which results of this input belong: its study, else its patient, else the folder it lies in."""
    hierarchy = tree(node.GetScene())
    item = item_of(node)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    for level in (constants.GetDICOMLevelStudy(), constants.GetDICOMLevelPatient()):
        ancestor = hierarchy.GetItemAncestorAtLevel(item, level)
        if ancestor:
            return ancestor
    return hierarchy.GetItemParent(item) or hierarchy.GetSceneItemID()


def patient_of(node: slicer.vtkMRMLNode) -> int:
    """The patient item above a node; 0 where there is none."""
    return _above(node, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient())


def study_of(node: slicer.vtkMRMLNode) -> int:
    """The study item above a node; 0 where there is none."""
    return _above(node, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy())


def _above(node: slicer.vtkMRMLNode, level: str) -> int:
    return tree(node.GetScene()).GetItemAncestorAtLevel(item_of(node), level)


def make_patient(scene: slicer.vtkMRMLScene, name: str) -> int:
    """The study item of a new patient, for volumes that no DICOM file says the patient of; where the name is taken, a
    number follows it."""
    hierarchy = tree(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), hierarchy.GenerateUniqueItemName(name))
    return hierarchy.CreateStudyItem(patient, "MR")


def make_folder(scene: slicer.vtkMRMLScene, parent: int, name: str) -> int:
    """A new folder item; where the name is taken in that parent, a number follows it."""
    hierarchy = tree(scene)
    return hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(name))


def put_into(folder: int, node: slicer.vtkMRMLNode) -> None:
    """Move a node's item into a folder."""
    tree(node.GetScene()).SetItemParent(item_of(node), folder)


def nodes_below(scene: slicer.vtkMRMLScene, folder: int) -> list[slicer.vtkMRMLNode]:
    """The data nodes anywhere below a folder item."""
    hierarchy = tree(scene)
    items: list[int] = []
    hierarchy.GetItemChildren(folder, items, True)
    return [node for node in (hierarchy.GetItemDataNode(item) for item in items) if node is not None]


def remove_folder(scene: slicer.vtkMRMLScene, folder: int) -> None:
    """Take a folder, what it holds, the nodes of that and their display nodes out of the scene."""
    for node in nodes_below(scene, folder):
        displays = []
        if node.IsA("vtkMRMLDisplayableNode"):
            displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        tree(scene).RemoveItem(item_of(node), True, True)
        for display in displays:
            if scene.IsNodePresent(display):
                scene.RemoveNode(display)
    tree(scene).RemoveItem(folder, False, True)
