"""DAFNet's other networks: published sizes layer for layer, and heads, decoders and weights that obey their rules."""

from __future__ import annotations

import pytest
import torch

from disentangle.errors import InputError
from disentangle.networks.categorical import categorical
from disentangle.networks.decoders import SPADEDecoder
from disentangle.networks.discriminators import DenseDiscriminator
from disentangle.networks.film import FiLMDecoder
from disentangle.networks.fusion import maximum
from disentangle.networks.pairing import PairWeighting
from disentangle.networks.style import AnatomyStyleEncoder
from disentangle.networks.unet import UNet, UNetDecoder, UNetEncoder


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def shapes_of(modules) -> list[tuple[int, ...]]:
    """Filled, as the modules run, with the shapes (C, H, W) of what they give."""
    shapes: list[tuple[int, ...]] = []
    for module in modules:
        module.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    return shapes


# -- published sizes (method-spec, sections 0 and 2a) ------------------------------------------------------------------


def test_the_unet_has_the_published_layers():
    with torch.device("meta"):
        network = UNet()
        down, up = shapes_of(network.encoder.blocks), shapes_of([network.decoder.bottleneck, *network.decoder.blocks])
        assert network(torch.zeros(1, 1, 192, 192)).shape == (1, 8, 192, 192)
    assert down == [(64, 192, 192), (128, 96, 96), (256, 48, 48), (512, 24, 24)]
    assert up == [(1024, 12, 12), (512, 24, 24), (256, 48, 48), (128, 96, 96), (64, 192, 192)]
    assert millions(network.encoder) == pytest.approx(4.69, abs=0.005)
    assert millions(network.decoder) == pytest.approx(29.84, abs=0.005)
    assert millions(network) == pytest.approx(34.53, abs=0.005)


@pytest.mark.parametrize(("size", "extents"), [(192, (95, 47, 23, 11)), (208, (103, 51, 25, 12))])
def test_the_modality_encoder_has_the_published_layers(size, extents):
    with torch.device("meta"):
        network = AnatomyStyleEncoder(size=(size, size))
        shapes = shapes_of(network.convs)
        mean, log_variance = network(torch.zeros(1, 8, size, size), torch.zeros(1, 1, size, size))
    assert shapes == [(c, n, n) for c, n in zip((16, 32, 64, 128), extents, strict=True)]
    assert mean.shape == log_variance.shape == (1, 8)
    if size == 192:
        assert network.hidden.in_features == 15488
        assert millions(network) == pytest.approx(0.594, abs=0.0005)


def test_the_discriminators_have_the_published_layers():
    with torch.device("meta"):
        network = DenseDiscriminator(4, spectral=False)
        shapes = shapes_of(network.convs)
        assert network(torch.zeros(2, 4, 192, 192)).shape == (2,)
    assert shapes == [(64, 95, 95), (128, 46, 46), (256, 22, 22), (512, 19, 19)]
    assert millions(network) == pytest.approx(2.94, abs=0.005)


def test_the_film_decoder_has_the_published_size():
    assert millions(FiLMDecoder()) == pytest.approx(0.0058, abs=0.00005)


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["argmax", "round", "gumbel"])
def test_binary_heads_are_binary_and_pass_the_gradient_of_the_softmax(kind):
    logits, weight = torch.randn(2, 5, 4, 4, requires_grad=True), torch.randn(2, 5, 4, 4)
    hard = categorical(logits, kind)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    (found,) = torch.autograd.grad((hard * weight).sum(), logits)
    (expected,) = torch.autograd.grad((logits.softmax(1) * weight).sum(), logits)
    torch.testing.assert_close(found, expected)


def test_argmax_is_one_hot_everywhere_and_rounding_may_leave_pixels_empty():
    logits = torch.tensor([0.4, 0.35, 0.25]).log()[None, :, None, None]
    assert categorical(logits, "argmax").flatten().tolist() == [1, 0, 0]
    assert categorical(logits, "round").flatten().tolist() == [0, 0, 0]
    assert categorical(logits, "softmax").flatten().tolist() == pytest.approx([0.4, 0.35, 0.25])
    assert torch.equal(categorical(torch.randn(1, 8, 9, 9), "argmax").sum(1), torch.ones(1, 9, 9))


def test_gumbel_draws_in_training_only():
    logits = torch.zeros(1, 4, 16, 16)
    drawn = categorical(logits, "gumbel", training=True)
    assert torch.equal(drawn.sum(1), torch.ones(1, 16, 16)) and drawn.mean((0, 2, 3)).max() < 0.5
    assert torch.equal(categorical(logits, "gumbel"), categorical(logits, "argmax"))
    with pytest.raises(InputError, match="softmax, argmax, round, gumbel"):
        categorical(logits, "sign")


