"""Digital brains: exact truth, plausible contrast, known motion and noise, reproducible from a seed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from disentangle.errors import InputError
from disentangle.phantoms import (
    BRAIN_CLASSES,
    AbdomenPhantomConfig,
    BrainPetConfig,
    BrainPhantomConfig,
    brain_phantom,
    create_phantom,
    leftovers,
    write_phantom,
)
from disentangle.phantoms.acquisition import rician, slice_grid
from disentangle.phantoms.anatomy import draw_deformation, points_of
from disentangle.phantoms.mr_signal import (
    draw_protocol,
    draw_relaxation,
    inversion_recovery,
    prepared_gradient_echo,
    spin_echo,
    spoiled_gradient_echo,
    tissue_signal,
)
from disentangle.phantoms.phantom import files_of_phantom
from disentangle.phantoms.randomness import smooth_noise
from disentangle.study import Grid, Study

COARSE = 5.0
PERFECT = {"bias": 0.0, "noise": 0.0, "blur_mm": 0.0, "smoothing": 0.0, "gamma": 1.0, "contrast_jitter": 0.0}


@pytest.fixture(scope="module")
def diseased():
    """A subject with white-matter lesions and a glioma, under a perfect scanner."""
    return brain_phantom(11, spacing=3.0, lesions="both", sequences=("T1", "T1Gd", "T2", "FLAIR", "PD"), **PERFECT)


def test_the_same_seed_gives_the_same_voxels_and_another_seed_does_not():
    first, again, other = (brain_phantom(seed, spacing=COARSE) for seed in (5, 5, 6))
    for sequence, image in first.study.images.items():
        assert np.array_equal(image.array, again.study[sequence].array)
    assert np.array_equal(first.labels, again.labels)
    assert first.parameters == again.parameters
    assert first.labels.shape != other.labels.shape or (first.labels != other.labels).any()


def test_sequences_and_noise_do_not_change_the_subject():
    plain = brain_phantom(5, spacing=COARSE)
    other = brain_phantom(5, spacing=COARSE, sequences=("FLAIR", "PD"), noise=0.2, skull=False)
    assert np.array_equal(plain.labels, other.labels)


def test_voxel_size_does_not_change_the_subject():
    fine, coarse = (brain_phantom(11, spacing=s, lesions="both", sequences=("T1",)) for s in (2.0, 3.0))
    reference = sitk.Resample(
        fine.study.labels.to_sitk(), coarse.grid.to_sitk_reference(), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    same = sitk.GetArrayFromImage(reference) == coarse.labels
    # Thin structures may fall either way; a different subject would agree in about half of the voxels.
    assert same[coarse.labels > 0].mean() > 0.85


def test_tissue_fractions_fill_the_brain_exactly(diseased):
    total = sum(diseased.tissues.values())
    inside = diseased.study.masks[""].array > 0
    assert np.abs(total[inside] - 1).max() < 1e-4
    assert total[~inside].max() == 0
    assert min(fraction.min() for fraction in diseased.tissues.values()) > -1e-6


def test_labels_name_the_class_with_the_largest_share(diseased):
    groups = {
        1: ("csf", "vessel", "dura", "choroid"),
        2: ("gm", "deep_gm", "pallidum"),
        3: ("wm",),
        4: ("lesion",),
        5: ("edema",),
        6: ("necrosis", "nonenhancing"),
        7: ("enhancing",),
    }
    shares = np.stack([sum(diseased.tissues[name] for name in names) for names in groups.values()])
    inside = diseased.study.masks[""].array > 0
    assert np.array_equal(diseased.labels[inside], 1 + shares.argmax(axis=0)[inside])
    assert (diseased.labels[~inside] == 0).all()
    assert diseased.study.label_names == dict(enumerate(BRAIN_CLASSES[1:], start=1))


def test_every_class_of_a_diseased_brain_is_there(diseased):
    assert set(np.unique(diseased.labels)) == set(range(8))


def test_healthy_brains_have_no_lesion_labels():
    assert brain_phantom(2, spacing=COARSE, lesions="none").labels.max() == 3


@pytest.mark.parametrize("seed", range(4))
def test_contrast_is_ordered_as_in_real_studies(seed):
    phantom = brain_phantom(
        seed, spacing=3.0, lesions="both", sequences=("T1", "T1Gd", "T2", "FLAIR", "PD"), texture=0.0, **PERFECT
    )

    def level(sequence: str, tissue: str) -> float:
        share = phantom.tissues[tissue]
        return float(np.median(phantom.study[sequence].array[share >= min(0.9, share.max())]))

    assert level("T1", "csf") < level("T1", "gm") < level("T1", "wm")
    assert level("T2", "wm") < level("T2", "gm") < level("T2", "csf")
    assert level("PD", "wm") < level("PD", "gm")
    assert level("FLAIR", "csf") < 0.6 * min(level("FLAIR", "gm"), level("FLAIR", "wm"))
    for sequence in ("T2", "FLAIR"):
        assert level(sequence, "lesion") > 1.15 * level(sequence, "wm")
        assert level(sequence, "edema") > 1.15 * level(sequence, "wm")
    assert level("T1", "lesion") < level("T1", "wm")
    assert level("T1", "enhancing") < level("T1", "wm")
    assert level("T1Gd", "enhancing") > 1.2 * level("T1Gd", "wm")


def test_signal_equations_have_their_known_limits():
    assert spin_echo(1000.0, 100.0, 0.8, tr=1e9, te=0.0) == pytest.approx(0.8)
    assert spin_echo(1000.0, 100.0, 1.0, tr=1e9, te=100.0) == pytest.approx(np.exp(-1))
    assert inversion_recovery(1000.0, 1e9, 1.0, tr=1e9, te=0.0, ti=1000 * np.log(2)) == pytest.approx(0, abs=1e-9)
    assert prepared_gradient_echo(1000.0, 1e9, 1.0, cycle=1e9, te=0.0, ti=1e9) == pytest.approx(1.0)
    angles = np.arange(1.0, 90.0, 0.5)
    best = angles[np.argmax(spoiled_gradient_echo(900.0, 50.0, 1.0, tr=15.0, te=3.0, flip_deg=angles))]
    assert best == pytest.approx(np.rad2deg(np.arccos(np.exp(-15.0 / 900.0))), abs=0.5)


@pytest.mark.parametrize("field_tesla", [1.5, 3.0])
def test_contrast_agent_brightens_what_takes_it_up_and_leaves_fluid_alone(field_tesla):
    rng = np.random.default_rng(0)
    relaxation, protocol = draw_relaxation(rng, field_tesla), draw_protocol(rng, "T1Gd", field_tesla)
    gain = {n: tissue_signal(t, protocol, True) / tissue_signal(t, protocol, False) for n, t in relaxation.items()}
    assert gain["csf"] == pytest.approx(1)
    assert min(gain["enhancing"], gain["vessel"], gain["choroid"]) > 1.3
    assert gain["wm"] < 1.1


def test_noise_is_rician():
    rng = np.random.default_rng(1)
    air = rician(rng, np.zeros((60, 60, 60), dtype=np.float32), 5.0)
    assert air.mean() == pytest.approx(5 * np.sqrt(np.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(5 * np.sqrt(2 - np.pi / 2), rel=0.01)
    tissue = rician(rng, np.full((60, 60, 60), 20, dtype=np.float32), 5.0)
    assert (tissue.astype(float) ** 2).mean() == pytest.approx(20**2 + 2 * 5**2, rel=0.01)


def test_noise_of_a_head_shows_in_the_air():
    phantom = brain_phantom(
        3, spacing=COARSE, skull=True, lesions="none", sequences=("T2",), **{**PERFECT, "noise": 0.05}
    )
    image = phantom.study["T2"].array
    corner = image[:3, :3, :3]
    white = np.median(image[phantom.tissues["wm"] > 0.9])
    assert corner.mean() == pytest.approx(0.05 * white * np.sqrt(np.pi / 2), rel=0.25)


def test_the_returned_transform_undoes_the_motion():
    changes = {"spacing": 3.0, "lesions": "none", "sequences": ("T1", "T2"), **PERFECT}
    still = brain_phantom(8, **changes)
    shifted = brain_phantom(8, misregistration_mm=9.0, misregistration_deg=12.0, **changes)
    truth = still.study["T2"].array
    transform = shifted.transforms["T2"]
    back = sitk.GetArrayFromImage(
        sitk.Resample(shifted.study["T2"].to_sitk(), still.grid.to_sitk_reference(), transform, sitk.sitkLinear)
    )
    before = np.abs(shifted.study["T2"].array - truth).mean()
    assert np.abs(back - truth).mean() < 0.35 * before
    centre = shifted.grid.corners().mean(axis=0)
    assert np.linalg.norm(np.array(transform.TransformPoint(centre)) - centre) == pytest.approx(9.0, abs=1e-6)
    assert np.array_equal(shifted.study["T1"].array, still.study["T1"].array)
    assert (shifted.study.masks["T2"].array > 0).sum() == pytest.approx(still.study.masks[""].array.sum(), rel=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_lie_over_the_subject_and_are_stacked_along_k(axis):
    grid = Grid((40, 50, 45), np.diag([2.0, 2.0, 2.0, 1.0]))
    thick = slice_grid(grid, 5.0, axis)
    assert thick.spacing == pytest.approx([2, 2, 5])
    assert np.abs(thick.direction[:, 2]).argmax() == axis
    assert np.abs(thick.corners().mean(axis=0) - grid.corners().mean(axis=0)).max() < 1e-9
    assert np.linalg.det(thick.direction) == pytest.approx(1.0)


def test_thick_slices_show_the_same_subject():
    changes = {"spacing": 2.0, "lesions": "none", "sequences": ("T1",), **PERFECT}
    isotropic = brain_phantom(8, **changes)
    thick = brain_phantom(8, thick_slice_mm=6.0, slice_axes=(0,), **changes)
    assert thick.study["T1"].spacing == pytest.approx([2, 2, 6])
    back = sitk.Resample(thick.study["T1"].to_sitk(), isotropic.grid.to_sitk_reference(), sitk.Transform())
    inside = isotropic.study.masks[""].array > 0
    pair = sitk.GetArrayFromImage(back)[inside], isotropic.study["T1"].array[inside]
    assert np.corrcoef(*pair)[0, 1] > 0.75


def test_a_common_grid_can_be_asked_for():
    phantom = brain_phantom(
        8, spacing=3.0, thick_slice_mm=6.0, misregistration_mm=5.0, misregistration_deg=5.0, common_grid=True
    )
    assert all(image.grid.same_as(phantom.grid) for image in phantom.study.images.values())
    assert set(phantom.study.masks) == {""}


def test_named_sequences_are_missing():
    phantom = brain_phantom(1, spacing=COARSE, missing=("T2", "T1"))
    assert phantom.study.available == ("T1Gd", "FLAIR")
    assert set(phantom.transforms) == {"T1Gd", "FLAIR"}


def test_sequences_go_missing_by_chance_but_never_all():
    options = {"spacing": 8.0, "lesions": "none", "missing": 0.6}
    counts = [len(brain_phantom(seed, **options).study.available) for seed in range(6)]
    assert min(counts) == 1
    assert 1 < np.mean(counts) < 3


def test_a_tumour_pushes_tissue_but_not_the_skull():
    healthy, ill = (brain_phantom(6, spacing=3.0, lesions=kind, sequences=("T1",)) for kind in ("none", "glioma"))
    assert np.array_equal(healthy.study.masks[""].array, ill.study.masks[""].array)
    outside_tumour = (ill.labels < 5) & (ill.labels > 0)
    assert (healthy.labels != ill.labels)[outside_tumour].mean() > 0.01


def test_head_shapes_do_not_fold():
    for seed in range(5):
        deformation, _ = draw_deformation(np.random.default_rng(seed), 1.3, 5.5)
        grid = Grid((48, 54, 46), np.array([[4.0, 0, 0, -92], [0, 4.0, 0, -90], [0, 0, 4.0, -84], [0, 0, 0, 1]]))
        moved = deformation(points_of(grid)).astype(float)
        # Row a: derivative of component a along x, y, z.
        jacobian = np.stack([np.stack(np.gradient(c, 4.0)[::-1]) for c in moved])
        assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0


@pytest.mark.parametrize("seed", range(106, 112))
def test_the_grid_holds_the_whole_brain(seed):
    mask = brain_phantom(seed, spacing=COARSE, lesions="none", sequences=("T1",), deformation=1.5).study.masks[""].array
    assert mask[1:-1, 1:-1, 1:-1].sum() == mask.sum()


def test_wide_ventricles_come_with_atrophy():
    young, old = (brain_phantom(4, spacing=3.0, lesions="none", sequences=("T1",), atrophy=a) for a in (0.0, 0.8))
    assert (old.labels == 1).sum() > 1.3 * (young.labels == 1).sum()


def test_random_fields_are_standardised_and_independent_of_the_voxel_size():
    fine = smooth_noise(np.random.default_rng(0), (80, 80, 80), (2.0, 2.0, 2.0), 12.0, extent=200)
    coarse = smooth_noise(np.random.default_rng(0), (40, 40, 40), (4.0, 4.0, 4.0), 12.0, extent=200)
    assert fine.mean() == pytest.approx(0, abs=0.1)
    assert fine.std() == pytest.approx(1, abs=0.1)
    assert np.abs(fine[::2, ::2, ::2] - coarse).max() < 1e-4


def test_a_written_phantom_is_a_study_folder(tmp_path):
    phantom = create_phantom("brain", 3, spacing=COARSE, misregistration_mm=3.0, misregistration_deg=2.0)
    folder = write_phantom(phantom, tmp_path / "subject", tissues=True)
    study = Study.from_folder(folder)
    assert study.available == phantom.study.available
    assert np.array_equal(study["T2"].array, phantom.study["T2"].array)
    assert np.array_equal(study.labels.array, phantom.labels)
    assert study.label_names == phantom.study.label_names
    assert json.loads((folder / "parameters.json").read_text(encoding="utf-8"))["seed"] == 3
    moved = sitk.ReadTransform(str(folder / "T1_to_T2.tfm")).TransformPoint((10.0, 20.0, 30.0))
    assert moved == pytest.approx(phantom.transforms["T2"].TransformPoint((10.0, 20.0, 30.0)), abs=1e-6)
    white = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "tissues" / "wm.nii.gz"))) / 255
    assert np.abs(white - phantom.tissues["wm"]).max() < 0.003
    assert files_of_phantom(phantom, folder, tissues=True) == {p for p in folder.rglob("*") if p.is_file()}
    assert leftovers(phantom, folder, tissues=True) == []


def test_what_an_older_phantom_left_in_a_folder_is_found(tmp_path):
    old = create_phantom("brain", 3, spacing=8.0, misregistration_mm=3.0)
    folder = write_phantom(old, tmp_path / "subject", tissues=True)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    new = create_phantom("brain", 3, spacing=8.0, missing="T2")
    moved = {f"T1_to_{s}.tfm" for s in ("T1Gd", "T2", "FLAIR")}
    moved |= {f"brainmask_{s}.nii.gz" for s in ("T1Gd", "T2", "FLAIR")}
    assert {p.name for p in leftovers(new, folder, tissues=True)} == {"T2.nii.gz", *moved}
    tissues = {p.name for p in (folder / "tissues").iterdir()}
    assert {p.name for p in leftovers(new, folder)} == {"T2.nii.gz", *moved, *tissues}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("lung", {}, "kind"),
        ("brain", {"colour": "red"}, "no option 'colour'"),
        ("brain", {"spacing": 0.0}, "voxels"),
        ("brain", {"sequences": ("CT",)}, "CT"),
        ("brain", {"sequences": ("T1", "T1")}, "each once"),
        ("brain", {"lesions": "stroke"}, "stroke"),
        ("brain", {"missing": ("T1", "T1Gd", "T2", "FLAIR")}, "at least one"),
        ("brain", {"seed": 2}, "no option 'seed'"),
        ("brain", {"spacing": "abc"}, "spacing .* cannot be 'abc'; give a number from 0 or three numbers"),
        ("brain", {"spacing": (2, 2)}, "spacing"),
        ("brain", {"noise": "abc"}, r"noise .*; give a number from 0 or two numbers in order, \[low, high\]"),
        ("brain", {"noise": -3}, "noise .* -3"),
        ("brain", {"noise": float("nan")}, "noise .* nan"),
        ("brain", {"noise": float("inf")}, "noise .* inf"),
        ("brain", {"noise": (-0.1, 0.1)}, "noise"),
        ("brain", {"noise": (0.2, 0.1)}, "noise"),
        ("brain", {"noise": (0.1, 0.2, 0.3)}, "noise"),
        ("brain", {"noise": None}, "noise"),
        ("brain", {"noise": True}, "noise"),
        ("brain", {"skull": "maybe"}, "skull .* 'maybe'; give true or false"),
        ("brain", {"skull": 1}, "skull"),
        ("brain", {"lesions": 5}, "lesions .* 5; give a text"),
        ("brain", {"missing": "T9"}, "'T9' is not a sequence"),
        ("brain", {"missing": 5 + 1j}, "missing .* give a number from 0 or a list of names"),
        ("brain", {"slice_axes": (3,)}, "axes 3"),
        ("brain", {"slice_axes": ()}, "axes none"),
        ("brain-pet", {"counts": "many"}, "counts .* 'many'"),
        ("heart", {"slices": 9.5}, "slices .* 9.5; give a whole number"),
        ("heart", {"size": "big"}, "size .* 'big'"),
        ("abdomen", {"lesions": "abc"}, "lesions .* 'abc'"),
        ("abdomen", {"lesions": -1}, "lesions .* -1"),
        ("abdomen", {"lesions": True}, "lesions .* True"),
    ],
)
def test_an_impossible_phantom_is_refused_in_one_sentence(kind, options, words):
    with pytest.raises(InputError, match=words) as error:
        create_phantom(kind, 1, **options)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_one_name_or_number_is_a_list_of_one():
    config = BrainPhantomConfig(sequences="t1ce", missing="T2", slice_axes=0)
    assert (config.sequences, config.missing, config.slice_axes) == (("T1Gd",), ("T2",), (0,))
    assert BrainPhantomConfig(missing=0.5).missing == 0.5
    assert BrainPetConfig(missing="PET").missing == ("PET",)
    assert AbdomenPhantomConfig(sequences="CT", size=64).size == (64, 64)


def test_numbers_of_numpy_and_lists_are_numbers_and_tuples():
    config = BrainPhantomConfig(spacing=np.array([2, 2, 4]), noise=[np.float32(0.1), np.float64(0.2)])
    assert config.spacing == (2.0, 2.0, 4.0)
    assert AbdomenPhantomConfig(slices=np.int64(4), size=np.array([32, 48])).size == (32, 48)


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed"):
        brain_phantom(-1)


def test_gliomas_grow_as_large_as_asked() -> None:
    usual, large = (
        brain_phantom(6, spacing=4.0, lesions="glioma", sequences=("T1",), **sizes)
        for sizes in ({}, {"glioma_radius_mm": 36.0, "glioma_edema_mm": 35.0})
    )
    parts = [np.isin(p.labels, (5, 6, 7)).sum() / (p.labels > 0).sum() for p in (usual, large)]
    assert parts[1] > 2 * parts[0] and 0.1 < parts[1] < 0.4
    assert large.parameters["glioma"]["radius_mm"] == 36.0
