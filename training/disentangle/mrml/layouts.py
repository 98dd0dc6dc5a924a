"""Grids of linked slice views: generated layouts, what each view shows, and the way back to the layout before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

import numpy as np
import slicer

from .cells import Cell, Grid
from .linked import SharedLooks
from .live import point_in_view

VIEW_GROUP = 74
"""View group of the grids: linked among themselves, not with Slicer's own views."""
_FIRST_LAYOUT = 7400
MAX_ROWS, MAX_COLUMNS = 12, 12
_COLOR = "#BEBEBE"
"""Of the title bars; Slicer writes captions in black."""
_USUAL_ROWS, _USUAL_COLUMNS = 5, 12
"""Largest grid of up to five sequences."""
_TAG = "Disentangle"
KEPT_OUT = "Disentangle.KeptOut"
"""Attribute of a display node whose list of views was made here; it is saved with the scene, as the list is."""
TURNED = "Disentangle.Turned"
"""Attribute of a view that was turned to the slices of a stack."""


def layout_id(rows: int, columns: int) -> int:
    """Number of the layout of that size; the same in every session, so that a saved scene finds it again."""
    if not (0 < rows <= MAX_ROWS and 0 < columns <= MAX_COLUMNS):
        raise ValueError(f"no layout of {rows} x {columns} views")
    return _FIRST_LAYOUT + rows * (MAX_COLUMNS + 1) + columns


def is_grid(layout: int) -> bool:
    """Whether a layout number is one of the grids."""
    return _FIRST_LAYOUT <= layout <= layout_id(MAX_ROWS, MAX_COLUMNS)


def is_grid_view(layout_name: str | None) -> bool:
    """Whether a view, by its layout name, is one of the grids'."""
    return (layout_name or "").startswith(_TAG)


def view_tag(row: int, column: int) -> str:
    """Singleton tag (= layout name) of a view; grids of every size share their views."""
    return f"{_TAG}{row + 1}-{column + 1}"


def layout_xml(rows: int, columns: int) -> str:
    """Description of a grid of axial slice views for ``vtkMRMLLayoutNode.AddLayoutDescription``."""
    lines = ['<layout type="vertical" split="false">']
    for row in range(rows):
        lines.append(' <item><layout type="horizontal" split="false">')
        for column in range(columns):
            tag = escape(view_tag(row, column))
            lines += [
                f'  <item><view class="vtkMRMLSliceNode" singletontag="{tag}">',
                '   <property name="orientation" action="default">Axial</property>',
                f'   <property name="viewlabel" action="default">{row + 1}-{column + 1}</property>',
                f'   <property name="viewcolor" action="default">{_COLOR}</property>',
                f'   <property name="viewgroup" action="default">{VIEW_GROUP}</property>',
                "  </view></item>",
            ]
        lines.append(" </layout></item>")
    lines.append("</layout>")
    return "\n".join(lines)


def _describe(node: slicer.vtkMRMLLayoutNode, rows: int, columns: int) -> None:
    """Tell Slicer what the layout of that size looks like."""
    number = layout_id(rows, columns)
    if not node.IsLayoutDescription(number):
        node.AddLayoutDescription(number, layout_xml(rows, columns))


def register_layouts(node: slicer.vtkMRMLLayoutNode | None) -> None:
    """Tell Slicer of the usual grids when it starts: a scene that was saved with one of them on screen holds only its
    number, and would open without any view."""
    if node is None:
        return
    modifying = node.StartModify()
    for rows in range(1, _USUAL_ROWS + 1):
        for columns in range(1, _USUAL_COLUMNS + 1):
            _describe(node, rows, columns)
    node.EndModify(modifying)