# -- U-Net -------------------------------------------------------------------------------------------------------------


def test_halves_make_the_whole_and_any_multiple_of_sixteen_will_do():
    network = UNet(width=0.1)
    x = torch.randn(1, 1, 48, 32)
    assert network(x).shape == (1, 8, 48, 32)
    torch.testing.assert_close(network(x), network.decoder(network.encoder(x)))


def test_batch_norm_per_sequence_touches_the_statistics_of_that_sequence_only():
    halves = UNetEncoder(1, 0.1, "batch_per_sequence", 2), UNetDecoder(8, 0.1, "batch_per_sequence", 2)
    halves[1](halves[0](torch.randn(2, 1, 32, 32), 1), 1)
    for norms in (halves[0].blocks[0].norms[0].norms, halves[1].up_norms[0].norms):
        assert not norms[0].running_mean.any() and norms[1].running_mean.any()


# -- decoders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decoder",
    [lambda **k: FiLMDecoder(**k), lambda **k: SPADEDecoder(8, 8, 1, 0.25, (2, 2), **k)],
    ids=["film", "spade"],
)
def test_decoders_are_interchangeable_and_follow_anatomy_and_style(decoder):
    network = decoder(output="tanh")
    anatomy = categorical(torch.randn(2, 8, 64, 64))
    z = torch.randn(2, 8)
    image = network(anatomy, z)
    assert image.shape == (2, 1, 64, 64) and image.abs().max() <= 1
    assert (network(anatomy, -z) - image).abs().mean() > 1e-3
    assert (network(anatomy.roll(9, 2), z) - image).abs().mean() > 1e-3
    with pytest.raises(InputError, match='output "sigmoid"'):
        decoder(output="sigmoid")


def test_a_film_block_scales_and_shifts_by_the_style():
    block = FiLMDecoder(2, 3).blocks[0]
    x, z = torch.randn(1, 2, 4, 4), torch.randn(1, 3)
    leaky = torch.nn.LeakyReLU(0.3)
    a = leaky(block.first(x))
    gamma, beta = leaky(block.scale(z))[..., None, None], leaky(block.shift(z))[..., None, None]
    torch.testing.assert_close(block(x, z), a + leaky(gamma * block.second(a) + beta))


# -- fusion, pair weights, discriminators ------------------------------------------------------------------------------


def test_the_maximum_ignores_order_and_absent_samples():
    a, b, c = (torch.rand(2, 3, 4, 4) for _ in range(3))
    yes, no = torch.tensor([True, True]), torch.tensor([False, True])
    found = maximum([a, b, c], [yes, yes, no])
    torch.testing.assert_close(found, maximum([c, a, b], [no, yes, yes]))
    torch.testing.assert_close(found[0], torch.maximum(a, b)[0])
    torch.testing.assert_close(found[1], torch.stack([a, b, c]).amax(0)[1])
    assert not maximum([a], [torch.tensor([False, True])])[0].any()


def test_permuting_candidates_permutes_their_weights():
    network = PairWeighting()
    dice = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.1, 0.1]])
    weight = network(dice)
    torch.testing.assert_close(weight.sum(1), torch.ones(2))
    torch.testing.assert_close(network(dice[:, [2, 0, 1]]), weight[:, [2, 0, 1]])
    assert weight[1].tolist() == pytest.approx([1 / 3] * 3)
    assert network(torch.rand(2, 5)).shape == (2, 5)


def test_spectral_normalisation_bounds_every_layer():
    network = DenseDiscriminator(1, (48, 48), 4)
    with torch.no_grad():
        for layer in (*network.convs, network.last):
            layer.parametrizations.weight.original.mul_(50)
        for _ in range(60):
            network(torch.randn(1, 1, 48, 48))
    for layer in (*network.convs, network.last):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_a_pooled_discriminator_takes_any_size_and_a_dense_one_says_which():
    pooled, dense = DenseDiscriminator(1, (48, 48), 4, pooled=True), DenseDiscriminator(1, (48, 48), 4)
    assert pooled(torch.randn(2, 1, 64, 50)).shape == dense(torch.randn(2, 1, 48, 48)).shape == (2,)
    with pytest.raises(InputError, match="expect images of 48 x 48 pixels, not 64 x 64"):
        dense(torch.randn(1, 1, 64, 64))
    with pytest.raises(InputError, match="at least 46"):
        DenseDiscriminator(1, (32, 64))
