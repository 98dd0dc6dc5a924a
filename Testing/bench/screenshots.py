"""PNG files of the panel and of the slice views, without a screen and without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util import numpy_support

from bench.places import AREA, CAPTION, pixels, places


def panel(widget: QtWidgets.QWidget, path: Path, width: int = 460) -> Path:
    """Save a picture of a widget, as wide as Slicer's module panel and as high as it needs to be."""
    widget.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen, False)
    widget.resize(width, _height(widget, width))
    widget.show()
    QtWidgets.QApplication.processEvents()
    widget.resize(width, _height(widget, width))
    QtWidgets.QApplication.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not widget.grab().save(str(path)):
        raise OSError(f"could not write {path}")
    return path


def _height(widget: QtWidgets.QWidget, width: int) -> int:
    """As high as the widget needs to be at that width, its wrapped texts included."""
    layout = widget.layout()
    wrapped = layout.totalHeightForWidth(width) if layout is not None and layout.hasHeightForWidth() else 0
    return max(wrapped, widget.sizeHint().height(), widget.minimumSizeHint().height())


def slice_image(logic: Any, size: tuple[int, int]) -> np.ndarray:
    """What one slice view shows, RGB uint8 (height, width, 3): layers by the real pipeline, then segmentations."""
    width, height = size
    logic.ResizeSliceNode(width, height)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    if logic.HasInputs() and logic.GetSliceCompositeNode() is not None and _has_volume(logic):
        logic.UpdatePipeline()
        blend = logic.GetBlend()
        blend.Update()
        data = blend.GetOutput()
        columns, rows, _ = data.GetDimensions()
        values = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars()).reshape(rows, columns, -1)
        rgba = values[::-1].astype(np.float32)
        alpha = rgba[..., 3:4] / 255.0 if rgba.shape[-1] == 4 else 1.0
        shown = (rgba[..., :3] * alpha).astype(np.uint8)
        image[: shown.shape[0], : shown.shape[1]] = shown[:height, :width]
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", logic.GetMRMLScene()):
        _overlay(image, node, logic.GetSliceNode())
    return image


def _has_volume(logic: Any) -> bool:
    composite = logic.GetSliceCompositeNode()
    return any((composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()))


def _overlay(image: np.ndarray, node: Any, slice_node: Any) -> None:
    """Draw the visible segments of a segmentation over a slice, with its display node's opacities."""
    display = node.GetDisplayNode()
    if display is None or not display.GetVisibility() or not display.GetVisibility2D():
        return
    if not display.IsDisplayableInView(slice_node.GetID()):
        return
    height, width = image.shape[:2]
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        if not display.GetSegmentVisibility(segment_id):
            continue
        labelmap = slicer.vtkOrientedImageData()
        if not node.GetBinaryLabelmapRepresentation(segment_id, labelmap):
            continue
        mask = _resliced(labelmap, slice_node.GetXYToRAS(), width, height)
        color = np.array(segmentation.GetSegment(segment_id).GetColor()) * 255
        fill = display.GetOpacity2DFill() * display.GetSegmentOpacity2DFill(segment_id)
        edge = display.GetOpacity2DOutline() * display.GetSegmentOpacity2DOutline(segment_id)
        fill = fill if display.GetVisibility2DFill() and display.GetSegmentVisibility2DFill(segment_id) else 0.0
        edge = edge if display.GetVisibility2DOutline() and display.GetSegmentVisibility2DOutline(segment_id) else 0.0
        for where, opacity in ((mask, fill * display.GetOpacity()), (_edge(mask), edge * display.GetOpacity())):
            image[where] = (image[where] * (1 - opacity) + color * opacity).astype(np.uint8)


