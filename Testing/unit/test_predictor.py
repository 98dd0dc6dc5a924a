"""The predictor: any subset of sequences in, results in the geometry of the first input out, stoppable at any time."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from disentangle.errors import Cancelled, InputError
from disentangle.inference import Predictor, Result, output, result
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Wanted, neighbours
from disentangle.inference.quality import segmentation_quality
from disentangle.inference.recognition import Recognition
from disentangle.phantoms import brain_phantom
from disentangle.progress import Progress
from disentangle.study import Image, Study
from disentangle.systems.base import Capabilities, Factors, System
from tiny_bundle import tiny_bundle, tiny_system


@pytest.fixture(scope="module")
def phantom():
    return brain_phantom(5, spacing=5.0, lesions="ms")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> Predictor:
    return Predictor(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"), device="cpu")


@pytest.fixture(scope="module")
def complete(predictor: Predictor, phantom) -> Result:
    """Everything the predictor can give, of T1, T1Gd and T2."""
    return predictor.run(
        phantom.study.subset(["T1", "T1Gd", "T2"]),
        synthesize=["FLAIR"],
        factors=True,
        cross_reconstructions=True,
        probabilities=True,
        reference_images={"FLAIR": phantom.study["FLAIR"]},
    )


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_the_segmentation_lies_on_the_grid_of_the_first_input(complete: Result, phantom):
    assert complete.segmentation.grid.same_as(phantom.study["T1"].grid)
    assert complete.segmentation.array.dtype == np.uint8
    assert complete.segmentation.array.max() < len(complete.classes)
    outside = phantom.study.masks[""].array == 0
    assert (complete.segmentation.array[outside] > 0).mean() < 0.02


def test_another_first_input_gives_another_grid(predictor: Predictor, phantom):
    t2 = phantom.study["T2"]
    cropped = Image(t2.array[2:-2], _shifted(t2.affine, 2), sequence="T2")
    study = Study({"T2": cropped, "T1": phantom.study["T1"]}, masks=phantom.study.masks)
    assert predictor.run(study).segmentation.grid.same_as(cropped.grid)


def _shifted(affine: np.ndarray, slices: int) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += slices * affine[:3, 2]
    return moved


def test_the_label_is_the_most_probable_class(complete: Result):
    stacked = np.stack([complete.probabilities[c.name].array for c in complete.classes])
    assert np.array_equal(stacked.argmax(axis=0), complete.segmentation.array)
    assert np.allclose(stacked.sum(axis=0), 1.0, atol=1e-3)


def test_anatomy_channels_share_each_voxel_of_the_brain(complete: Result):
    factors = complete.factors["T1Gd"]
    total = sum(channel.array for channel in factors.anatomy)
    inside = factors.argmax.array > 0
    assert np.allclose(total[inside], 1.0, atol=1e-3)
    assert np.allclose(total[~inside], 0.0)
    strongest = np.stack([c.array for c in factors.anatomy]).argmax(axis=0) + 1
    assert np.array_equal(factors.argmax.array[inside], strongest[inside])
    assert factors.modality.shape == (16,)


def test_cross_reconstructions_have_every_pair_and_the_diagonal_is_the_reconstruction(complete: Result):
    assert len(complete.cross) == 9
    assert np.array_equal(complete.cross["T2", "T2"].array, complete.factors["T2"].reconstruction.array)
    assert not np.array_equal(complete.cross["T2", "T1"].array, complete.cross["T2", "T2"].array)


def test_the_input_on_the_working_grid_keeps_its_intensities(complete: Result, phantom):
    seen, real = complete.factors["T1"].input.array, phantom.study["T1"].array
    brain = phantom.study.masks[""].array > 0
    assert np.median(seen[seen != 0]) == pytest.approx(np.median(real[brain]), rel=0.05)


def test_a_synthesised_image_has_the_units_of_the_scan_and_nothing_outside_the_brain(complete: Result, phantom):
    made = complete.synthesized["FLAIR"]
    assert made.sequence == "FLAIR"
    assert made.grid.same_as(phantom.study["T1"].grid)
    assert made.array.min() >= 0
    brain = phantom.study["T1"].array[phantom.study.masks[""].array > 0]
    assert 0.2 * np.median(brain) < np.median(made.array[made.array > 0]) < 5 * np.median(brain)


def test_synthesis_from_scans_with_negative_intensities_keeps_them(predictor: Predictor, phantom):
    study = phantom.study.subset(["T1"])
    brain = study.masks[""].array > 0
    scaled = (study["T1"].array - study["T1"].array[brain].mean()) / study["T1"].array[brain].std()
    study.images["T1"] = study["T1"].with_array(np.where(brain, scaled, 0).astype(np.float32))
    made = predictor.run(study, segment=False, synthesize=["T2"]).synthesized["T2"]
    assert made.array.min() < 0


def test_the_report_says_where_everything_came_from(complete: Result):
    report = json.loads(json.dumps(complete.report, allow_nan=False))
    assert report["bundle"]["name"] == "tiny"
    assert report["labels"]["2"] == "grey matter"
    assert set(report["inputs"]) == {"T1", "T1Gd", "T2"}
    assert report["volumes_ml"]["grey matter"] == pytest.approx(
        (complete.segmentation.array == 2).sum() * 5.0**3 / 1000, rel=1e-3
    )
    assert report["timings_s"].keys() >= {"load", "prepare", "network", "results"}
    assert report["quality"]["synthesis"]["FLAIR"]["nearest_input"]["sequence"] in ("T1", "T1Gd", "T2")
    assert set(report["quality"]["segmentation"]) <= {c.name for c in complete.classes}


# -- what goes in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [["T1"], ["FLAIR"], ["T1Gd", "FLAIR"], ["T2", "T1", "FLAIR", "T1Gd"]])
def test_any_subset_of_the_sequences_runs(predictor: Predictor, phantom, sequences: list[str]):
    found = predictor.run(phantom.study.subset(sequences), synthesize=["T2"])
    assert found.segmentation.array.any()
    assert found.synthesized["T2"].array.any()
    assert [n for n, entry in found.report["inputs"].items() if entry["used"]] == sequences


def test_a_sequence_that_the_model_does_not_know_is_left_out_with_a_warning(predictor: Predictor, phantom):
    study = phantom.study.subset(["T1"])
    study.images["SWI"] = study["T1"]
    found = predictor.run(study)
    assert any("SWI was left out" in warning for warning in found.report["warnings"])
    assert found.report["inputs"]["SWI"]["used"] is False
    assert np.array_equal(found.segmentation.array, predictor.run(phantom.study.subset(["T1"])).segmentation.array)


def test_nothing_that_the_model_knows_is_refused(predictor: Predictor, phantom):
    with pytest.raises(InputError, match="reads T1, T1Gd, T2, FLAIR, but the study has only SWI"):
        predictor.run(Study({"SWI": phantom.study["T1"]}))


def test_a_ct_is_refused_whatever_it_is_called(predictor: Predictor, phantom):
    t1 = phantom.study["T1"]
    hounsfield = np.where(phantom.study.masks[""].array > 0, 40, -1000).astype(np.int16)
    hounsfield[:, 20:30, 20:25] = 900
    for name in ("CT", "T1"):
        with pytest.raises(InputError, match="is a CT"):
            predictor.run(Study({"T2": phantom.study["T2"], name: t1.with_array(hounsfield)}))


def test_what_the_model_cannot_make_is_refused_before_computing(predictor: Predictor, phantom):
    with pytest.raises(InputError, match="cannot synthesise PD; it can synthesise T1, T1Gd, T2, FLAIR"):
        predictor.run(phantom.study, synthesize=["PD"])
    with pytest.raises(InputError, match="A reference of T2 was given, but T2 is not to be made"):
        predictor.run(phantom.study, reference_images={"T2": phantom.study["T2"]})


def test_an_example_image_gives_its_style(predictor: Predictor, phantom):
    study = phantom.study.subset(["T1"])
    plain = predictor.run(study, segment=False, synthesize=["T2"]).synthesized["T2"].array
    styled = predictor.run(study, segment=False, synthesize=["T2"], style_images={"T2": phantom.study["T2"]})
    assert not np.allclose(styled.synthesized["T2"].array, plain)
    assert styled.report["timings_s"]["style"] > 0
    assert set(predictor.session.run.looks) == {"T2"}, "questions about the run are about that look"


def test_a_sequence_that_somebody_has_confirmed_is_not_doubted(predictor: Predictor, phantom, monkeypatch):
    shares = {"T1": 0.0, "T1Gd": 0.0, "T2": 0.0, "FLAIR": 1.0}
    seen = {"T1": Recognition("FLAIR", shares, 0.5, "upright", 0.2)}
    monkeypatch.setattr(Predictor, "recognised", lambda self, prepared, progress: seen)
    study = phantom.study.subset(["T1"])
    doubted = predictor.run(study).report
    assert any("given as T1 looks like FLAIR" in warning for warning in doubted["warnings"])
    assert doubted["confidence"]["study"] == 0.0
    kept = predictor.run(study, confirmed=["T1"]).report
    assert not any("looks like" in warning for warning in kept["warnings"])
    assert "input" not in kept["confidence"]
    assert kept["confidence"]["study"] > 0.0
    assert kept["inputs"]["T1"]["looks_like"]["sequence"] == "FLAIR", "it is reported all the same"


def test_a_missing_device_falls_back_with_a_note(predictor: Predictor, phantom):
    if torch.cuda.is_available():
        device, note = "mps", "no Apple GPU"
    else:
        device, note = "cuda:3", "no GPU cuda:3"
    found = Predictor(predictor.bundle, device).run(phantom.study.subset(["T1"]))
    assert any(note in warning for warning in found.report["warnings"])
    assert found.report["device"].startswith("cpu")
    with pytest.raises(InputError, match="no device 'gpu'"):
        Predictor(predictor.bundle, "gpu")


# -- progress and cancellation -----------------------------------------------------------------------------------------


def test_progress_runs_once_from_0_to_1(predictor: Predictor, phantom):
    seen: list[tuple[str, float]] = []
    predictor.run(phantom.study.subset(["T1", "T2"]), progress=lambda stage, f, message: seen.append((stage, f)))
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [s for s in dict.fromkeys(stage for stage, _ in seen) if s in ("load", "network", "results")] == [
        "load",
        "network",
        "results",
    ]


LOOKS = [
    "looking at T1",
    "looking at T2",
    "grey matter in the geometry of the first input",
    "images of what was computed",
]


@pytest.mark.parametrize("until", LOOKS)
def test_cancel_is_noticed_between_the_sequences_classes_and_images(predictor: Predictor, phantom, until):
    messages: list[str] = []
    predictor._prepared = None
    with pytest.raises(Cancelled):
        predictor.run(
            phantom.study.subset(["T1", "T2"]),
            factors=True,
            progress=lambda stage, fraction, message: messages.append(message),
            cancelled=lambda: until in messages,
        )
    assert messages.index(until) >= len(messages) - 2  # the other core may have begun something


def test_cancel_is_noticed_within_a_batch(predictor: Predictor, phantom):
    messages: list[str] = []

    def watch(stage: str, fraction: float, message: str) -> None:
        if stage == "network":
            messages.append(message)

    with pytest.raises(Cancelled):
        predictor.run(phantom.study, progress=watch, cancelled=lambda: len(messages) == 2)
    assert len(messages) == 2  # the second of four sequences of the first batch
    assert predictor.run(phantom.study.subset(["T1"])).segmentation is not None


# -- the engine, with a system whose answers are known -----------------------------------------------------------------


class Echo(System):
    """Decodes to what it was shown; its one style number is the mean of the image."""

    def __init__(self, limit: int = 99) -> None:
        super().__init__()
        self.capabilities = Capabilities(("T1", "T2"), ("T1",), ("background", "bright"), (0,), 3, 8, 3, 1)
        self.parameter = torch.nn.Parameter(torch.zeros(1))
        self.limit = limit
        self.sizes: list[int] = []

    def encode(self, images, mask=None):
        ((name, image),) = images.items()
        if len(image) > self.limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        self.sizes.append(len(image))
        style = (image * mask).sum(dim=(1, 2, 3), keepdim=True)[:, :, 0, 0] / (3 * mask.sum(dim=(1, 2, 3)))[:, None]
        return Factors({name: image}, {name: style}, mask)

    def fuse(self, factors):
        return torch.stack(list(factors.anatomy.values())).mean(0)

    def segment(self, fused):
        bright = 20 * (fused[:, 1:2] - 0.5)
        return torch.cat([-bright, bright], dim=1)

    def decode(self, anatomy, style):
        return anatomy

    def synthesis_anatomy(self, factors):
        return self.fuse(factors)


def _volume() -> tuple[dict[str, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(3)
    mask = np.zeros((9, 13, 10), bool)
    mask[1:8, 2:11, 1:9] = True
    return {n: (generator.random(mask.shape) * mask).astype(np.float32) for n in ("T1", "T2")}, mask


def test_overlapping_slices_average_to_what_was_shown():
    images, mask = _volume()
    engine = Engine(EagerNetwork(Echo()), 4, pytest.fail)
    volumes = engine.run(images, mask, Wanted(targets=("T1",), factors=True), Progress())
    assert np.allclose(volumes.rebuilt["T1", "T1"], images["T1"], atol=1e-6)
    assert np.allclose(volumes.synthesized["T1"], (images["T1"] + images["T2"]) / 2, atol=1e-6)


class Aligning(Echo):
    """Moves every other anatomy two columns to bring it onto the reference."""

    def align(self, factors, reference):
        moved = {n: a if n == reference else a.roll(2, -1) for n, a in factors.anatomy.items()}
        return Factors(moved, factors.modality, factors.mask)


def test_what_is_fused_is_aligned_to_the_first_sequence_and_factors_stay_beside_their_input():
    images, mask = _volume()
    mask[1:8] = True
    engine = Engine(EagerNetwork(Aligning()), 4, pytest.fail)
    volumes = engine.run(images, mask, Wanted(targets=("T1",), factors=True), Progress())
    assert np.allclose(volumes.anatomy["T2"][1], images["T2"])
    padded = np.pad(images["T2"], ((0, 0), (0, 0), (3, 3)))  # the frame of 16 pixels
    expected = (images["T1"] + np.roll(padded, 2, -1)[..., 3:-3]) / 2
    assert np.allclose(volumes.synthesized["T1"][mask], expected[mask], atol=1e-6)


def test_images_have_the_background_of_the_preprocessing_outside_the_mask_and_the_frame():
    images, mask = _volume()
    system = Echo()
    system.capabilities = replace(system.capabilities, size=(8, 16), agnostic=True)
    system.agnostic_image = lambda anatomy, sequence: anatomy
    images = {n: np.where(mask, image, -1).astype(np.float32) for n, image in images.items()}
    notes = []
    engine = Engine(EagerNetwork(system), 4, notes.append, -1.0)
    volumes = engine.run(images, mask, Wanted(targets=("T1",), factors=True), Progress())
    rows = slice(2, 10)  # 8 of the 9 rows of the mask
    for found in (volumes.rebuilt["T1", "T1"], volumes.agnostic["T1"]):
        assert np.allclose(found[:, rows], images["T1"][:, rows], atol=1e-6)
        assert (found[:, 10:] == -1).all()
    assert (volumes.probabilities[0][:, 10:] == 1).all()
    assert len(notes) == 1
    assert "reads slices of 8 x 16 pixels" in notes[0]


def test_the_result_does_not_depend_on_the_size_of_batches():
    images, mask = _volume()
    engines = [Engine(EagerNetwork(Echo()), n, pytest.fail) for n in (1, 3, 8)]
    found = [engine.run(images, mask, Wanted(factors=True), Progress()) for engine in engines]
    for other in found[1:]:
        assert np.array_equal(found[0].probabilities, other.probabilities)
        assert np.allclose(found[0].modality["T2"], other.modality["T2"])


def test_probabilities_are_those_of_the_middle_slice_and_background_outside_the_mask():
    images, mask = _volume()
    volumes = Engine(EagerNetwork(Echo()), 8, pytest.fail).run(images, mask, Wanted(), Progress())
    bright = (images["T1"] + images["T2"]) / 2 > 0.5
    assert np.array_equal(volumes.probabilities[1][mask] > 0.5, bright[mask])
    assert (volumes.probabilities[0][~mask] == 1).all()


def test_slices_without_brain_are_skipped():
    images, mask = _volume()
    system = Echo()
    Engine(EagerNetwork(system), 8, pytest.fail).run(images, mask, Wanted(), Progress())
    assert sum(system.sizes) == 2 * 7


def test_the_modality_factor_is_the_mean_over_the_brain():
    images, mask = _volume()
    images["T1"] = mask.astype(np.float32) * np.linspace(1, 2, 9, dtype=np.float32)[:, None, None]
    volumes = Engine(EagerNetwork(Echo()), 2, pytest.fail).run(images, mask, Wanted(factors=True), Progress())
    # The blocks at both ends of the brain hold one empty slice each, which lowers their means.
    middle = [np.mean([images["T1"][n].max() for n in (k - 1, k, k + 1)]) for k in range(1, 8)]
    assert volumes.modality["T1"][0] == pytest.approx(np.mean(middle), rel=1e-5)


def test_short_memory_halves_the_batches_and_gives_the_same_result():
    images, mask = _volume()
    notes: list[str] = []
    engine = Engine(EagerNetwork(Echo(limit=2)), 8, notes.append)
    volumes = engine.run(images, mask, Wanted(), Progress())
    assert engine.batch_size == 2
    assert len(notes) == 2
    expected = Engine(EagerNetwork(Echo()), 8, pytest.fail).run(images, mask, Wanted(), Progress())
    assert np.array_equal(volumes.probabilities, expected.probabilities)


def test_no_memory_at_all_is_one_sentence():
    images, mask = _volume()
    with pytest.raises(InputError, match="not enough memory for one slice"):
        Engine(EagerNetwork(Echo(limit=0)), 4, lambda note: None).run(images, mask, Wanted(), Progress())


def test_an_empty_mask_is_one_sentence():
    images, mask = _volume()
    with pytest.raises(InputError, match="No brain was found"):
        Engine(EagerNetwork(Echo()), 4, pytest.fail).run(images, np.zeros_like(mask), Wanted(), Progress())


def test_neighbours_repeat_the_border_slice():
    volume = np.arange(4, dtype=np.float32)[:, None, None]
    assert neighbours(volume, np.array([0, 2, 3]), 3)[..., 0, 0].tolist() == [[0, 0, 1], [1, 2, 3], [2, 3, 3]]


def test_folded_kernels_give_what_unfolded_ones_give(predictor: Predictor):
    folded, plain = predictor.networks.system("cpu"), predictor.bundle.system()
    image, mask = torch.randn(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    with torch.no_grad():
        one, other = (s.encode({"T2": image}, mask).anatomy["T2"] for s in (folded, plain))
    assert torch.allclose(one, other, atol=1e-5)
    assert tiny_system().capabilities == plain.capabilities


# -- scores ------------------------------------------------------------------------------------------------------------


def test_an_image_of_few_sagittal_slices_is_scored(predictor: Predictor, phantom):
    few = {}
    for name in ("T1", "FLAIR"):
        whole = phantom.study[name]
        affine = whole.affine.copy()
        affine[:3, 0] *= 7
        few[name] = Image(np.ascontiguousarray(whole.array[:, :, 3::7]), affine, sequence=name)
    assert few["T1"].array.shape[2] < 7
    found = predictor.run(
        Study({"T1": few["T1"]}), segment=False, synthesize=["FLAIR"], reference_images={"FLAIR": few["FLAIR"]}
    )
    assert -1 <= found.report["quality"]["synthesis"]["FLAIR"]["ssim"] < 1


@pytest.mark.parametrize("registered", [False, True])
def test_a_reference_that_cannot_be_scored_costs_the_run_its_score_alone(predictor: Predictor, phantom, registered):
    study, flair = phantom.study.subset(["T1"]), phantom.study["FLAIR"]
    spoilt = flair.array.astype(np.float32)
    k, j, i = np.argwhere(phantom.study.masks[""].array > 0).mean(axis=0).round().astype(int)
    spoilt[k, j, i] = np.nan
    reference = Image(spoilt, _shifted(flair.affine, 1) if registered else flair.affine, sequence="FLAIR")
    wanted = {"synthesize": ["FLAIR", "T2"], "reference_images": {"FLAIR": reference, "T2": phantom.study["T2"]}}
    found = predictor.run(study, **wanted)
    assert found.segmentation is not None and set(found.synthesized) == {"FLAIR", "T2"}
    assert set(found.report["quality"]["synthesis"]) == set(found.differences) == {"T2"}
    (warning,) = (w for w in found.report["warnings"] if "not scored" in w)
    assert warning.startswith("The synthetic FLAIR was not scored against its reference. ")
    assert "1 voxels that are" in warning and "constant" not in warning


def test_dice_counts_the_classes_that_share_a_name(complete: Result):
    labels = np.zeros((4, 4, 4), int)
    labels[0] = 9
    segmentation = np.zeros((4, 4, 4), np.uint8)
    segmentation[0, :2] = 2
    scores = segmentation_quality(segmentation, labels, {9: "Grey Matter", 3: "bone"}, complete.classes)
    assert scores == {"grey matter": pytest.approx(2 * 8 / (8 + 16), abs=1e-4)}


def test_the_background_is_no_class_to_score(complete: Result):
    labels = np.zeros((4, 4, 4), int)
    labels[0] = 9
    name = complete.classes[0].name
    scores = segmentation_quality(labels // 9 * 2, labels, {0: name, 9: "grey matter"}, complete.classes)
    assert scores == {"grey matter": 1.0}


# -- files -------------------------------------------------------------------------------------------------------------


def test_everything_is_written_and_synthetic_images_say_so(complete: Result, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("stays", encoding="utf-8")
    complete.write(tmp_path / "out")
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert names >= {
        "mine.txt",
        "segmentation.nii.gz",
        "synthetic_FLAIR.nii.gz",
        "factors/T1/anatomy_4.nii.gz",
        "factors/T2/reconstruction.nii.gz",
        "cross/T1_as_T2.nii.gz",
        "probabilities/white-matter_lesion.nii.gz",
        "modality.json",
        "report.json",
        "overview.png",
        "cross.png",
    }
    header = sitk.ReadImage(str(tmp_path / "out" / "synthetic_FLAIR.nii.gz"))
    assert header.GetMetaData("descrip").startswith("synthetic")
    labels = Image.read(tmp_path / "out" / "segmentation.nii.gz")
    assert labels.grid.same_as(complete.segmentation.grid)
    assert np.array_equal(labels.array, complete.segmentation.array)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "out" / "overview.png").read_bytes().index(b"IDAT")
    zlib.decompress(_first_data((tmp_path / "out" / "overview.png").read_bytes()))


def _first_data(png: bytes) -> bytes:
    start = png.index(b"IDAT")
    return png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start], "big")]


def test_a_segmentation_as_nrrd_names_its_segments(complete: Result, tmp_path: Path):
    result.write_image(complete.segmentation, tmp_path / "a.seg.nrrd", "labels", complete.classes)
    header = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert header.GetMetaData("Segment1_Name") == "grey matter"
    assert header.GetMetaData("Segment1_LabelValue") == "2"
    assert "389081007^Gray Matter" in header.GetMetaData("Segment1_Tags")


def test_no_space_left_leaves_nothing(complete: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[Path] = []

    def fill_up(image, path, *more):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        path.write_bytes(b"x")
        written.append(path)

    monkeypatch.setattr(result, "write_image", fill_up)
    with pytest.raises(InputError, match="no space left"):
        complete.write(tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_move_that_fails_takes_back_what_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    moves: list[Path] = []
    real = Path.replace

    def replace(self, target):
        moves.append(Path(target))
        if len(moves) == 3:
            raise OSError(13, "Permission denied")
        return real(self, target)

    (tmp_path / "a").write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(InputError, match="permission"), output.staged_outputs(tmp_path) as staging:
        for name in ("b", "sub/c", "d"):
            staging.path(tmp_path / name).write_text("new", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_outputs_are_checked_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    output.check_writable(tmp_path / "new" / "deep" / "seg.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(InputError, match="is a file"):
        output.check_writable(tmp_path / "file" / "seg.nii.gz")
    with pytest.raises(InputError, match="is a folder; name a file"):
        output.check_writable(tmp_path)
    with pytest.raises(InputError, match="is a file; name a folder"):
        output.check_writable(tmp_path / "file", folder=True)
    monkeypatch.setattr(output.os, "access", lambda *args: False)
    with pytest.raises(InputError, match="read-only"):
        output.check_writable(tmp_path / "seg.nii.gz")


def test_results_need_no_torch():
    code = "import sys; from disentangle.inference import Predictor, Result; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
