"""The loss terms, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from disentangle import losses

# -- reconstruction ----------------------------------------------------------------------------------------------------


def test_masked_l1_counts_only_pixels_inside_the_mask():
    target = torch.zeros(1, 2, 1, 4)
    prediction = torch.tensor([[[[1.0, 2.0, 100.0, 100.0]], [[3.0, 4.0, 100.0, 100.0]]]])
    mask = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    torch.testing.assert_close(losses.masked_l1(prediction, target, mask), torch.tensor([2.5]))


def test_masked_l1_of_an_empty_mask_is_zero():
    assert losses.masked_l1(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item() == 0


def test_terms_are_averaged_over_the_samples_that_have_what_they_need():
    values = [torch.tensor([1.0, 100.0]), torch.tensor([2.0, 6.0])]
    weights = [torch.tensor([True, False]), torch.tensor([True, True])]
    assert losses.weighted_mean(values, weights).item() == pytest.approx(3.0)


def test_a_term_without_samples_is_zero_and_moves_nothing():
    value = torch.tensor([5.0], requires_grad=True)
    term = losses.weighted_mean([value], [torch.tensor([False])])
    term.backward()
    assert term.item() == 0 and value.grad.item() == 0


def test_latent_consistency_sums_over_dimensions_and_leaves_its_target_alone():
    style = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 5.0]], requires_grad=True)
    loss = losses.latent_consistency(style, target)
    loss.sum().backward()
    assert loss.tolist() == [5.0]
    assert target.grad is None and style.grad.tolist() == [[1.0, 1.0, -1.0]]


# -- similarity --------------------------------------------------------------------------------------------------------

# two sequences of two subjects: cos = 0.6 between the sequences of a subject, 0.8 between the subjects of a sequence
CODES = torch.tensor([[[1.0, 0.0], [0.8, 0.6]], [[0.6, 0.8], [0.0, 1.0]]])
ALL = torch.ones(2, 2, dtype=torch.bool)
TWO = torch.tensor([0, 1])


def test_anatomy_margin_by_hand():
    loss, active = losses.similarity_margin(CODES, ALL, TWO, "subject", 0.1)
    assert loss.item() == pytest.approx(0.1 - 0.6 + 0.8) and active.item() == 1


def test_style_margin_by_hand():
    loss, active = losses.similarity_margin(CODES, ALL, TWO, "sequence", 0.1)
    assert loss.item() == 0 and active.item() == 0
    loss, active = losses.similarity_margin(CODES, ALL, TWO, "sequence", 0.25)
    assert loss.item() == pytest.approx(0.25 - 0.8 + 0.6) and active.item() == 1


def test_margin_agrees_with_the_triplet_loss_of_torch():
    codes = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(0))
    triplet = torch.nn.TripletMarginWithDistanceLoss(
        distance_function=lambda a, b: 1 - torch.cosine_similarity(a, b), margin=0.1
    )
    anchors = [(i, p) for i in (0, 1) for p in (0, 1)]
    anatomy = [triplet(codes[i, p][None], codes[1 - i, p][None], codes[i, 1 - p][None]) for i, p in anchors]
    style = [triplet(codes[i, p][None], codes[i, 1 - p][None], codes[1 - i, p][None]) for i, p in anchors]
    ours = [losses.similarity_margin(codes, ALL, TWO, c, 0.1)[0] for c in ("subject", "sequence")]
    torch.testing.assert_close(torch.stack(ours), torch.stack([sum(anatomy) / 4, sum(style) / 4]))


@pytest.mark.parametrize("closer", ["subject", "sequence"])
def test_identical_codes_give_the_margin(closer):
    loss, _ = losses.similarity_margin(torch.ones(3, 4, 5), torch.ones(3, 4).bool(), torch.arange(4), closer, 0.1)
    assert loss.item() == pytest.approx(0.1)


def test_slices_of_one_subject_are_no_partners():
    loss, active = losses.similarity_margin(CODES, ALL, torch.tensor([7, 7]), "subject", 0.1)
    assert loss.item() == 0 and active.item() == 0


def test_triplets_with_a_missing_sequence_are_left_out():
    codes = CODES.clone()
    codes[1, 1] = torch.tensor([1.0, 0.0])  # whatever stands in the place of a missing sequence
    available = torch.tensor([[True, True], [True, False]])
    loss, _ = losses.similarity_margin(codes, available, TWO, "subject", 0.1)
    assert loss.item() == pytest.approx(0.3)  # of four triplets only that of sequence 0, subject 0 is complete


def test_active_fraction_counts_hinges():
    codes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    # within: 1 (p = 0), 0 (p = 1); across: 0 (i = 0), 1 (i = 1); hinges 0.1 - within + across
    loss, active = losses.similarity_margin(codes, ALL, TWO, "subject", 0.1)
    assert loss.item() == pytest.approx((0 + 0.1 + 0.1 + 1.1) / 4) and active.item() == pytest.approx(0.75)


def test_pooled_anatomy_is_the_maximum_of_each_cell():
    anatomy = torch.zeros(1, 1, 32, 16)
    anatomy[0, 0, 3, 3], anatomy[0, 0, 20, 8] = 0.5, 0.25
    assert losses.pooled_anatomy(anatomy).tolist() == [[0.5, 0.25]]
    torch.testing.assert_close(losses.pooled_anatomy(anatomy, kind="avg"), torch.tensor([[0.5 / 256, 0.25 / 256]]))


def test_f_has_480_dimensions_at_the_published_size():
    assert losses.pooled_anatomy(torch.zeros(1, 4, 160, 192)).shape == (1, 480)


def test_kl_of_known_normals():
    zero, one = torch.zeros(1, 8), torch.ones(1, 8)
    assert losses.kl_standard_normal(zero, zero).item() == 0
    assert losses.kl_standard_normal(one, zero).item() == pytest.approx(4)


# -- segmentation with partial labels ----------------------------------------------------------------------------------

# three voxels with p = (0.5, 0.3, 0.2): one healthy, one of class 2, one unlabelled
LOGITS = torch.tensor([0.5, 0.3, 0.2]).log().view(1, 3, 1, 1).expand(1, 3, 1, 3)
LABELS = torch.tensor([[[losses.HEALTHY, 2, losses.UNLABELLED]]])


def test_healthy_voxels_ask_for_the_sum_of_the_healthy_classes():
    loss = losses.marginal_cross_entropy(LOGITS, LABELS, healthy=(0, 1))
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)


def test_class_weights_and_mask_of_the_cross_entropy():
    weight = torch.tensor([1.0, 1.0, 3.0])
    loss = losses.marginal_cross_entropy(LOGITS, LABELS, (0, 1), weight)
    assert loss.item() == pytest.approx(-(math.log(0.8) + 3 * math.log(0.2)) / 4)
    loss = losses.marginal_cross_entropy(LOGITS, LABELS, (0, 1), mask=torch.tensor([[[[1.0, 0.0, 1.0]]]]))
    assert loss.item() == pytest.approx(-math.log(0.8))


def test_healthy_voxels_weigh_one_whatever_the_background_does():
    loss = losses.marginal_cross_entropy(LOGITS, LABELS, (0, 1), torch.tensor([5.0, 1.0, 3.0]))
    assert loss.item() == pytest.approx(-(math.log(0.8) + 3 * math.log(0.2)) / 4)


def test_full_labels_give_the_ordinary_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 4, 5, 5, generator=generator), torch.randint(0, 4, (2, 5, 5), generator=generator)
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(losses.marginal_cross_entropy(logits, labels), expected)


def test_dice_counts_healthy_voxels_as_free_of_lesions():
    # class 2 on the healthy and the labelled voxel: p sums to 0.4, intersection 0.2, truth 1; class 1 does not occur
    assert losses.marginal_dice(LOGITS, LABELS, (0, 1)).item() == pytest.approx(1 - 2 * 0.2 / 1.4)


def test_dice_of_a_healthy_class_leaves_healthy_voxels_out():
    labels = torch.tensor([[[losses.HEALTHY, 1, losses.UNLABELLED]]])
    assert losses.marginal_dice(LOGITS, labels, (0, 1)).item() == pytest.approx(1 - 2 * 0.3 / 1.3)


def test_segmentation_of_nothing_labelled_is_zero_and_of_the_truth_is_almost_zero():
    nothing = torch.full((1, 1, 3), losses.UNLABELLED)
    assert losses.marginal_segmentation(LOGITS, nothing, (0, 1)).item() == 0
    labels = torch.tensor([[[0, 1, 2]]])
    sure = 50 * torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    assert losses.marginal_segmentation(sure, labels).item() == pytest.approx(0, abs=1e-5)
