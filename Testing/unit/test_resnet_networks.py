"""The residual networks and discriminators of MUNIT have the published sizes and obey style and scale."""

from __future__ import annotations

import pytest
import torch

from disentangle.errors import InputError
from disentangle.networks.blocks import InstanceNorm
from disentangle.networks.multiscale import MultiScaleDiscriminator, PatchGAN
from disentangle.networks.resnet import (
    AdaINDecoder,
    PooledStyleEncoder,
    ResBlock,
    ResNetContentEncoder,
    ResNetGenerator,
    layer_norm,
)


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# -- published sizes (method-spec, sections 0 and 5a) ------------------------------------------------------------------


def test_networks_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        content, style, decoder = ResNetContentEncoder(), PooledStyleEncoder(), AdaINDecoder()
        discriminator = MultiScaleDiscriminator()
    mlp = millions(decoder.mlp)
    found = [millions(content), millions(style), millions(decoder) - mlp, mlp, millions(discriminator)]
    assert found == pytest.approx([5.38, 2.76, 5.75, 1.12, 8.27], abs=0.005)
    domain = sum(found[:4])
    assert domain == pytest.approx(15.0, abs=0.05)
    assert 2 * (domain + found[4]) == pytest.approx(46.5, abs=0.05)


def test_layers_have_the_published_shapes_at_256():
    with torch.device("meta"):
        content, style, decoder = ResNetContentEncoder(), PooledStyleEncoder(), AdaINDecoder()
        discriminator = MultiScaleDiscriminator()
        x = torch.randn(1, 1, 256, 256)
    shapes = []
    for module in [*content.layers, *decoder.blocks, *decoder.up]:
        if isinstance(module, (torch.nn.Conv2d, ResBlock)) or module in list(decoder.blocks):
            module.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    anatomy, z = content(x), style(x)
    assert z.shape == (1, 8)
    assert decoder(anatomy, z).shape == x.shape
    down = [(64, 256, 256), (128, 128, 128), *[(256, 64, 64)] * 5]
    assert shapes == down + [(256, 64, 64)] * 4 + [(128, 128, 128), (64, 256, 256), (1, 256, 256)]
    assert [tuple(s.shape) for s in discriminator(x)] == [(1, 1, 16, 16), (1, 1, 8, 8), (1, 1, 4, 4)]


def test_width_and_downsamplings_scale_encoder_and_decoder_alike():
    x = torch.randn(2, 3, 32, 64)
    encoder = ResNetContentEncoder(3, width=0.125, downsamplings=3, blocks=1)
    anatomy = encoder(x)
    assert anatomy.shape == (2, 64, 4, 8) and encoder.out_channels == 64
    assert AdaINDecoder(3, 5, 0.125, downsamplings=3, blocks=1)(anatomy, torch.randn(2, 5)).shape == x.shape
    assert PooledStyleEncoder(3, 5, 0.125)(x).shape == (2, 5)


# -- style -------------------------------------------------------------------------------------------------------------


def tiny_decoder(**changes) -> AdaINDecoder:
    return AdaINDecoder(**{"style_dim": 4, "width": 0.05, "blocks": 2, **changes})


def test_image_depends_on_style_and_on_content():
    decoder = tiny_decoder()
    anatomy, z = torch.randn(1, decoder.channels, 8, 8), torch.randn(1, 4)
    image = decoder(anatomy, z)
    assert image.abs().max() <= 1
    assert (decoder(anatomy, z + 1) - image).abs().max() > 1e-3
    assert (decoder(anatomy.flip(-1), z) - image).abs().max() > 1e-3


def test_adain_scales_and_shifts_instance_normalised_features_by_the_output_of_the_mlp():
    decoder = tiny_decoder()
    z = torch.randn(3, 4)
    values = decoder.mlp(z).view(3, 4, 2, decoder.channels)
    scale, shift = decoder.modulations(z)[3]
    torch.testing.assert_close(scale[..., 0, 0], values[:, 3, 0])
    torch.testing.assert_close(shift[..., 0, 0], values[:, 3, 1])

    block, x = decoder.blocks[0], torch.randn(3, decoder.channels, 6, 6)
    norm = torch.nn.InstanceNorm2d(decoder.channels)
    h = torch.relu(norm(block.conv_in(x)) * 2 + 0.5)
    expected = x + norm(block.conv_out(h)) * scale + shift
    two, half = torch.full_like(scale, 2.0), torch.full_like(scale, 0.5)
    torch.testing.assert_close(block(x, (two, half), (scale, shift)), expected, atol=1e-5, rtol=1e-4)