def _edge(mask: np.ndarray) -> np.ndarray:
    """Pixels of a region that have a neighbour outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _resliced(labelmap: Any, xy_to_ras: Any, width: int, height: int) -> np.ndarray:
    """Nearest-neighbour sample of a labelmap in the pixels of a view; True inside; row 0 on top."""
    extent = labelmap.GetExtent()
    if extent[1] < extent[0]:
        return np.zeros((height, width), dtype=bool)
    ras_to_ijk = vtk.vtkMatrix4x4()
    labelmap.GetWorldToImageMatrix(ras_to_ijk)
    both = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(ras_to_ijk, xy_to_ras, both)
    matrix = slicer.util.arrayFromVTKMatrix(both)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height)[::-1])
    points = np.stack([columns, rows, np.zeros_like(columns), np.ones_like(columns)], axis=-1) @ matrix.T
    ijk = np.round(points[..., :3]).astype(int) - np.array(extent[::2])
    shape = np.array([extent[1] - extent[0] + 1, extent[3] - extent[2] + 1, extent[5] - extent[4] + 1])
    inside = np.all((ijk >= 0) & (ijk < shape), axis=-1)
    voxels = numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(shape[::-1])
    clipped = np.clip(ijk, 0, shape - 1)
    return inside & (voxels[clipped[..., 2], clipped[..., 1], clipped[..., 0]] > 0)


def views(layout_manager: Any, path: Path, width: int = AREA[0], height: int = AREA[1]) -> Path:
    """Save a picture of every slice view of the present layout, arranged as the layout says, with captions.

    Args:
        layout_manager: the bench's, ``slicer_app.start().layout_manager``.
        path: the PNG file.
        width, height: of the whole picture, pixels.

    Raises:
        ValueError: the present layout has no slice views.
    """
    shown = places(layout_manager.layoutLogic().GetLayoutNode())
    if not shown:
        raise ValueError("the present layout has no slice views")
    picture = QtGui.QImage(width, height, QtGui.QImage.Format.Format_RGB888)
    picture.fill(QtGui.QColor(40, 40, 40))
    painter = QtGui.QPainter(picture)
    for place in shown:
        _paint_view(painter, layout_manager, place[0], QtCore.QRect(*pixels(place, width, height)))
    painter.end()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(path)):
        raise OSError(f"could not write {path}")
    return path


def _paint_view(painter: QtGui.QPainter, layout_manager: Any, name: str, place: QtCore.QRect) -> None:
    widget = layout_manager.sliceWidget(name)
    logic = widget.sliceLogic()
    shown = np.ascontiguousarray(slice_image(logic, (place.width(), place.height())))
    height, width = shown.shape[:2]
    image = QtGui.QImage(shown.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888)
    painter.drawImage(place.x(), place.y() + CAPTION, image)
    node = logic.GetSliceNode()
    color = QtGui.QColor.fromRgbF(*node.GetLayoutColor())
    painter.fillRect(QtCore.QRect(place.x(), place.y(), place.width(), CAPTION), color)
    painter.setPen(QtCore.Qt.GlobalColor.black if color.lightness() > 110 else QtCore.Qt.GlobalColor.white)
    background = logic.GetBackgroundLayer().GetVolumeNode() if logic.GetBackgroundLayer() is not None else None
    caption = f"{node.GetLayoutLabel() or name}: {background.GetName() if background is not None else '-'}"
    painter.drawText(place.x() + 4, place.y() + 13, f"{caption}  {node.GetSliceOffset():.1f} mm")
    _paint_texts(painter, widget, place)


def _paint_texts(painter: QtGui.QPainter, widget: Any, place: QtCore.QRect) -> None:
    """The visible text actors of a view, where their normalised position says."""
    props = widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer().GetViewProps()
    for number in range(props.GetNumberOfItems()):
        actor = props.GetItemAsObject(number)
        if not actor.IsA("vtkTextActor") or not actor.GetVisibility():
            continue
        painter.setPen(QtGui.QColor.fromRgbF(*actor.GetTextProperty().GetColor()))
        x, y = actor.GetPosition()
        area = QtCore.QRect(place.x(), place.y() + CAPTION, round(2 * x * place.width()), place.height())
        area.setTop(area.top() + round((1 - y) * place.height()))
        painter.drawText(area, QtCore.Qt.AlignmentFlag.AlignHCenter, actor.GetInput())
