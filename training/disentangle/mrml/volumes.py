"""One volume node <-> one image: RAS <-> LPS, parent transforms, voxel types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..errors import InputError
from ..study import Image
from .text import _

RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Flips the first two world axes: RAS to LPS, and back."""

_ORTHOGONAL = 1e-4
"""Largest cosine between two voxel axes that still counts as a right angle (0.006 degrees)."""
_BORDER_SAMPLES = 9
"""Points per edge at which a bent volume's extent is looked up."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Where nodes made from a study's results have to lie.

    Attributes:
        to_world: (4, 4) RAS to RAS of the parent transform; None where it is not an affine one.
        transform: the parent transform node that results share; None: results lie in world coordinates.
    """

    to_world: np.ndarray | None = None
    transform: slicer.vtkMRMLTransformNode | None = None

    def local(self, affine: np.ndarray) -> np.ndarray:
        """(4, 4) IJK to RAS of the node from an LPS affine (4, 4) in the world."""
        ras = RAS_LPS @ affine
        return ras if self.transform is None else np.linalg.inv(self.to_world) @ ras


def image_from_node(node: slicer.vtkMRMLScalarVolumeNode, sequence: str | None = None) -> Image:
    """The volume as it lies in the world, whatever its parent transforms; the scene is not changed.

    A rigid or scaling transform only changes the affine. A shearing or bending one resamples the voxels (linearly)
    onto a grid along the volume's own axes that encloses it, outside filled with the smallest value.

    Raises:
        InputError: no node, a label map, no voxels, or several components per voxel.
    """
    check_node(node)
    array = slicer.util.arrayFromVolume(node)
    parent = node.GetParentTransformNode()
    affine = ijk_to_ras(node)
    if parent is not None:
        matrix = linear_to_world(parent)
        if matrix is None or not _orthogonal(matrix @ affine):
            array, affine = _resampled(node, parent)
        else:
            affine = matrix @ affine
    return Image(np.array(array, copy=True), RAS_LPS @ affine, sequence=sequence, source=f"volume {node.GetName()!r}")


def check_node(node: slicer.vtkMRMLVolumeNode | None) -> None:
    """Refuse what is not an image of one value per voxel.

    Raises:
        InputError: with the sentence for the user.
    """
    if node is None:
        raise InputError(_("No volume is chosen; choose a volume of the scene."))
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode") or not node.IsA("vtkMRMLScalarVolumeNode"):
        sentence = _("{name!r} is not an image but a {kind} node; choose a scalar volume.")
        raise InputError(sentence.format(name=name, kind=node.GetNodeTagName()))
    data = node.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0:
        raise InputError(_("{name!r} has no voxels; load the volume again or choose another one.").format(name=name))
    if data.GetNumberOfScalarComponents() != 1:
        sentence = _("{name!r} has {count} values per voxel; choose a volume with one value.")
        raise InputError(sentence.format(name=name, count=data.GetNumberOfScalarComponents()))


def placement_of(node: slicer.vtkMRMLVolumeNode) -> Placement:
    """How results of this input lie: under its parent transform where that is affine and keeps right angles."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return Placement()
    matrix = linear_to_world(parent)
    if matrix is None or not _orthogonal(matrix @ ijk_to_ras(node)):
        return Placement()
    return Placement(matrix, parent)


def ijk_to_ras(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """(4, 4) voxel indices (i, j, k, 1) to the node's own RAS mm, before parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def linear_to_world(transform: slicer.vtkMRMLTransformNode) -> np.ndarray | None:
    """(4, 4) of a transform node with all its parents, RAS to RAS; None where one of them is not affine."""
    if not transform.IsTransformToWorldLinear():
        return None
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def fill_volume(
    node: slicer.vtkMRMLVolumeNode, array: np.ndarray, affine: np.ndarray, placement: Placement | None = None
) -> None:
    """Give a volume node voxels [k, j, i] and a place.

    Args:
        array: booleans become bytes, half and double precision float32, and integers of 64 bits the first of int32,
            uint32 and float64 (exact up to 2**53) that holds them.
        affine: (4, 4) LPS affine in the world.
        placement: see :class:`Placement`; the node is put under its transform.
    """
    placement = placement or Placement()
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype in (np.float16, np.float64):
        array = array.astype(np.float32)
    elif array.dtype in (np.int64, np.uint64):
        array = array.astype(_smaller_type(array))
    modifying = node.StartModify()
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(placement.local(affine)))
    node.EndModify(modifying)
    if placement.transform is not None:
        node.SetAndObserveTransformNodeID(placement.transform.GetID())


def _smaller_type(array: np.ndarray) -> type[np.generic]:
    """For integers of 64 bits, which not every module and file format of Slicer takes."""
    low, high = int(array.min()), int(array.max())
    for kind in (np.int32, np.uint32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.float64


def oriented_image(array: np.ndarray, affine: np.ndarray, placement: Placement) -> slicer.vtkOrientedImageData:
    """A vtkOrientedImageData of a label array [k, j, i], as segmentations hold it."""
    image = slicer.vtkOrientedImageData()
    flat = numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    image.SetDimensions(*[int(n) for n in array.shape[::-1]])
    image.GetPointData().SetScalars(flat)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(placement.local(affine)))
    return image


def _orthogonal(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < _ORTHOGONAL)


def _resampled(
    node: slicer.vtkMRMLScalarVolumeNode, parent: slicer.vtkMRMLTransformNode
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and world IJK-to-RAS of a volume under a transform that no affine image can carry."""
    to_world, from_world = vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, to_world)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, from_world)
    own = ijk_to_ras(node)
    size = np.array(node.GetImageData().GetDimensions())
    edges = [np.linspace(0, n - 1, _BORDER_SAMPLES) for n in size]
    index = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, 3)
    points = np.array([to_world.TransformPoint(p) for p in index @ own[:3, :3].T + own[:3, 3]])

    spacing = np.linalg.norm(own[:3, :3], axis=0)
    axes = own[:3, :3] / spacing
    along = points @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    output_size = [int(n) for n in np.ceil((high - low) / spacing - 1e-6) + 1]
    affine = np.eye(4)
    affine[:3, :3] = own[:3, :3]
    affine[:3, 3] = axes @ low

    output_to_input = vtk.vtkGeneralTransform()
    output_to_input.PostMultiply()
    output_to_input.Concatenate(slicer.util.vtkMatrixFromArray(affine))
    output_to_input.Concatenate(from_world)
    output_to_input.Concatenate(slicer.util.vtkMatrixFromArray(np.linalg.inv(own)))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(node.GetImageData())
    reslice.SetResliceTransform(output_to_input)
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(float(node.GetImageData().GetScalarRange()[0]))
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputExtent(0, output_size[0] - 1, 0, output_size[1] - 1, 0, output_size[2] - 1)
    reslice.Update()
    scalars = reslice.GetOutput().GetPointData().GetScalars()
    return numpy_support.vtk_to_numpy(scalars).reshape(output_size[::-1]), affine
