"""Conditional convolution: one layer for all sequences, its kernel mixed for the sequence at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CondConv2d(nn.Module):
    """Convolution whose kernel is a mixture of experts chosen by a condition (the sequence's index).

    ``W(i) = sum_k sigmoid(route(onehot_i))_k W_k`` and ``y = W(i) * x + b``. A call handles one condition, hence the
    mixture is computed once and an ordinary convolution follows. Yang et al., CondConv (2019), as used by Ouyang et
    al. (2021); sigmoid on the routing, one-hot input and separate initialisation: method-spec 1g, g2 and g12.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as of ``nn.Conv2d``.
        conditions: number of conditions m.
        experts: kernels to mix; 0 makes it an ordinary convolution that ignores the condition.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        conditions: int = 1,
        experts: int = 3,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.conditions, self.experts = stride, padding, conditions, experts
        self.kernel_shape = (out_channels, in_channels, kernel_size, kernel_size)
        # Four dimensions, not five: ``Module.to(memory_format=torch.channels_last)`` refuses five.
        self.weight = nn.Parameter(torch.empty(max(experts, 1), out_channels, in_channels, kernel_size**2))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        for kernel in self.weight:
            nn.init.kaiming_normal_(kernel, a=0.2, nonlinearity="leaky_relu")
        self.routing = nn.Linear(conditions, experts) if experts else None
        self.register_buffer("folded", None, persistent=False)

    @torch.no_grad()
    def tell_apart(self) -> CondConv2d:
        """Begin with kernels that differ between conditions; those of ``nn.Linear``'s routing are nearly the same."""
        if self.routing is not None:
            nn.init.normal_(self.routing.weight)
        return self

    def kernel(self, condition: int) -> Tensor:
        """The effective kernel (out, in, k, k) of a condition."""
        if self.routing is None:
            return self.weight[0].reshape(self.kernel_shape)
        mixture = torch.sigmoid(self.routing.weight[:, condition] + self.routing.bias)
        return (mixture @ self.weight.flatten(1)).view(self.kernel_shape)

    @torch.no_grad()
    def fold(self) -> None:
        """Keep every condition's kernel for use in eval mode; training or loading weights drops them."""
        if self.routing is not None:
            # One below the other, in four dimensions: see ``weight``.
            self.folded = torch.cat([self.kernel(i) for i in range(self.conditions)])

    def forward(self, x: Tensor, condition: int = 0) -> Tensor:
        """x (B, in, H, W) of one condition."""
        count = self.kernel_shape[0]
        kernel = self.kernel(condition) if self.folded is None else self.folded.narrow(0, condition * count, count)
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding)

    def train(self, mode: bool = True) -> CondConv2d:
        if mode:
            self.folded = None
        return super().train(mode)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self.folded = None
        super()._load_from_state_dict(*args, **kwargs)


def fold(network: nn.Module) -> nn.Module:
    """Put a network into eval mode with all its conditional convolutions folded (inference)."""
    network.eval()
    for module in network.modules():
        if isinstance(module, CondConv2d):
            module.fold()
    return network
