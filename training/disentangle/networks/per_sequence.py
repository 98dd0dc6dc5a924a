"""How an encoder deals with several sequences: conditioned on the sequence, blind to it, or one encoder for each."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..errors import InputError

KINDS = ("condconv", "shared", "separate")


class PerSequence(nn.Module):
    """One network for each sequence, called like a single one that is conditioned on the sequence.

    Args:
        make: makes a network.
        conditions: number of sequences.
    """

    def __init__(self, make: Callable[[], nn.Module], conditions: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(make() for _ in range(conditions))

    def forward(self, x: Tensor, condition: int = 0, *further: Tensor):
        """What the network of a sequence makes of x (B, S, H, W); further arguments are handed on."""
        return self.networks[condition](x, 0, *further)


def conditioned(make: Callable[..., nn.Module], kind: str, conditions: int, experts: int) -> nn.Module:
    """An encoder for several sequences (Conv and CondConv of method-spec 1e).

    Args:
        make: makes an encoder from ``conditions`` and ``experts``.
        kind: "condconv": one encoder, kernels mixed for the sequence; "shared": one encoder with ordinary convolutions
            that is not told the sequence; "separate": one with ordinary convolutions for each sequence.
        conditions: number of sequences.
        experts: kernels per conditional convolution.

    Raises:
        InputError: another kind.
    """
    if kind not in KINDS:
        raise InputError(f'Unknown conditioning "{kind}"; use one of: {", ".join(KINDS)}.')
    if kind == "separate":
        return PerSequence(lambda: make(conditions=1, experts=0), conditions)
    return make(conditions=conditions, experts=experts if kind == "condconv" else 0)