class GridLayouts:
    """Shows grids of cells and finds the way back.

    Args:
        scene: the scene.
        application_logic: Slicer's; finds the slice logic of a view. None where there are no views (tests).
        layout_node: the layout node; default: the scene's.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        application_logic: slicer.vtkMRMLApplicationLogic | None = None,
        layout_node: slicer.vtkMRMLLayoutNode | None = None,
    ) -> None:
        self.scene = scene
        self.application_logic = application_logic
        self._layout_node = layout_node
        self._previous: int | None = None
        self._place: tuple[float, float, float] | None = None
        self._looks = SharedLooks(scene)

    @property
    def layout_node(self) -> slicer.vtkMRMLLayoutNode | None:
        return self._layout_node or self.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    @property
    def active(self) -> bool:
        """Whether one of the grids is on screen."""
        return self.layout_node is not None and is_grid(self.layout_node.GetViewArrangement())

    def preparing(self, cells: Grid) -> Iterator[None]:
        """Make and fill the views of a grid before it is on screen, one at a step: :meth:`show` then takes a moment.

        A view that is added to the scene gets its widget at once, and is hidden until a layout has it.
        """
        for row in range(len(cells)):
            for column in range(len(cells[row])):
                tag = view_tag(row, column)
                if self.scene.GetSingletonNode(tag, "vtkMRMLSliceNode") is None:
                    self.scene.AddNode(_new_view(self.scene, tag))
                    yield
                self._fill(row, column, cells[row][column])
                yield

    def show(self, cells: Grid, fit: bool = True) -> list[slicer.vtkMRMLSliceNode]:
        """Put a grid of views on screen and fill it; views that exist already are used again.

        Args:
            fit: also :meth:`fit`; views that are made here have their size only once events were processed.

        Returns:
            the slice nodes, row by row.
        """
        rows, columns = len(cells), len(cells[0])
        node = self.layout_node
        number = layout_id(rows, columns)
        _describe(node, rows, columns)
        self._place = point_in_view(self.scene, view_tag(0, 0) if self.active else "Red")
        if not self.active:
            self._previous = node.GetViewArrangement()
        if node.GetViewArrangement() != number:
            node.SetViewArrangement(number)
        views = [self._fill(row, column, cells[row][column]) for row in range(rows) for column in range(columns)]
        self._looks.begin(cells)
        if fit:
            self.fit(cells)
        return views

    def fit(self, cells: Grid, in_plane: bool = False) -> None:
        """Show each view's volume in full, all of them at the same height and scale, and link the views.

        The slice is the one that the user looked at, where the volume has it, else the middle one. Stacks of thick
        slices are shown slice by slice, as they were acquired, however they lie; all else axially.

        Args:
            in_plane: turn every view to the slices of the first volume.
        """
        plane = next((c.volume for row in cells for c in row if c.volume is not None), None) if in_plane else None
        offset, shown = None, []
        places = [(row, column) for row in range(len(cells)) for column in range(len(cells[row]))]
        for row, column in places:
            logic = self._slice_logic(self._slice_node(view_tag(row, column)))
            if logic is None or cells[row][column].volume is None:
                continue
            stack = _is_stack(cells[row][column].volume)
            _turn(logic.GetSliceNode(), plane or (cells[row][column].volume if stack else None))
            logic.FitSliceToBackground()
            if offset is None:
                self._go_to_place(logic.GetSliceNode(), cells[row][column].volume)
                if stack or in_plane:
                    logic.SnapSliceOffsetToIJK()
                offset = logic.GetSliceOffset()
            logic.SetSliceOffset(offset)
            shown.append(logic.GetSliceNode())
        _share_field(shown)
        for row, column in places:
            composite = self._composite_node(self._slice_node(view_tag(row, column)))
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)

    def _go_to_place(self, view: slicer.vtkMRMLSliceNode, volume: slicer.vtkMRMLVolumeNode) -> None:
        """Move a view to the slice that the user looked at before the grid came up, if the volume reaches so far."""
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        if self._place is not None:
            x, y, z = self._place
            if all(low <= v <= high for v, low, high in zip((-x, -y, z), bounds[::2], bounds[1::2], strict=True)):
                view.JumpSliceByOffsetting(-x, -y, z)

    def restore(self) -> None:
        """Back to the layout that was there before the first grid."""
        node = self.layout_node
        if node is not None and self.active:
            default = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
            previous = self._previous
            node.SetViewArrangement(default if previous is None or is_grid(previous) else previous)
        self._previous = None
        self.clear()
        for display in self._nodes("vtkMRMLDisplayNode"):
            if display.GetAttribute(KEPT_OUT):
                display.RemoveAllViewNodeIDs()
                display.RemoveAttribute(KEPT_OUT)

    def clear(self) -> None:
        """Empty and unlink the views of the grids: linked ones would follow each other while a scene is closed."""
        self._looks.end()
        for composite in self._composites(of_grids=True):
            _show(composite, Cell(""))

    def show_elsewhere(self, volume: slicer.vtkMRMLVolumeNode) -> None:
        """Show a volume in every slice view that is not one of the grids'; where the view was empty, in full, else at
        the place that the user looks at."""
        for composite in self._composites(of_grids=False):
            empty = not composite.GetBackgroundVolumeID()
            composite.SetBackgroundVolumeID(volume.GetID())
            view = self.scene.GetSingletonNode(composite.GetLayoutName(), "vtkMRMLSliceNode")
            logic = self._slice_logic(view) if view is not None and empty else None
            if logic is not None:
                logic.FitSliceToBackground()

    def keep_out(self, node: slicer.vtkMRMLDisplayableNode) -> None:
        """Do not draw a node (a segmentation, say) over the grids; :meth:`restore` lets it be drawn everywhere again.

        A display node without a list of views is drawn in all of them, so it gets the list of all the others.
        """
        display = node.GetDisplayNode()
        if display is None or display.GetNumberOfViewNodeIDs():
            return  # the user has chosen views for it, or it is kept out already
        for kind in ("vtkMRMLSliceNode", "vtkMRMLViewNode"):
            for view in self._nodes(kind):
                if not (view.GetLayoutName() or "").startswith(_TAG):
                    display.AddViewNodeID(view.GetID())
        display.SetAttribute(KEPT_OUT, "1")

    def _nodes(self, kind: str) -> list[slicer.vtkMRMLNode]:
        return [self.scene.GetNthNodeByClass(n, kind) for n in range(self.scene.GetNumberOfNodesByClass(kind))]

    def _composites(self, of_grids: bool) -> list[slicer.vtkMRMLSliceCompositeNode]:
        nodes = self._nodes("vtkMRMLSliceCompositeNode")
        return [node for node in nodes if (node.GetLayoutName() or "").startswith(_TAG) == of_grids]

    def _fill(self, row: int, column: int, cell: Cell) -> slicer.vtkMRMLSliceNode:
        view = self._slice_node(view_tag(row, column))
        view.SetLayoutLabel(cell.caption)
        view.SetViewGroup(VIEW_GROUP)
        _show(self._composite_node(view), cell)
        return view

    def _slice_logic(self, view: slicer.vtkMRMLSliceNode) -> slicer.vtkMRMLSliceLogic | None:
        return None if self.application_logic is None else self.application_logic.GetSliceLogic(view)

    def _slice_node(self, tag: str) -> slicer.vtkMRMLSliceNode:
        node = self.scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if node is None:
            raise RuntimeError(f"the layout has no view {tag}")
        return node

    def _composite_node(self, view: slicer.vtkMRMLSliceNode) -> slicer.vtkMRMLSliceCompositeNode:
        node = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
        if node is None:  # the view has no slice logic yet, which will take this node as its own
            node = self.scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
            node.UnRegister(None)
            node.SetLayoutName(view.GetLayoutName())
            node = self.scene.AddNode(node)
        return node


def _new_view(scene: slicer.vtkMRMLScene, tag: str) -> slicer.vtkMRMLSliceNode:
    """A slice node as :func:`layout_xml` describes it."""
    node = scene.CreateNodeByClass("vtkMRMLSliceNode")
    node.UnRegister(None)
    node.SetName(tag)
    node.SetLayoutName(tag)  # the singleton tag, too
    node.SetLayoutColor(*(int(_COLOR[n : n + 2], 16) / 255 for n in (1, 3, 5)))
    node.SetViewGroup(VIEW_GROUP)
    node.SetDefaultOrientation("Axial")
    node.SetOrientationToDefault()
    return node


def _is_stack(volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether a volume's slices are so far apart that no other plane shows anything."""
    *plane, step = volume.GetSpacing()
    return step > 2 * max(plane)


