"""Labels mean what the study says, caches are used, and batches are what a margin loss over slices needs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from disentangle.datasets.artefacts import ArtefactAugmentation
from disentangle.datasets.augmentation import IntensityAugmentation, plane_grid, sample_plane
from disentangle.datasets.labels import HEALTHY, UNLABELLED, class_value, training_labels
from disentangle.datasets.packs import is_pack, read_pack, write_pack
from disentangle.datasets.phantoms import load_phantoms
from disentangle.datasets.sampling import SamplingConfig, SliceSampler
from disentangle.datasets.studies import find_studies, load_studies
from disentangle.datasets.volumes import Subject, cache_path, cached
from disentangle.errors import InputError
from disentangle.phantoms.brain import BRAIN_CLASSES
from disentangle.preprocessing import PreprocessingConfig

SEQUENCES = ("T1", "FLAIR")
PLAIN = SamplingConfig(batch=3, sizes=((32, 32),), lesions=0, flip=0, rotation=0, scale=0, shift=0)


def subject(number: int, group: str | None = None, sequences=SEQUENCES, source: str = "phantom") -> Subject:
    """A box brain whose intensity is ``number`` + slice / 100, with a lesion (label 4) in slice 6."""
    mask = np.zeros((12, 24, 20), bool)
    mask[1:11, 3:21, 4:16] = True
    volume = (number + np.arange(12)[:, None, None] / 100) * mask
    labels = np.where(mask, 3, 0).astype(np.uint8)
    labels[6, 10:12, 8:10] = 4
    images = {s: volume.astype(np.float16) for s in sequences}
    return Subject(f"s{number}", group or f"s{number}", images, mask, labels, (1.5, 1.5, 1.5), source)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("white-matter lesion", "white-matter lesion"),
        ("necrosis", "necrotic or non-enhancing core"),
        ("necrotic core", "necrotic or non-enhancing core"),
        ("non-enhancing tumor", "necrotic or non-enhancing core"),
        ("edema", "peritumoral edema"),
        ("Peritumoral oedema", "peritumoral edema"),
        ("enhancing tumor", "enhancing tumour"),
        ("Gray matter", "grey matter"),
    ],
)
def test_label_names_are_understood_in_their_variants(name, meaning):
    assert BRAIN_CLASSES[class_value(name)] == meaning


def test_a_study_with_drawn_lesions_says_that_the_rest_of_the_brain_is_healthy():
    labels, mask = np.array([0, 0, 1, 4, 1]), np.array([False, True, True, True, False])
    mapped = training_labels(labels, {1: "necrosis", 4: "enhancing tumor"}, mask)
    assert mapped.tolist() == [0, HEALTHY, 6, 7, 0]


def test_a_study_without_labels_says_nothing_inside_the_brain():
    assert training_labels(None, {}, np.array([False, True])).tolist() == [0, UNLABELLED]


def test_where_tissues_are_named_an_unlabelled_voxel_is_unknown():
    names = dict(enumerate(BRAIN_CLASSES))
    assert training_labels(np.array([0, 3]), names, np.array([True, True])).tolist() == [UNLABELLED, 3]


def test_labels_without_a_known_name_are_refused():
    with pytest.raises(InputError, match='label name "liver"'):
        training_labels(np.array([1]), {1: "liver"}, np.array([True]))
    with pytest.raises(InputError, match="Label 9 has no name"):
        training_labels(np.array([9]), {1: "edema"}, np.array([True]))


def test_the_cache_makes_a_subject_once_and_again_when_the_file_is_damaged(tmp_path):
    made = []

    def make() -> Subject:
        made.append(1)
        return subject(1)

    first, second = cached(tmp_path, {"key": 1}, make), cached(tmp_path, {"key": 1}, make)
    assert len(made) == 1
    assert np.array_equal(first.images["T1"], second.images["T1"])
    assert (second.name, second.group, second.spacing) == (first.name, first.group, first.spacing)
    cache_path(tmp_path, {"key": 1}).write_bytes(b"PK damaged")
    assert cached(tmp_path, {"key": 1}, make).name == "s1"
    assert len(made) == 2
    assert cache_path(tmp_path, {"key": 2}) != cache_path(tmp_path, {"key": 1})


def test_a_batch_shows_different_persons_at_one_height():
    subjects = [subject(n, group=f"person {n // 2}") for n in range(8)]
    sampler = SliceSampler(subjects, SEQUENCES, (4,), PLAIN, seed=3)
    for number in range(20):
        batch = sampler.batch(number)
        middles = [float(batch["images"]["T1"][b, 1].max()) for b in range(3)]
        persons = [int(m + 1e-3) // 2 for m in middles]
        heights = [round(m % 1, 2) for m in middles]
        assert len(set(persons)) == 3
        assert batch["subject"].tolist() == persons
        assert max(heights) - min(heights) < 0.011


def test_a_batch_is_a_function_of_seed_and_number_alone():
    config = SamplingConfig(batch=3, sizes=((32, 32),), intensity={})
    one, two = (SliceSampler([subject(n) for n in range(5)], SEQUENCES, (4,), config, seed=1) for _ in range(2))
    one.batch(0)
    assert torch.equal(one.batch(7)["images"]["T1"], two.batch(7)["images"]["T1"])
    assert not torch.equal(one.batch(7)["images"]["T1"], one.batch(8)["images"]["T1"])


def test_without_augmentation_a_slice_is_the_volume_s_own_centred_with_its_neighbours():
    subjects = [subject(n) for n in range(1, 4)]
    batch = SliceSampler(subjects, SEQUENCES, (4,), PLAIN).batch(0)
    stack = batch["images"]["FLAIR"][0]
    values = sorted(float(stack[s].max()) for s in range(3))
    assert values[2] - values[0] == pytest.approx(0.02, abs=0.005)
    assert int(batch["mask"][0].sum()) == 18 * 12
    rows, columns = torch.nonzero(batch["mask"][0, 0], as_tuple=True)
    assert (int(rows.min()) + int(rows.max()) + 1) // 2 == 16
    assert (int(columns.min()) + int(columns.max()) + 1) // 2 == 16


def test_a_missing_sequence_is_zero_and_not_available():
    subjects = [subject(1), subject(2, sequences=("T1",)), subject(3)]
    batch = SliceSampler(subjects, SEQUENCES, (), PLAIN).batch(0)
    for b in range(3):
        has = bool(batch["available"]["FLAIR"][b])
        assert has == bool(batch["images"]["FLAIR"][b].any())
    assert int(batch["available"]["FLAIR"].sum()) == 2
    assert batch["available"]["T1"].all()


def test_background_is_a_class_of_whole_slices_and_unknown_inside_a_brain():
    turned = SamplingConfig(batch=2, sizes=((40, 40),), lesions=0, rotation=90, shift=6)
    brain = [subject(n) for n in range(2)]
    heart = []
    for number in range(2):
        labels = np.zeros((12, 24, 20), np.uint8)
        labels[:, 8:14, 6:12] = 1
        images = {s: np.full(labels.shape, -1 + number / 2, np.float16) for s in SEQUENCES}
        whole = np.ones(labels.shape, bool)
        heart.append(Subject(f"h{number}", f"h{number}", images, whole, labels, (1, 1, 8), "phantom"))
    for number in range(8):
        batch = SliceSampler(brain, SEQUENCES, (), turned).batch(number)
        assert not (batch["labels"][batch["mask"][:, 0] > 0] == 0).any()
        batch = SliceSampler(heart, SEQUENCES, (), turned).batch(number)
        assert batch["mask"].all() and set(batch["labels"].unique().tolist()) == {0, 1}
        # Beyond the border a slice goes on as it ended: no grey of 0, which is no value of these images.
        assert (batch["images"]["T1"] < -0.49).all()


def test_a_lesion_bias_of_one_always_shows_the_lesion():
    config = SamplingConfig(batch=2, sizes=((32, 32),), lesions=1, flip=0, rotation=0, scale=0, shift=0)
    sampler = SliceSampler([subject(n) for n in range(4)], SEQUENCES, (4,), config)
    assert all((sampler.batch(n)["labels"] == 4).any() for n in range(10))


def test_sources_are_drawn_by_their_weights():
    subjects = [subject(n, source="phantom" if n < 8 else "study") for n in range(10)]
    config = SamplingConfig(batch=1, sizes=((32, 32),), weights={"phantom": 1, "study": 3})
    sampler = SliceSampler(subjects, SEQUENCES, (), config)
    studies = sum(int(sampler.batch(n)["subject"][0]) >= 8 for n in range(200))
    assert 120 < studies < 180


def test_too_few_persons_for_a_batch_are_refused():
    with pytest.raises(InputError, match="as many different subjects"):
        SliceSampler([subject(n, group="one") for n in range(8)], SEQUENCES, (), PLAIN)


def test_a_flip_exchanges_left_and_right_about_the_centre():
    plane = torch.zeros(1, 33, 33)
    plane[0, 10, 12] = 1
    flipped = sample_plane(plane, plane_grid((33, 33), (16, 16), (32, 32), flip=True), "bilinear")
    assert torch.nonzero(flipped[0] > 0.5).tolist() == [[10, 16 + 4]]


def test_rotation_and_scale_act_about_the_centre():
    plane = torch.zeros(1, 33, 33)
    plane[0, 16, 22] = 1
    turned = sample_plane(plane, plane_grid((33, 33), (16, 16), (32, 32), angle=np.pi / 2), "bilinear")
    row, column = torch.nonzero(turned[0] > 0.5)[0].tolist()
    assert column == 16
    assert abs(row - 16) == 6
    larger = sample_plane(plane, plane_grid((33, 33), (16, 16), (32, 32), scale=1.5), "bilinear")
    assert torch.nonzero(larger[0] > 0.5)[:, 1].float().mean() == pytest.approx(16 + 9, abs=1)


def test_intensity_changes_keep_the_background_absent_sequences_and_the_order_of_tissues():
    random = np.random.default_rng(0)
    mask = torch.zeros(3, 32, 32)
    mask[:, 4:28, 4:28] = 1
    planes = torch.zeros(2, 3, 32, 32)
    planes[0, :, 4:28, 4:16], planes[0, :, 4:28, 16:28] = -1.0, 1.0
    augment = IntensityAugmentation(probability=1.0, noise=0.02, bias=0.0)
    for _ in range(20):
        changed = augment(planes, mask, random)
        assert not (changed * (1 - mask)).any()
        assert not changed[1].any()
        assert changed[0, :, 8:24, 6:12].mean() < 0 < changed[0, :, 8:24, 20:26].mean()
        assert not torch.equal(changed[0], planes[0])


def test_phantoms_come_prepared_labelled_and_from_the_cache_the_second_time(tmp_path):
    config = PreprocessingConfig(spacing=(6.0, 6.0, 6.0))
    arguments = {"spacing": 6, "sequences": ["T1", "T2"]}
    one = load_phantoms([4], arguments, [{"lesions": "glioma"}], config, tmp_path)[0]
    files = list(tmp_path.glob("*.npz"))
    again = load_phantoms([4], arguments, [{"lesions": "glioma"}], config, tmp_path)[0]
    assert len(files) == 1
    assert np.array_equal(one.labels, again.labels)
    assert set(np.unique(one.labels[~one.mask])) == {0}
    assert {1, 2, 3} <= set(np.unique(one.labels[one.mask]).tolist())
    inside = one.images["T1"][one.mask].astype(float)
    assert abs(inside.mean()) < 0.2
    assert 0.7 < inside.std() < 1.3
    assert not one.images["T1"][~one.mask].any()


def test_a_misspelt_exclusion_is_refused_rather_than_leaking_a_test_study(tmp_path):
    for name in ("ms-1", "ms-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.json").write_text(json.dumps({"sequences": []}), encoding="utf-8")
    assert [p.name for p in find_studies(tmp_path, ["ms-*"], ["ms-2"])] == ["ms-1"]
    with pytest.raises(InputError, match='named "ms-3"'):
        find_studies(tmp_path, ["ms-*"], ["ms-3"])
    with pytest.raises(InputError, match="does not exist"):
        find_studies(tmp_path / "nowhere")


def test_real_studies_bring_their_lesions_licence_and_person(shared_data, tmp_path):
    config = PreprocessingConfig(spacing=(4.0, 4.0, 4.0), registration="none", pose="reference")
    folders = find_studies(shared_data, ["tcga-fg-6692", "ms-19"])
    ms, glioma = load_studies(folders, config, BRAIN_CLASSES, tmp_path, [["tcga-fg-6692", "tcga-fg-6692-native"]])
    assert set(np.unique(ms.labels)) == {0, 4, HEALTHY}
    assert set(np.unique(glioma.labels)) == {0, 5, 6, 7, HEALTHY}
    assert glioma.group == "tcga-fg-6692"
    assert ms.about["license"] == "CC BY"


def test_a_part_takes_the_class_of_the_whole_where_it_has_none_of_its_own():
    assert class_value("enhancing tumor", ("background", "whole tumour")) == 1
    assert class_value("liver tumour", ("background", "liver")) == 1
    assert class_value("liver tumor", ("background", "liver tumour", "liver")) == 1
    assert class_value("left kidney", ("background", "liver", "kidneys")) == 2


def test_artefacts_spoil_a_sequence_inside_its_mask_the_same_way_for_the_same_draw():
    mask = torch.zeros(3, 32, 32)
    mask[:, 4:28, 6:26] = 1
    planes = torch.stack([torch.linspace(-1, 1, 32).expand(3, 32, 32) * mask, torch.zeros(3, 32, 32)])
    spoil = ArtefactAugmentation(motion=1, ghosting=1, spike=1)
    one, again = (spoil(planes, mask, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one, again)
    assert float((one[0] - planes[0]).abs().max()) > 0.05
    assert not one[0][mask == 0].any()
    assert not one[1].any(), "a sequence that is not there stays away"
    assert torch.equal(ArtefactAugmentation(0, 0, 0)(planes, mask, np.random.default_rng(5)), planes)


PACKED = PreprocessingConfig(spacing=(4.0, 4.0, 4.0))


def subject_named(name: str, group: str) -> Subject:
    mask = np.ones((2, 3, 3), bool)
    image = np.arange(18, dtype=np.float16).reshape(mask.shape)
    labels, about = mask.astype(np.uint8), {"license": "CC BY"}
    return Subject(name, group, {"T1": image}, mask, labels, (4.0, 4.0, 4.0), "study", about)


def test_a_pack_gives_back_the_studies_that_were_put_in(tmp_path):
    persons = [subject_named("a-1", "a-1"), subject_named("a-2", "a-1"), subject_named("b-1", "b-1")]
    assert is_pack(write_pack(tmp_path / "pack", persons, PACKED, BRAIN_CLASSES))
    found = read_pack(tmp_path / "pack", PACKED, BRAIN_CLASSES, ["a-*"], ["a-1"])
    assert [(s.name, s.group, s.about) for s in found] == [("a-2", "a-1", {"license": "CC BY"})]
    assert np.array_equal(found[0].images["T1"], persons[1].images["T1"])
    with pytest.raises(InputError, match='named "c-\\*"'):
        read_pack(tmp_path / "pack", PACKED, BRAIN_CLASSES, ["c-*"])
    with pytest.raises(InputError, match="holds prepared studies"):
        find_studies(tmp_path / "pack")


def test_a_pack_says_what_is_wrong_with_it(tmp_path):
    pack = write_pack(tmp_path / "pack", [subject_named("a", "a"), subject_named("b", "b")], PACKED, BRAIN_CLASSES)
    with pytest.raises(InputError, match="prepared with another spacing than"):
        read_pack(pack, PreprocessingConfig(spacing=(3.0, 3.0, 3.0)), BRAIN_CLASSES)
    with pytest.raises(InputError, match="not empty"):
        write_pack(pack, [subject_named("a", "a")], PACKED, BRAIN_CLASSES)
    with pytest.raises(InputError, match="no studies to pack"):
        write_pack(tmp_path / "other", [], PACKED, BRAIN_CLASSES)
    (pack / "a.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"a\.npz is missing or damaged"):
        read_pack(pack, PACKED, BRAIN_CLASSES)
    (pack / "pack.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"pack\.json is damaged"):
        read_pack(pack, PACKED, BRAIN_CLASSES)
