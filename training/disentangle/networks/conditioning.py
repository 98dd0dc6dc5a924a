"""A code (one-hot or blended) given to a convolution as constant planes."""

from __future__ import annotations

import torch
from torch import Tensor


def append_code(x: Tensor, code: Tensor) -> Tensor:
    """(B, C, H, W) and a code (B, Z), repeated over the pixels, as (B, C + Z, H, W)."""
    return torch.cat([x, code.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[-2:])], dim=1)