def _turn(view: slicer.vtkMRMLSliceNode, volume: slicer.vtkMRMLVolumeNode | None) -> None:
    """Turn a view to the slices of a volume; None undoes that, and leaves a view alone that the user has turned."""
    if volume is not None:
        view.SetOrientationToAxial()  # the plane nearest to this one is taken
        view.RotateToVolumePlane(volume)
        view.SetAttribute(TURNED, "1")
    elif view.GetAttribute(TURNED):
        view.SetOrientationToAxial()
        view.RemoveAttribute(TURNED)


def _share_field(views: Sequence[slicer.vtkMRMLSliceNode]) -> None:
    """Show in all views of one plane what is shown in the one that shows most: volumes differ in extent, and linked
    views are compared point by point."""
    widest = max(views, key=lambda view: view.GetFieldOfView()[1], default=None)
    for view in views:
        matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        wanted = slicer.util.arrayFromVTKMatrix(widest.GetSliceToRAS())
        if view is widest or not np.allclose(matrix[:3, :3], wanted[:3, :3], atol=1e-6):
            continue
        width, height, _ = view.GetDimensions()
        field = widest.GetFieldOfView()[1]
        modifying = view.StartModify()
        view.SetFieldOfView(field * width / max(height, 1), field, view.GetFieldOfView()[2])
        view.GetSliceToRAS().DeepCopy(widest.GetSliceToRAS())
        view.UpdateMatrices()
        view.EndModify(modifying)


def _id(node: slicer.vtkMRMLNode | None) -> str | None:
    return None if node is None else node.GetID()


def _show(composite: slicer.vtkMRMLSliceCompositeNode, cell: Cell) -> None:
    """Fill a view; unlinked, since a linked one would hand its volumes on to the others."""
    modifying = composite.StartModify()
    composite.SetLinkedControl(False)
    composite.SetHotLinkedControl(False)
    composite.SetDoPropagateVolumeSelection(False)
    composite.SetBackgroundVolumeID(_id(cell.volume))
    composite.SetForegroundVolumeID(_id(cell.foreground))
    composite.SetForegroundOpacity(cell.foreground_opacity if cell.foreground is not None else 0.0)
    composite.SetLabelVolumeID(_id(cell.label))
    composite.SetLabelOpacity(0.35)
    composite.EndModify(modifying)
