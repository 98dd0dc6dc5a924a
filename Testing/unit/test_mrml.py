"""The mrml room over real MRML (slicer-core): geometry, studies from nodes, results to nodes, layouts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
import vtk  # noqa: E402
from vtk.util import numpy_support  # noqa: E402

from disentangle.bundles.card import default_class  # noqa: E402
from disentangle.errors import InputError  # noqa: E402
from disentangle.inference import Result, SequenceFactors  # noqa: E402
from disentangle.mrml import cells as mrml_cells  # noqa: E402
from disentangle.mrml import layouts, results, studies  # noqa: E402
from disentangle.mrml import outputs as outputs_room  # noqa: E402
from disentangle.mrml import volumes as mrml_volumes  # noqa: E402
from disentangle.phantoms import HEART_CLASSES  # noqa: E402
from disentangle.study import Image  # noqa: E402

SHAPE = (7, 9, 11)


@pytest.fixture
def scene():
    scene = slicer.vtkMRMLScene()
    layout = slicer.vtkMRMLLayoutNode()
    scene.AddNode(layout)
    yield scene
    scene.Clear(1)


def oblique(spacing=(1.2, 0.9, 3.0), degrees=25.0, origin=(12.0, -30.0, 8.0)):
    """IJK to RAS (4, 4) of a double-oblique, anisotropic, left-handed volume."""
    turn = vtk.vtkTransform()
    turn.RotateX(degrees)
    turn.RotateZ(degrees / 2)
    rotation = slicer.util.arrayFromVTKMatrix(turn.GetMatrix())[:3, :3] @ np.diag([-1.0, -1.0, -1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(spacing)
    matrix[:3, 3] = origin
    return matrix


def add_volume(scene, name="T1", matrix=None, seed=0, kind="vtkMRMLScalarVolumeNode", shape=SHAPE):
    array = np.random.default_rng(seed).integers(1, 500, shape).astype(np.int16)
    node = scene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique() if matrix is None else matrix))
    return node


def add_linear(scene, rotate=17.0, scale=(1, 1, 1), move=(5, -7, 11), shear=0.0):
    transform = vtk.vtkTransform()
    transform.Translate(move)
    transform.RotateY(rotate)
    transform.Scale(scale)
    matrix = transform.GetMatrix()
    matrix.SetElement(0, 1, matrix.GetElement(0, 1) + shear)
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "parent")
    node.SetMatrixTransformToParent(matrix)
    return node


def world_of_voxel(node, ijk):
    """RAS world position of a voxel, by MRML's own means."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local = matrix.MultiplyPoint([*ijk, 1.0])[:3]
    if node.GetParentTransformNode() is None:
        return np.array(local)
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, to_world)
    return np.array(to_world.TransformPoint(local))


def lps_of_voxel(image, ijk):
    return (image.affine @ [*ijk, 1.0])[:3] * [-1, -1, 1]


VOXELS = [(0, 0, 0), (10, 0, 0), (0, 8, 6), (3, 4, 5)]


