"""Thin-plate splines have the check values of method-spec, appendix C; the transformer starts with the identity."""

from __future__ import annotations

import pytest
import torch

from disentangle.errors import InputError
from disentangle.networks.stn import SpatialTransformer, ThinPlateSpline, control_points, tps_basis

SIZES = [(192, 192), (208, 208), (64, 48)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", SIZES)
def test_the_basis_reproduces_the_identity_and_its_rows_sum_to_one(size):
    basis = tps_basis(*size)
    assert basis.shape == (size[0] * size[1], 25)
    assert (basis @ control_points() - control_points(size)).abs().max() < 1e-12
    assert (basis.sum(1) - 1).abs().max() < 1e-12


def test_the_basis_interpolates_the_control_points():
    """A pixel that lies on a control point follows that point alone."""
    basis = tps_basis(5, 5)
    assert (basis - torch.eye(25, dtype=torch.float64)).abs().max() < 1e-12


def test_the_spline_has_the_radial_basis_of_the_appendix():
    """With control point k displaced by 1, the field is w phi + affine with phi = r^2 log(r^2) / 2: solved directly."""
    points = control_points((3, 3))
    squared = (points[:, None] - points[None]).square().sum(-1)
    phi = 0.5 * squared * squared.clamp_min(1e-10).log()
    ones = torch.cat([points, torch.ones(9, 1, dtype=torch.float64)], 1)
    system = torch.cat([torch.cat([phi, ones], 1), torch.cat([ones.T, torch.zeros(3, 3, dtype=torch.float64)], 1)])
    right = torch.zeros(12, 1, dtype=torch.float64)
    right[4] = 1.0
    solution = torch.linalg.solve(system, right)
    pixel = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    distance = (pixel - points).square().sum(-1)
    direct = (0.5 * distance * distance.log()) @ solution[:9, 0] + pixel[0] @ solution[9:11, 0] + solution[11, 0]
    assert tps_basis(5, 5, (3, 3))[1 * 5 + 3, 4].item() == pytest.approx(direct.item(), abs=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_without_displacement_nothing_moves(size):
    image = torch.rand(2, 3, *size)
    moved = ThinPlateSpline((192, 192))(image, torch.zeros(2, 25, 2))
    assert (moved - image).abs().max() < 1e-4


def test_a_constant_displacement_says_where_to_read_and_outside_is_zero():
    image = torch.rand(1, 2, 33, 33)
    offsets = torch.zeros(1, 25, 2)
    offsets[..., 0], offsets[..., 1] = 4 / 32, -3 / 32  # rows, columns
    moved = ThinPlateSpline((33, 33))(image, offsets)
    torch.testing.assert_close(moved[..., :28, 4:], image[..., 4:32, 1:30], atol=1e-4, rtol=0)
    assert not moved[..., 30:, :].any() and not moved[..., :2].any()


def test_gradients_reach_the_displacements_and_the_anatomy():
    image, offsets = torch.rand(1, 1, 32, 32, requires_grad=True), (0.02 * torch.randn(1, 25, 2)).requires_grad_()
    ThinPlateSpline((32, 32))(image, offsets).square().sum().backward()
    assert (offsets.grad != 0).all() and (image.grad != 0).float().mean() > 0.8


def test_the_constants_are_no_weights_and_another_size_takes_its_own():
    spline = ThinPlateSpline((32, 32))
    assert not spline.state_dict()
    big, small = torch.rand(1, 1, 64, 48), torch.rand(1, 1, 32, 32)
    for image in (big, small, big):
        assert (spline(image, torch.zeros(1, 25, 2)) - image).abs().max() < 1e-4


def test_the_transformer_starts_with_the_identity_and_learns_a_shift():
    network = SpatialTransformer(2, (32, 32), width=0.4)
    fixed = torch.zeros(1, 2, 32, 32)
    fixed[:, 0, 8:20, 8:20] = 1
    fixed[:, 1] = 1 - fixed[:, 0]
    moving = fixed.roll((3, -2), (2, 3))
    torch.testing.assert_close(network(moving, fixed), moving, atol=1e-4, rtol=0)
    before = (moving - fixed).abs().mean()
    adam = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(30):
        loss = (network(moving, fixed) - fixed)[..., 4:-4, 4:-4].abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert (network(moving, fixed) - fixed)[..., 4:-4, 4:-4].abs().mean() < 0.4 * before


def test_the_localisation_network_has_the_published_size_and_extents():
    with torch.device("meta"):
        network = SpatialTransformer()
        x = torch.zeros(1, 8, 192, 192)
        shapes = []
        for conv in network.convs:
            conv.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
        assert network.displacements(x, x).shape == (1, 25, 2)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(3.395, abs=0.0005)
    assert shapes == [(20, 188, 188), (20, 90, 90), (20, 41, 41)]
    assert network.hidden.in_features == 41 * 41 * 20


def test_displacements_are_in_proportion_to_their_scale():
    whole, tenth = SpatialTransformer(2, (32, 32)), SpatialTransformer(2, (32, 32), scale=0.1)
    torch.nn.init.normal_(whole.offsets.weight)
    tenth.load_state_dict(whole.state_dict())
    a, b = torch.rand(1, 2, 32, 32), torch.rand(1, 2, 32, 32)
    torch.testing.assert_close(tenth.displacements(a, b), 0.1 * whole.displacements(a, b))


def test_slices_too_small_for_it_are_refused():
    with pytest.raises(InputError, match="at least 32 pixels"):
        SpatialTransformer(size=(24, 48))
