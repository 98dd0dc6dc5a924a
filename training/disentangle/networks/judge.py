"""Networks that only training needs."""

from __future__ import annotations

from torch import nn


class Judge:
    """Marks a module that judges what others make (discriminators, the adversary's classifier).

    Inference never asks it, so a bundle leaves its weights out (:mod:`disentangle.bundles.weights`).
    """


def training_only(module: nn.Module) -> set[str]:
    """Names of the tensors of a module's state that belong to judges."""
    judges = tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, Judge))
    return {name for name in module.state_dict() if name.startswith(judges)} if judges else set()