class TestGeometry:
    @pytest.mark.parametrize("parent", [None, {}, {"scale": (1.1, 1.1, 1.1)}])
    def test_every_voxel_of_an_oblique_volume_keeps_its_place_in_the_world(self, scene, parent):
        node = add_volume(scene)
        if parent is not None:
            node.SetAndObserveTransformNodeID(add_linear(scene, **parent).GetID())
        image = mrml_volumes.image_from_node(node)
        for voxel in VOXELS:
            assert np.allclose(lps_of_voxel(image, voxel), world_of_voxel(node, voxel), atol=1e-9)
        assert np.array_equal(image.array, slicer.util.arrayFromVolume(node))

    def test_nested_parent_transforms_are_all_applied(self, scene):
        node, inner, outer = add_volume(scene), add_linear(scene), add_linear(scene, rotate=-40, move=(0, 30, 2))
        node.SetAndObserveTransformNodeID(inner.GetID())
        inner.SetAndObserveTransformNodeID(outer.GetID())
        image = mrml_volumes.image_from_node(node)
        assert np.allclose(lps_of_voxel(image, (3, 4, 5)), world_of_voxel(node, (3, 4, 5)), atol=1e-9)

    def test_reading_changes_neither_the_node_nor_the_scene(self, scene):
        node = add_volume(scene)
        node.SetAndObserveTransformNodeID(add_linear(scene).GetID())
        before, count = mrml_volumes.ijk_to_ras(node), scene.GetNumberOfNodes()
        image = mrml_volumes.image_from_node(node)
        image.array[:] = 0
        assert np.array_equal(mrml_volumes.ijk_to_ras(node), before)
        assert slicer.util.arrayFromVolume(node).max() > 0
        assert scene.GetNumberOfNodes() == count

    @pytest.mark.parametrize("parent", [None, {}])
    def test_an_image_written_to_a_node_comes_back_as_it_was(self, scene, parent):
        source = add_volume(scene)
        if parent is not None:
            source.SetAndObserveTransformNodeID(add_linear(scene, **parent).GetID())
        image = mrml_volumes.image_from_node(source)
        target = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "copy")
        mrml_volumes.fill_volume(target, image.array, image.affine, mrml_volumes.placement_of(source))
        back = mrml_volumes.image_from_node(target)
        assert np.allclose(back.affine, image.affine, atol=1e-9)
        assert np.array_equal(back.array, image.array)
        assert np.allclose(mrml_volumes.ijk_to_ras(target), mrml_volumes.ijk_to_ras(source), atol=1e-9)

    def test_results_follow_the_input_when_its_transform_moves(self, scene):
        source, transform = add_volume(scene), add_linear(scene)
        source.SetAndObserveTransformNodeID(transform.GetID())
        image = mrml_volumes.image_from_node(source)
        target = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "result")
        mrml_volumes.fill_volume(target, image.array, image.affine, mrml_volumes.placement_of(source))
        transform.SetMatrixTransformToParent(vtk.vtkMatrix4x4())
        assert np.allclose(world_of_voxel(target, (3, 4, 5)), world_of_voxel(source, (3, 4, 5)))

    @pytest.mark.parametrize("shear", [0.3, -0.2])
    def test_a_sheared_volume_is_resampled_and_its_content_stays_in_place(self, scene, shear):
        node = self.blob(scene)
        expected = world_of_voxel(node, (20, 15, 10))
        transform = add_linear(scene, shear=shear)
        node.SetAndObserveTransformNodeID(transform.GetID())
        expected = world_of_voxel(node, (20, 15, 10))
        image = mrml_volumes.image_from_node(node)
        assert np.allclose(self.centre(image), expected, atol=0.1)
        assert mrml_volumes.placement_of(node).transform is None

    def test_a_bent_volume_is_resampled_and_its_content_stays_in_place(self, scene):
        node = self.blob(scene)
        spline = vtk.vtkThinPlateSplineTransform()
        spline.SetBasisToR()
        before, after = vtk.vtkPoints(), vtk.vtkPoints()
        for point in ((0, 0, 0), (60, 0, 0), (0, 60, 0), (0, 0, 60), (60, 60, 60), (20, 30, 10)):
            before.InsertNextPoint(point)
            after.InsertNextPoint(point[0] + 4, point[1] + 0.05 * point[2], point[2] - 3)
        spline.SetSourceLandmarks(before)
        spline.SetTargetLandmarks(after)
        transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
        transform.SetAndObserveTransformToParent(spline)
        node.SetAndObserveTransformNodeID(transform.GetID())
        expected = world_of_voxel(node, (20, 15, 10))
        assert np.allclose(self.centre(mrml_volumes.image_from_node(node)), expected, atol=0.15)

    @staticmethod
    def blob(scene):
        """A volume with one bright Gaussian around voxel (20, 15, 10)."""
        k, j, i = np.mgrid[:21, :31, :41]
        array = np.exp(-((i - 20) ** 2 + (j - 15) ** 2 + (k - 10) ** 2) / 8.0).astype(np.float32)
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "blob")
        slicer.util.updateVolumeFromArray(node, array)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique(spacing=(1.0, 1.1, 1.3))))
        return node

    @staticmethod
    def centre(image):
        """RAS centre of mass of the voxel values."""
        k, j, i = np.mgrid[tuple(slice(n) for n in image.array.shape)]
        weights = image.array / image.array.sum()
        return lps_of_voxel(image, [(w * weights).sum() for w in (i, j, k)])


