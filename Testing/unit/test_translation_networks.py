"""Networks of image translation: the published sizes, codes that arrive, packs without loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from disentangle.adversarial_losses import discriminator_loss, generator_loss, gradient_penalty
from disentangle.errors import InputError
from disentangle.networks.ac_discriminator import ACDiscriminator
from disentangle.networks.blocks import InstanceNorm
from disentangle.networks.histogram import EDGES, HistogramContext
from disentangle.networks.stack_segmentor import StackSegmentor
from disentangle.networks.translation import ResNetTranslator
from disentangle.networks.unet128 import UNet128


def millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_the_published_networks_have_the_published_size():
    with torch.device("meta"):
        assert millions(UNet128(1, 1, code_dim=3, code_at="input")) == pytest.approx(41.82, abs=0.005)
        assert millions(ACDiscriminator(in_channels=2, classes=3)) == pytest.approx(11.2, abs=0.005)
        assert millions(ResNetTranslator(1, 4).encoder) == pytest.approx(5.38, abs=0.005)
        planes = millions(StackSegmentor(1, 1, code_dim=3))
        assert planes == millions(StackSegmentor(4, 1)) == pytest.approx(6.13, abs=0.005)


def test_layers_have_the_published_shapes_at_128_pixels():
    with torch.device("meta"):
        unet, judge = UNet128(1, 1, code_dim=4, code_at="bottleneck"), ACDiscriminator(1, 4)
        segmentor, residual = StackSegmentor(4, 1), ResNetTranslator(1, 4)
    maps = unet.encode(empty(2, 1, 128, 128))
    channels = [64, 128, 256, 512, 512, 512, 512]
    assert [tuple(x.shape[1:]) for x in maps] == [(c, 64 >> n, 64 >> n) for n, c in enumerate(channels)]
    assert unet.decode(maps, empty(2, 4)).shape == (2, 1, 128, 128)
    assert unet.decoder.convs[0].in_channels == 512 + 4
    scores, logits = judge(empty(2, 1, 128, 128))
    assert scores.shape == (2, 1, 4, 4) and logits.shape == (2, 4)
    assert segmentor(empty(2, 4, 128, 128)).shape == (2, 1, 128, 128)
    assert [conv[0].in_channels for conv in segmentor.up] + [segmentor.out.in_channels] == [512, 768, 384, 192]
    assert residual.encode(empty(2, 1, 128, 128))[0].shape == (2, 256, 32, 32)
    assert residual.decode([empty(2, 256, 32, 32)], empty(2, 4)).shape == (2, 1, 128, 128)


@pytest.mark.parametrize(
    "network",
    [
        lambda: UNet128(1, 1, 3, "bottleneck", "linear", 1 / 16, levels=5),
        lambda: UNet128(1, 1, 3, "bottleneck", "tanh", 1 / 16, levels=5, norm_deepest=True),
        lambda: UNet128(1, 1, 3, "all", "linear", 1 / 16, levels=5),
        lambda: ResNetTranslator(1, 3, "bottleneck", 1 / 16, output="linear"),
        lambda: ResNetTranslator(1, 3, "all", 1 / 16, output="linear"),
    ],
)
def test_the_code_reaches_the_middle_of_the_image(network):
    """Instance norm right behind the convolution that reads it would leave nothing of a code."""
    torch.manual_seed(0)
    net, image = network().eval(), torch.randn(1, 1, 64, 64)
    maps = net.encode(image)
    first, second = (net.decode(maps, torch.eye(3)[n : n + 1])[..., 24:40, 24:40] for n in (0, 1))
    assert (first - second).abs().mean() > 0.01 * first.abs().mean()


def test_a_code_beside_the_image_equals_channels_of_the_image():
    net = UNet128(1, 1, 2, "input", "linear", 1 / 16, levels=3)
    image, code = torch.randn(2, 1, 8, 16), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    planes = code[:, :, None, None].expand(-1, -1, 8, 16)
    torch.testing.assert_close(net(image, code), net.decode(net.encode(torch.cat([image, planes], 1))))


@pytest.mark.parametrize("levels", [3, 5, 6])
def test_packs_of_maps_lose_nothing_and_mix_linearly(levels):
    net = UNet128(1, 1, 2, "all", "linear", 1 / 16, levels=levels)
    one, other = net.encode(torch.randn(2, 1, 64, 128)), net.encode(torch.randn(2, 1, 64, 128))
    packed = net.pack(one)
    assert packed.shape == (2, net.packed_channels, 8, 16)
    for found, expected in zip(net.unpack(packed), one, strict=True):
        assert torch.equal(found, expected)
    for found, a, b in zip(net.unpack((packed + net.pack(other)) / 2), one, other, strict=True):
        torch.testing.assert_close(found, (a + b) / 2)


def test_a_histogram_counts_what_is_inside_the_mask():
    context = HistogramContext([4, 8])
    image = torch.tensor([-0.25, 0.25, 1.25, 1.25, 0.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 4)
    found = context.histogram(image)
    assert found.shape == (1, len(EDGES) - 1) and found.sum().item() == pytest.approx(12, abs=0.01)
    assert (found > 2).nonzero()[:, 1].tolist() == [4, 5, 7], "two bins with a quarter each, one with half"
    maps = [torch.randn(1, 4, 2, 2), torch.randn(1, 8, 1, 1)]
    assert [x.shape for x in context(maps, image)] == [x.shape for x in maps]


def test_the_context_of_a_map_is_the_whole_image():
    torch.manual_seed(0)
    net = UNet128(1, 1, 3, "all", "linear", 1 / 16, levels=5, context=True)
    image = torch.randn(1, 1, 64, 64)
    other = image.clone()
    other[..., 32:] += 1.0
    near, far = (net.encode(x)[0][..., :8, :8] for x in (image, other))
    assert (near - far).abs().max() > 1e-3, "the finest map sees 4 x 4 pixels by itself"


def test_small_maps_are_normalised_in_the_published_net_only():
    def normed(published: bool) -> int:
        with torch.device("meta"):
            net = UNet128(norm_deepest=published)
        return sum(isinstance(m, InstanceNorm) for m in net.modules())

    assert (normed(True), normed(False)) == (5 + 6, 4 + 5)


def test_impossible_networks_are_refused():
    with pytest.raises(InputError, match="levels"):
        UNet128(levels=2)
    with pytest.raises(InputError, match="code"):
        UNet128(1, 1, 3, "middle", levels=3)
    with pytest.raises(InputError, match="at least 64 pixels"):
        ACDiscriminator(1, 2, 1 / 16, levels=4)(torch.zeros(1, 1, 32, 32))


def test_class_logits_of_larger_images_are_averaged_over_positions():
    judge = ACDiscriminator(1, 3, 1 / 16, levels=2)
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(judge(torch.cat([x] * 3, dim=-1))[1].shape, judge(x)[1].shape)
    assert ACDiscriminator(1, 0, 1 / 16)(torch.zeros(1, 1, 32, 32))[1] is None


def test_the_gradient_penalty_of_a_linear_critic_is_known():
    """D(x) = <w, x> has the gradient w everywhere: (|w| - 1)^2; scores given in patches are summed."""
    w = torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]])
    real, fake = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2)
    values = gradient_penalty(lambda x: x * w, real, fake)
    assert values.tolist() == pytest.approx([16.0, 16.0])


def test_the_gradient_penalty_trains_the_critic_between_real_and_fake():
    critic = nn.Conv2d(1, 1, 2, bias=False)
    nn.init.constant_(critic.weight, 1.0)
    gradient_penalty(critic, torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).sum().backward()
    # |w| = 2; d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w| = 1
    torch.testing.assert_close(critic.weight.grad, torch.ones(1, 1, 2, 2))


def test_wasserstein_takes_the_scores_themselves():
    scores = torch.tensor([[1.0, 3.0]])
    assert discriminator_loss(scores, True, "wasserstein").item() == -2
    assert discriminator_loss(scores, False, "wasserstein").item() == 2
    assert generator_loss(scores, "wasserstein").item() == -2
