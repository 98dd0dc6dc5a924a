"""The networks have the published sizes and obey their conditions, masks and missing inputs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from disentangle.errors import InputError
from disentangle.networks.blocks import InstanceNorm, normalization
from disentangle.networks.condconv import CondConv2d, fold
from disentangle.networks.content import StridedUNetEncoder
from disentangle.networks.decoders import SPADEDecoder
from disentangle.networks.fusion import FUSIONS, AttentionFusion, Fusion, consensus, max_mean_min
from disentangle.networks.heads import SegmentationHead
from disentangle.networks.style import StyleEncoder, sample_style


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def soft_anatomy(*shape: int) -> torch.Tensor:
    return torch.softmax(torch.randn(*shape), dim=1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# -- published sizes (method-spec, sections 0 and 1a) ------------------------------------------------------------------


def test_anatomy_encoder_has_the_published_number_of_parameters():
    assert millions(StridedUNetEncoder(experts=0, norm="batch")) == pytest.approx(3.11, abs=0.005)
    assert millions(StridedUNetEncoder(conditions=4, experts=3, norm="batch")) == pytest.approx(9.32, abs=0.005)


def test_style_encoder_has_the_published_number_of_parameters():
    assert millions(StyleEncoder(experts=0)) == pytest.approx(0.368, abs=0.0005)


def test_spade_decoder_has_the_number_of_parameters_that_dafnet_states():
    assert millions(SPADEDecoder(8, 8, out_channels=1, base=(6, 6))) == pytest.approx(4.286, abs=0.0005)


def test_layers_have_the_published_shapes_at_160_by_192():
    encoder = StridedUNetEncoder(conditions=4)
    shapes = []
    for layer in [*encoder.down, *encoder.up, encoder.out]:
        layer.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        encoder(torch.randn(1, 3, 160, 192), 2)
    down = [(32, 80, 96), (64, 40, 48), (128, 20, 24), (256, 10, 12), (256, 5, 6)]
    up = [(256, 10, 12), (128, 20, 24), (64, 40, 48), (32, 80, 96), (4, 160, 192)]
    assert shapes == down + up


def test_style_convolutions_end_at_5_by_6_so_that_the_pooling_changes_nothing_there():
    encoder, last = StyleEncoder(width=0.25), []
    encoder.convs[-1].register_forward_hook(lambda _m, _i, out: last.append(tuple(out.shape[-2:])))
    with torch.no_grad():
        encoder(torch.randn(1, 3, 160, 192))
    assert last == [StyleEncoder.pooled]


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 192)])
def test_every_multiple_of_32_is_a_valid_size(size):
    x = torch.randn(1, 3, *size)
    anatomy = StridedUNetEncoder(width=0.1)(x)
    style, _ = StyleEncoder(width=0.1)(x)
    assert anatomy.shape == (1, 4, *size)
    assert SPADEDecoder(width=0.1)(anatomy, style).shape == (1, 3, *size)


# -- conditional convolution -------------------------------------------------------------------------------------------


def test_one_expert_with_routing_one_is_an_ordinary_convolution():
    layer = CondConv2d(3, 5, 3, 2, 1, conditions=4, experts=1)
    torch.nn.init.zeros_(layer.routing.weight)
    torch.nn.init.constant_(layer.routing.bias, 50.0)
    x = torch.randn(2, 3, 8, 8)
    expected = F.conv2d(x, layer.weight[0].view(5, 3, 3, 3), layer.bias, 2, 1)
    for condition in range(4):
        torch.testing.assert_close(layer(x, condition), expected)


def test_kernel_is_the_sigmoid_mixture_of_the_experts():
    layer = CondConv2d(2, 3, 3, conditions=2, experts=3)
    beta = torch.sigmoid(layer.routing(torch.tensor([0.0, 1.0])))
    expected = sum(b * w for b, w in zip(beta, layer.weight, strict=True)).view(3, 2, 3, 3)
    torch.testing.assert_close(layer.kernel(1), expected)


def test_each_condition_has_its_own_kernel():
    layer = CondConv2d(2, 3, 3, conditions=3)
    kernels = [layer.kernel(i) for i in range(3)]
    assert all((kernels[i] - kernels[j]).abs().max() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_experts_are_initialised_as_ordinary_kernels_each():
    layer = CondConv2d(64, 64, 3, experts=3)
    expected = (2 / (1 + 0.2**2) / (64 * 9)) ** 0.5
    for kernel in layer.weight:
        assert kernel.std().item() == pytest.approx(expected, rel=0.05)
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_folding_changes_nothing_but_the_work_and_does_not_outlive_training_or_loading():
    encoder = StyleEncoder(conditions=3, width=0.25)
    x = torch.randn(2, 3, 64, 64)
    before = encoder(x, 1)[0]
    fold(encoder)
    torch.testing.assert_close(encoder(x, 1)[0], before)
    assert encoder.convs[0].folded is not None

    other = StyleEncoder(conditions=3, width=0.25)
    encoder.load_state_dict(other.state_dict())
    torch.testing.assert_close(encoder(x, 1)[0], other(x, 1)[0])
    fold(encoder).train()
    assert encoder.convs[0].folded is None


def test_networks_accept_the_channels_last_layout():
    encoder = StridedUNetEncoder(conditions=2, width=0.1)
    x = torch.randn(2, 3, 64, 64)
    before = encoder(x, 1)
    encoder.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(encoder(x, 1), before, atol=1e-5, rtol=1e-4)


# -- anatomy encoder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_anatomy_sums_to_one_inside_the_mask_and_is_zero_outside(hard):
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 10:40, 5:50] = 1
    anatomy = StridedUNetEncoder(width=0.1, hard=hard)(torch.randn(2, 3, 64, 64), 0, mask)
    torch.testing.assert_close(anatomy.sum(1, keepdim=True), mask)
    assert anatomy[mask.expand_as(anatomy) == 0].abs().max() == 0


def test_hard_anatomy_is_one_hot_with_the_gradient_of_the_softmax():
    soft, hard = StridedUNetEncoder(width=0.1), StridedUNetEncoder(width=0.1, hard=True)
    hard.load_state_dict(soft.state_dict())
    x, weight = torch.randn(1, 3, 64, 64), torch.randn(1, 4, 64, 64)
    (soft(x) * weight).sum().backward()
    anatomy = hard(x)
    (anatomy * weight).sum().backward()
    assert ((anatomy - anatomy.round()).abs() < 1e-6).all()
    torch.testing.assert_close(anatomy.argmax(1), soft(x).argmax(1))
    torch.testing.assert_close(hard.out.bias.grad, soft.out.bias.grad)


def test_instance_norm_agrees_with_torch():
    x = torch.randn(2, 5, 7, 9)
    torch.testing.assert_close(InstanceNorm(5)(x), torch.nn.InstanceNorm2d(5)(x))


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(InputError, match="instance"):
        normalization("group", 8)


# -- style -------------------------------------------------------------------------------------------------------------


def test_a_style_without_variance_is_its_mean_and_one_with_variance_is_sampled():
    mean, nothing = StyleEncoder(width=0.1)(torch.randn(2, 3, 64, 64))
    assert nothing is None and sample_style(mean, None) is mean
    mean, log_variance = StyleEncoder(width=0.1, variational=True)(torch.randn(2, 3, 64, 64))
    assert log_variance.shape == mean.shape == (2, 16)
    draws = sample_style(torch.full((20000,), 3.0), torch.full((20000,), 4.0).log())
    assert draws.mean().item() == pytest.approx(3.0, abs=0.1)
    assert draws.std().item() == pytest.approx(2.0, rel=0.05)


# -- decoder -----------------------------------------------------------------------------------------------------------


def test_image_depends_on_style_and_on_anatomy():
    decoder = SPADEDecoder(width=0.1)
    anatomy, style = soft_anatomy(1, 4, 64, 64), torch.randn(1, 16)
    image = decoder(anatomy, style)
    assert (decoder(anatomy, torch.randn(1, 16)) - image).abs().max() > 1e-4
    assert (decoder(anatomy.flip(-1), style) - image).abs().max() > 1e-4


def test_modulations_of_one_anatomy_serve_every_style():
    decoder = SPADEDecoder(width=0.1)
    anatomy, styles = soft_anatomy(2, 4, 64, 64), torch.randn(3, 2, 16)
    maps = decoder.modulations(anatomy)
    for style in styles:
        torch.testing.assert_close(decoder.render(maps, style), decoder(anatomy, style))


def test_hidden_channels_may_differ_by_block():
    tapered = SPADEDecoder(hidden=(128, 128, 128, 64, 32, 16))
    assert tapered.blocks[5].spade_in.shared.out_channels == 16
    assert millions(tapered) < millions(SPADEDecoder())


def test_the_style_reaches_an_image_of_one_coarse_cell_only_as_a_shift():
    anatomy, styles = soft_anatomy(1, 4, 32, 32), torch.randn(2, 1, 16)
    published, shifted = SPADEDecoder(width=0.1), SPADEDecoder(width=0.1, style_shift=True)
    torch.testing.assert_close(published(anatomy, styles[0]), published(anatomy, styles[1]))
    assert (shifted(anatomy, styles[0]) - shifted(anatomy, styles[1])).abs().max() > 1e-3


# -- fusion ------------------------------------------------------------------------------------------------------------


def test_fusion_is_max_mean_and_min():
    a, b = torch.tensor([0.2, 0.8]), torch.tensor([0.6, 0.4])
    fused = max_mean_min([a.view(1, 2, 1, 1), b.view(1, 2, 1, 1)]).flatten()
    torch.testing.assert_close(fused, torch.tensor([0.6, 0.8, 0.4, 0.6, 0.2, 0.4]))


WAYS = [*(Fusion(kind, 4) for kind in FUSIONS), consensus]


@pytest.mark.parametrize("fuse", WAYS)
def test_fusion_does_not_depend_on_the_order(fuse):
    maps = [soft_anatomy(2, 4, 8, 8) for _ in range(3)]
    torch.testing.assert_close(fuse(maps[::-1]), fuse(maps))


@pytest.mark.parametrize("fuse", WAYS)
def test_an_unavailable_sequence_is_as_good_as_absent(fuse):
    maps = [soft_anatomy(2, 4, 8, 8) for _ in range(3)]
    yes, no, second = torch.tensor([True, True]), torch.tensor([False, False]), torch.tensor([False, True])
    torch.testing.assert_close(fuse(maps, [yes, no, yes]), fuse([maps[0], maps[2]]))
    mixed = fuse(maps, [yes, second, yes])
    torch.testing.assert_close(mixed[0], fuse([maps[0], maps[2]])[0])
    torch.testing.assert_close(mixed[1], fuse(maps)[1])


def test_fusing_one_sequence_repeats_it_and_fusing_none_gives_zero():
    s = soft_anatomy(1, 4, 8, 8)
    torch.testing.assert_close(max_mean_min([s]), torch.cat([s, s, s], 1))
    assert max_mean_min([s], [torch.tensor([False])]).abs().max() == 0


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_fusion_has_the_channels_that_it_says_and_none_of_an_absent_subject(kind):
    s, yes, no = soft_anatomy(2, 4, 8, 8), torch.tensor([True, True]), torch.tensor([True, False])
    fuse = Fusion(kind, 4)
    assert fuse([s, s], [yes, yes]).shape == (2, fuse.channels, 8, 8)
    assert fuse([s, s], [no, no])[1].abs().max() == 0


def test_attention_weighs_sequences_where_they_tell_more():
    fuse = AttentionFusion(2, hidden=1)
    with torch.no_grad():
        for parameter in fuse.parameters():
            parameter.zero_()
        fuse.score[0].weight[0, 0, 1, 1] = 1.0  # the score is twice the first channel of the pixel itself
        fuse.score[2].weight[0, 0] = 2.0
    a, b = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    share = math.exp(2) / (math.exp(2) + 1)
    torch.testing.assert_close(fuse([a, b]).flatten(), torch.tensor([share, 1 - share]))


def test_an_unknown_fusion_is_refused():
    with pytest.raises(InputError, match="max_mean_min, max, attention"):
        Fusion("sum", 4)


def test_consensus_sums_to_one_inside_the_mask():
    mask = (torch.rand(2, 1, 8, 8) > 0.5).float()
    maps = [soft_anatomy(2, 4, 8, 8) * mask for _ in range(3)]
    torch.testing.assert_close(consensus(maps, mask=mask).sum(1, keepdim=True), mask)


# -- head --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unet", "conv"])
def test_head_gives_a_logit_per_class_and_pixel(kind):
    head = SegmentationHead(12, 5, kind, channels=(4, 8, 8))
    assert head(torch.randn(2, 12, 32, 64)).shape == (2, 5, 32, 64)


def test_the_unet_head_sees_further_than_the_plain_one():
    def reach(kind: str) -> int:
        head = SegmentationHead(1, 2, kind, channels=(4, 8, 8, 8))
        for module in head.modules():  # instance norm reaches everywhere: leave it out of the measurement
            if isinstance(module, InstanceNorm):
                module.forward = lambda x: x
        x = torch.randn(1, 1, 64, 64, requires_grad=True)
        head(x)[0, 0, 32, 32].backward()
        columns = x.grad[0, 0].abs().sum(0).nonzero()
        return int(columns.max() - columns.min()) + 1

    assert reach("conv") == 5
    assert reach("unet") > 30


def test_an_unknown_head_is_refused():
    with pytest.raises(InputError, match="unet"):
        SegmentationHead(12, 5, "transformer")