class TestStudies:
    def test_a_study_holds_the_chosen_volumes_first_input_first(self, scene):
        flair, t1 = add_volume(scene, "FLAIR", seed=1), add_volume(scene, "T1", seed=2)
        inputs = studies.study_from_nodes({"flair": flair, "T1Gd": None, "T1": t1})
        assert inputs.study.available == ("FLAIR", "T1")
        assert inputs.first is flair
        assert np.array_equal(inputs.study["T1"].array, slicer.util.arrayFromVolume(t1))

    def test_one_volume_for_two_sequences_is_refused(self, scene):
        node = add_volume(scene)
        with pytest.raises(InputError, match=r"given both as T1 and as T2"):
            studies.study_from_nodes({"T1": node, "T2": node})

    def test_no_volume_is_refused(self):
        with pytest.raises(InputError, match="No volume is chosen"):
            studies.study_from_nodes({"T1": None})

    def test_a_label_map_is_refused_by_name(self, scene):
        node = add_volume(scene, "my labels", kind="vtkMRMLLabelMapVolumeNode")
        with pytest.raises(InputError, match="'my labels' is not an image"):
            studies.study_from_nodes({"T1": node})

    def test_a_volume_without_voxels_is_refused(self, scene):
        with pytest.raises(InputError, match="has no voxels"):
            studies.study_from_nodes({"T1": scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")})

    def test_a_synthetic_volume_as_input_is_mentioned(self, scene):
        node = add_volume(scene, "FLAIR (synthetic)")
        node.SetAttribute(studies.SYNTHETIC, "1")
        assert "is synthetic" in studies.study_from_nodes({"FLAIR": node}).study.warnings[0]

    def test_volumes_are_assigned_by_name_and_results_and_label_maps_left_out(self, scene):
        flair, t1 = add_volume(scene, "patient1 FLAIR"), add_volume(scene, "t1_mprage")
        add_volume(scene, "T2", kind="vtkMRMLLabelMapVolumeNode")
        add_volume(scene, "T1Gd (synthetic)").SetAttribute(studies.SYNTHETIC, "1")
        add_volume(scene, "T2 channel 1").SetAttribute(studies.ROLE, "anatomy")
        found = studies.assign_nodes(scene, ["T1", "T1Gd", "T2", "FLAIR"])
        assert {s: a.node for s, a in found.items()} == {"T1": t1, "FLAIR": flair}
        assert found["FLAIR"].guess.reason

    def test_volumes_of_another_patient_are_left_out(self, scene):
        from disentangle.mrml import hierarchy

        tree = hierarchy.tree(scene)
        ann = tree.CreateSubjectItem(tree.GetSceneItemID(), "Ann")
        bob = tree.CreateSubjectItem(tree.GetSceneItemID(), "Bob")
        for patient, names in ((ann, ("Ann T1", "Ann T2")), (bob, ("Bob FLAIR",))):
            for name in names:
                tree.CreateItem(patient, add_volume(scene, name))
        found = studies.assign_nodes(scene, ["T1", "T2", "FLAIR"])
        assert {a.node.GetName() for a in found.values()} == {"Ann T1", "Ann T2"}

    def test_a_ct_is_no_mr_sequence(self, scene):
        from disentangle.mrml import hierarchy

        node = add_volume(scene, "head")
        hierarchy.tree(scene).SetItemAttribute(hierarchy.item_of(node), "DICOM.Modality", "CT")
        assert "is CT, not MR" in studies.modality_conflict(node, "T1")
        assert studies.modality_conflict(add_volume(scene, "T1"), "T1") is None


CLASSES = [
    default_class(v, n) for v, n in enumerate(("background", "grey matter", "white matter", "peritumoral edema"))
]


def make_result(inputs):
    """What the predictor gives back, in small: factors on a working grid of its own, the rest on the first input's."""
    first = inputs.study.first
    rng = np.random.default_rng(5)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    working = lambda array: Image(array.astype(np.float32), affine)  # noqa: E731
    factors = {}
    for sequence in inputs.study.available:
        anatomy = [working(rng.random((4, 5, 6))) for _ in range(3)]
        argmax = Image(1 + np.argmax([a.array for a in anatomy], axis=0).astype(np.uint8), affine)
        factors[sequence] = SequenceFactors(
            anatomy=anatomy,
            argmax=argmax,
            modality=rng.random(8),
            reconstruction=working(rng.random((4, 5, 6))),
            input=working(rng.random((4, 5, 6))),
        )
    labels = np.zeros(first.array.shape, np.uint8)
    labels[2:4, 3:6, 4:8] = 1
    labels[4:5, 3:6, 4:8] = 2
    return Result(
        segmentation=first.with_array(labels),
        classes=CLASSES,
        synthesized={"T1Gd": first.with_array(rng.random(first.array.shape).astype(np.float32) * 100)},
        factors=factors,
        cross={(a, b): working(rng.random((4, 5, 6))) for a in factors for b in factors},
        report={"bundle": {"name": "brain-mr", "version": "1.0", "checksum": "abc"}},
    )


@pytest.fixture
def inputs(scene):
    nodes = {"T1": add_volume(scene, "my T1", seed=1), "FLAIR": add_volume(scene, "my FLAIR", seed=2)}
    transform = add_linear(scene)
    for node in nodes.values():
        node.SetAndObserveTransformNodeID(transform.GetID())
    return studies.study_from_nodes(nodes)


class TestResults:
    def test_the_segmentation_has_the_classes_names_colours_and_codes(self, scene, inputs):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        segmentation = outputs.segmentation.GetSegmentation()
        segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
        assert [s.GetName() for s in segments] == ["grey matter", "white matter", "peritumoral edema"]
        assert np.allclose(segments[0].GetColor(), np.array(CLASSES[1].color) / 255)
        assert "SCT^79654002^Edema" in segments[2].GetTerminology().replace("79654002^SCT", "SCT^79654002")
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.vtkSlicerTerminologiesModuleLogic()
        assert logic.DeserializeTerminologyEntry(segments[0].GetTerminology(), entry)
        assert entry.GetTypeObject().GetCodeValue() == "389081007"

    def test_healthy_tissue_beside_lesions_lets_the_image_through_and_organs_stay_as_they_are(self, scene, inputs):
        display = results.results_to_nodes(make_result(inputs), inputs, scene).segmentation.GetDisplayNode()
        healthy = [display.GetSegmentOpacity2DFill(f"Disentangle_{value}") for value in (1, 2)]
        assert max(healthy) < 0.5 and display.GetSegmentOpacity2DFill("Disentangle_3") == 1.0
        assert display.GetSegmentOpacity2DOutline("Disentangle_1") < 1.0
        organs = replace(make_result(inputs), classes=[default_class(n, name) for n, name in enumerate(HEART_CLASSES)])
        display = results.results_to_nodes(organs, inputs, scene).segmentation.GetDisplayNode()
        assert all(display.GetSegmentOpacity2DFill(f"Disentangle_{n}") == 1.0 for n in range(1, len(HEART_CLASSES)))

    def test_segments_lie_on_the_voxels_of_the_first_input(self, scene, inputs):
        result = make_result(inputs)
        outputs = results.results_to_nodes(result, inputs, scene)
        node = outputs.segmentation
        for value, segment in ((1, "Disentangle_1"), (2, "Disentangle_2")):
            exported = slicer.vtkOrientedImageData()
            node.GetBinaryLabelmapRepresentation(segment, exported)
            assert np.array_equal(self.on_grid(exported, inputs.first), result.segmentation.array == value)
        assert node.GetParentTransformNode() is inputs.first.GetParentTransformNode()
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is inputs.first

    @staticmethod
    def on_grid(exported, node):
        """A segment's voxels as booleans on the grid of a volume, by Slicer's own resampling."""
        reference = slicer.vtkOrientedImageData()
        reference.SetDimensions(node.GetImageData().GetDimensions())
        reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        reference.SetImageToWorldMatrix(matrix)
        output = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(exported, reference, output)
        return numpy_support.vtk_to_numpy(output.GetPointData().GetScalars()).reshape(SHAPE) > 0

    def test_every_volume_lies_where_the_result_says(self, scene, inputs):
        result = make_result(inputs)
        outputs = results.results_to_nodes(result, inputs, scene)
        pairs = [(outputs.channels["FLAIR"][2], result.factors["FLAIR"].anatomy[2])]
        pairs += [(outputs.argmax["T1"], result.factors["T1"].argmax)]
        pairs += [(outputs.synthetic["T1Gd"], result.synthesized["T1Gd"])]
        pairs += [(outputs.cross["T1", "FLAIR"], result.cross["T1", "FLAIR"])]
        for node, image in pairs:
            assert np.array_equal(slicer.util.arrayFromVolume(node), image.array)
            for voxel in VOXELS[:2]:
                assert np.allclose(world_of_voxel(node, voxel), lps_of_voxel(image, voxel), atol=1e-9)

    def test_synthetic_volumes_say_so(self, scene, inputs):
        node = results.results_to_nodes(make_result(inputs), inputs, scene).synthetic["T1Gd"]
        assert node.GetName() == "T1Gd (synthetic)"
        assert node.GetAttribute("Disentangle.Synthetic") == "1"
        assert "brain-mr" in node.GetDescription()
        assert "T1, FLAIR" in node.GetDescription()

    def test_a_synthetic_volume_is_not_said_to_be_made_from_what_was_not_read(self, scene, inputs):
        result = make_result(inputs)
        result.synthesized = {"T1": inputs.study["T1"]}
        made = results.results_to_nodes(result, inputs, scene).synthetic["T1"]
        assert "from T1, FLAIR;" in made.GetDescription()
        result.differences = {"T1": inputs.study["T1"]}
        made = results.results_to_nodes(result, inputs, scene).synthetic["T1"]
        assert "from FLAIR;" in made.GetDescription()
        result.report["inputs"] = {"T1": {"used": True}, "FLAIR": {"used": False}}
        made = results.results_to_nodes(replace(result, differences={}), inputs, scene).synthetic["T1"]
        assert "from T1;" in made.GetDescription()

    def test_a_synthetic_volume_takes_the_window_of_a_real_one_with_values_alike(self, scene, inputs):
        inputs.nodes["T1"].CreateDefaultDisplayNodes()
        inputs.nodes["T1"].GetDisplayNode().SetAutoWindowLevel(False)
        inputs.nodes["T1"].GetDisplayNode().SetWindowLevelMinMax(20, 480)
        result = make_result(inputs)
        result.synthesized = {"T1": inputs.study["T1"]}
        display = results.results_to_nodes(result, inputs, scene).synthetic["T1"].GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (20, 480)

    def test_the_map_of_the_strongest_channel_has_a_named_colour_per_channel(self, scene, inputs):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        colors = outputs.argmax["T1"].GetDisplayNode().GetColorNode()
        assert [colors.GetColorName(v) for v in range(4)] == ["background", "channel 1", "channel 2", "channel 3"]
        assert len({tuple(colors.GetLookupTable().GetTableValue(v)) for v in range(4)}) == 4
        assert outputs.argmax["FLAIR"].GetDisplayNode().GetColorNode() is colors

    def test_a_run_is_one_folder_under_the_study_of_the_first_input(self, scene):
        from disentangle.mrml import hierarchy

        tree = hierarchy.tree(scene)
        patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Ann")
        study = tree.CreateStudyItem(patient, "MR of May")
        node = add_volume(scene, "T1")
        tree.CreateItem(study, node)
        inputs = studies.study_from_nodes({"T1": node})
        assert inputs.study.name == "Ann"
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene, title="Disentangle brain-mr")
        assert tree.GetItemParent(outputs.folder) == study
        assert set(outputs.nodes()) <= set(hierarchy.nodes_below(scene, outputs.folder))

    def test_a_failure_leaves_the_scene_as_it_was(self, scene, inputs):
        before = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        result = make_result(inputs)
        result.classes = [SimpleNamespace(value=1, name="broken", color=None, terminology=None)]
        with pytest.raises(TypeError):
            results.results_to_nodes(result, inputs, scene)
        after = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        assert [n.GetID() for n in after] == [n.GetID() for n in before]

    def test_the_outputs_of_a_run_are_found_again_in_the_scene(self, scene, inputs):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        again = outputs_room.outputs_of(scene, outputs.run)
        assert list(again.inputs.items()) == list(outputs.inputs.items())
        assert again.segmentation is outputs.segmentation
        assert again.channels == outputs.channels
        assert again.cross == outputs.cross
        assert again.synthetic == outputs.synthetic
        assert again.argmax == outputs.argmax
        assert again.reconstructions == outputs.reconstructions
        assert again.aligned == outputs.aligned
        assert outputs_room.outputs_of(scene, "another run") is None

    def test_nothing_is_proposed_as_input_that_a_run_has_made(self, scene, inputs):
        results.results_to_nodes(make_result(inputs), inputs, scene)
        found = studies.assign_nodes(scene, ["T1", "T1Gd", "FLAIR"])
        assert {a.node for a in found.values()} == set(inputs.nodes.values())

    def test_results_that_were_saved_and_loaded_without_their_marks_are_no_inputs_by_their_names(self, scene, inputs):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        made = _volumes(scene)
        made -= set(inputs.nodes.values()) | set(outputs.aligned.values())  # aligned ones show what was acquired
        assert len(made) > 10
        for node in made:
            assert studies.guess_node(node).sequence is None, node.GetName()


def _volumes(scene):
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    return {scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count)}