def test_without_style_the_mlp_answers_the_zero_vector_or_the_normalisation_stays_plain():
    zero, identity = tiny_decoder(), tiny_decoder(empty="identity")
    anatomy = torch.randn(2, zero.channels, 8, 8)
    torch.testing.assert_close(zero(anatomy), zero(anatomy, torch.zeros(2, 4)))
    ones, zeros = torch.ones(()), torch.zeros(())
    expected = anatomy
    for block in identity.blocks:
        expected = block(expected, (ones, zeros), (ones, zeros))
    torch.testing.assert_close(identity(anatomy), identity.up(expected))
    zero(anatomy).sum().backward()
    assert zero.mlp[-1].bias.grad.abs().max() > 0


def test_z_scored_images_need_a_linear_end_and_unknown_kinds_are_refused():
    decoder = tiny_decoder(output="linear")
    assert not any(isinstance(m, torch.nn.Tanh) for m in decoder.modules())
    with pytest.raises(InputError, match="tanh"):
        tiny_decoder(output="relu")
    with pytest.raises(InputError, match="identity"):
        tiny_decoder(empty="noise")
    with pytest.raises(InputError, match="batch"):
        ResNetContentEncoder(width=0.05, norm="layer")


def test_layer_norm_normalises_channels_and_pixels_together():
    x = torch.randn(2, 3, 4, 4) * 5 + 2
    expected = torch.nn.functional.layer_norm(x, x.shape[1:])
    torch.testing.assert_close(layer_norm(3)(x), expected)


def test_content_keeps_no_offset_or_gain_of_the_image_with_instance_norm():
    encoder, x = ResNetContentEncoder(width=0.05, blocks=1), torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(encoder(3 * x + 2), encoder(x), atol=1e-3, rtol=1e-3)


# -- discriminators ----------------------------------------------------------------------------------------------------


def test_each_scale_sees_the_image_averaged_once_more():
    discriminator, x = MultiScaleDiscriminator(width=0.05, scales=3, layers=2), torch.randn(1, 1, 32, 32)
    scores = discriminator(x)
    half = torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(scores[0], discriminator.scales[0](x))
    torch.testing.assert_close(scores[1], discriminator.scales[1](half))
    assert len(scores) == 3 and scores[2].shape == (1, 1, 2, 2)


def test_a_constant_image_stays_constant_at_every_scale():
    seen = []
    discriminator = MultiScaleDiscriminator(width=0.05, scales=2, layers=2)
    discriminator.scales[1].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    discriminator(torch.ones(1, 1, 16, 16))
    torch.testing.assert_close(seen[0], torch.ones(1, 1, 8, 8))


def test_cyclegan_has_the_published_sizes_for_colour_images():
    with torch.device("meta"):
        generator, discriminator = ResNetGenerator(3), PatchGAN(3)
        x = torch.randn(1, 3, 256, 256)
        assert generator(x).shape == x.shape and discriminator(x).shape == (1, 1, 30, 30)
    assert millions(generator) == pytest.approx(11.378, abs=0.0005)
    assert millions(discriminator) == pytest.approx(2.765, abs=0.0005)


def test_a_score_of_the_patch_gan_sees_70_by_70_pixels():
    discriminator = PatchGAN(width=0.05)
    for module in discriminator.modules():  # instance norm sees everything: leave it out of the measurement
        if isinstance(module, InstanceNorm):
            module.forward = lambda x: x
    x = torch.randn(1, 1, 256, 256, requires_grad=True)
    discriminator(x)[0, 0, 15, 15].backward()
    assert [int(x.grad[0, 0].abs().sum(axis).count_nonzero()) for axis in (0, 1)] == [70, 70]
