"""Batches of two or three unpaired domains, for tests of systems and baselines that learn from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from disentangle import registry
from disentangle.learning.module import Learner
from disentangle.systems.base import Batch, System

CLASSES = ("background", "liver", "spleen")
SETTINGS = {"ema": None, "accumulate": 1, "schedule": "constant", "warmup": 0, "ramps": {}, "steps": 10}
SETTINGS |= {"max_minutes": None, "stages": {}}


def unpaired_batch(
    sequences: Sequence[str] = ("CT", "T1in"), per_domain: int = 2, size: int = 32, seed: int = 1
) -> Batch:
    """Smooth random images in [-1, 1], ``per_domain`` of each sequence in turn, labelled everywhere."""
    generator = torch.Generator().manual_seed(seed)
    count = per_domain * len(sequences)
    coarse = torch.randn(count, 1, size // 4, size // 4, generator=generator)
    image = torch.tanh(torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear"))
    labels = (image[:, 0] > 0).long() + (image[:, 0] > 0.4).long()
    images, available = {}, {}
    for n, sequence in enumerate(sequences):
        rows = torch.arange(count) // per_domain == n
        available[sequence] = rows
        images[sequence] = torch.where(rows[:, None, None, None], image * (-1) ** n, 0)
    return Batch(images, available, torch.ones(count, 1, size, size), labels, torch.arange(count))


def with_labels(batch: Batch, labels: torch.Tensor) -> Batch:
    """The same batch with other labels."""
    return Batch(batch.images, batch.available, batch.mask, labels, batch.subject)


def touched(system: System, depth: int = 2) -> set[str]:
    """Names, cut to ``depth`` parts, of the parameters that have a gradient other than 0."""
    named = [name for name, p in system.named_parameters() if p.grad is not None and p.grad.any()]
    return {".".join(name.split(".")[:depth]) for name in named}


def moved(system: System, batch: Batch, depth: int = 2, **settings) -> dict[str, set[str]]:
    """Update -> what it changes, when the loop of the product does one iteration."""
    learner = Learner(system, {**SETTINGS, **settings}, seed=0)
    learner.manual_backward = lambda loss: loss.backward()
    result: dict[str, set[str]] = {}
    before = {name: p.detach().clone() for name, p in system.named_parameters()}
    for step, optimizer in zip(learner.steps, learner._optimizers, strict=True):

        def note(*_, name=step.name) -> None:
            changed = [n for n, p in system.named_parameters() if not torch.equal(p, before[n])]
            before.update({n: p.detach().clone() for n, p in system.named_parameters()})
            result[name] = {".".join(n.split(".")[:depth]) for n in changed}

        optimizer.register_step_post_hook(note)
    learner.training_step(batch, 0)
    return result


def course(system: System, batches: Sequence[Batch], learner: Learner | None = None) -> tuple[Learner, list[float]]:
    """The sum of all terms at every iteration of a training on these batches."""
    learner = learner or Learner(system, SETTINGS, seed=3)
    learner.manual_backward = lambda loss: loss.backward()
    totals = []
    for batch in batches:
        learner.training_step(batch, 0)
        recent = learner.take_recent()
        totals.append(sum(v for k, v in recent.items() if k.endswith("/total")))
    return learner, totals


def labels_without_annotation_change_nothing(make: Callable[[], System]) -> None:
    """Fail if a training tells how the second domain, which is not annotated, is labelled."""
    batch = unpaired_batch()
    absurd = batch.labels.clone()
    absurd[2:] = 117  # no such class: looking at it would fail or change a number
    plain, _ = course(make(), [batch] * 2)
    other, _ = course(make(), [with_labels(batch, absurd)] * 2)
    torch.testing.assert_close(plain.system.state_dict(), other.system.state_dict(), rtol=0, atol=0)


def a_resumed_run_goes_on_as_if_uninterrupted(make: Callable[[], System]) -> None:
    """Fail if a learner restored after two of four batches meets other losses, or ends with other weights."""
    batches = [unpaired_batch(seed=n) for n in range(4)]
    learner, whole = course(make(), batches)
    first, begun = course(make(), batches[:2])
    again = Learner(registry.create(first.system.name, **first.system.config), first.settings, seed=3)
    again.restore(first.state())
    _, rest = course(again.system, batches[2:], again)
    torch.testing.assert_close(torch.tensor(begun + rest), torch.tensor(whole), rtol=0, atol=0)
    torch.testing.assert_close(again.system.state_dict(), learner.system.state_dict(), rtol=0, atol=0)