class TestLayouts:
    @pytest.fixture
    def grids(self, scene):
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        logic = slicer.vtkMRMLLayoutLogic()
        logic.SetMRMLScene(scene)
        grids = layouts.GridLayouts(scene, layout_node=logic.GetLayoutNode())
        grids.logic = logic
        grids.layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
        return grids

    def test_the_factor_grid_has_a_row_per_sequence(self, scene, inputs, grids):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        cells = mrml_cells.factor_cells(outputs)
        assert [[c.caption for c in row] for row in cells] == [
            ["T1", "T1 ch 1", "T1 ch 2", "T1 ch 3", "T1 rec"],
            ["FLAIR", "FLAIR ch 1", "FLAIR ch 2", "FLAIR ch 3", "FLAIR rec"],
        ]
        views = grids.show(cells)
        assert len({view.GetID() for view in views}) == 10
        for view, cell in zip(views, [c for row in cells for c in row], strict=True):
            composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
            assert composite.GetBackgroundVolumeID() == cell.volume.GetID()
            assert composite.GetLinkedControl()
            assert composite.GetHotLinkedControl()
            assert view.GetViewGroup() == layouts.VIEW_GROUP
            assert view.GetLayoutLabel() == cell.caption

    def test_the_diagonal_of_the_cross_grid_is_self_reconstruction(self, scene, inputs):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        cells = mrml_cells.cross_cells(outputs)
        assert cells[0][0].volume is outputs.cross["T1", "T1"]
        assert cells[0][1].volume is outputs.cross["T1", "FLAIR"]
        assert cells[1][0].caption == "FLAIR→T1"

    def test_few_volumes_are_compared_in_one_row_and_more_in_two(self):
        outputs = outputs_room.Outputs(inputs=dict.fromkeys(("T1", "T2", "PD"), "real"), synthetic={"FLAIR": "made"})
        assert [[c.caption for c in row] for row in mrml_cells.compare_cells(outputs)] == [
            ["T1", "T2", "PD", "FLAIR syn"]
        ]
        outputs.synthetic["T1Gd"] = "made"
        rows = mrml_cells.compare_cells(outputs)
        assert [[c.caption for c in row] for row in rows] == [["T1", "T2", "PD"], ["FLAIR syn", "T1Gd syn", ""]]

    def test_grids_share_their_views(self, scene, inputs, grids):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        first = grids.show(mrml_cells.factor_cells(outputs))
        second = grids.show(mrml_cells.cross_cells(outputs))
        assert second[0] is first[0]
        assert second[1] is first[1]
        assert second[2] is first[5]
        assert scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode") == 10

    def test_the_layout_before_comes_back(self, scene, inputs, grids):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        grids.show(mrml_cells.factor_cells(outputs))
        grids.show(mrml_cells.cross_cells(outputs))
        assert grids.active
        grids.restore()
        assert grids.layout_node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
        assert not grids.active

    def test_the_segmentation_is_not_drawn_over_the_grids_but_everywhere_else(self, scene, inputs, grids):
        outputs = results.results_to_nodes(make_result(inputs), inputs, scene)
        display = outputs.segmentation.GetDisplayNode()
        for cells in (mrml_cells.factor_cells(outputs), mrml_cells.cross_cells(outputs)):
            grids.keep_out(outputs.segmentation)
            views = grids.show(cells)
            assert not any(display.IsDisplayableInView(view.GetID()) for view in views)
        red = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
        assert display.IsDisplayableInView(red.GetID())
        grids.restore()
        assert all(display.IsDisplayableInView(view.GetID()) for view in views)

    def test_restoring_without_a_grid_keeps_the_layout_that_the_user_chose(self, grids):
        grids.layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        grids.restore()
        assert grids.layout_node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView

    def test_layouts_of_different_size_have_different_numbers(self):
        numbers = {layouts.layout_id(r, c) for r in range(1, 13) for c in range(1, 13)}
        assert len(numbers) == 144
        assert all(layouts.is_grid(n) for n in numbers)
