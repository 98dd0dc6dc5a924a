"""The training loop of any system: its updates in order, averaged weights, schedule, validation."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..losses import HEALTHY, masked_l1
from ..metrics.overlap import joint_dice
from ..systems.base import Batch, Factors, System, TrainingStep


class Learner(lightning.LightningModule):
    """Trains a system by its own :meth:`System.training_steps` (manual optimisation, one Adam per step).

    Random numbers drawn inside a loss are seeded by (seed, iteration). Since batches are numbered too, a resumed
    run meets the losses that it would have met without the interruption.

    Args:
        system: what to train.
        settings: the section ``training`` of the configuration.
        seed: of the run.

    Attributes:
        iteration: batches seen.
        seconds: time spent training, over all starts of the run.
        best: lowest monitored validation score so far; stale: validations since then.
        recent: sums of logged terms since the last :meth:`take_recent`.
    """

    def __init__(self, system: System, settings: dict[str, Any], seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.system = system
        self.settings = settings
        self.seed = seed
        self.iteration = 0
        self.seconds = 0.0
        self.best = math.inf
        self.stale = 0
        self.recent: dict[str, list[float]] = {}
        self.steps: Sequence[TrainingStep] = system.training_steps()
        names = [step.name for step in self.steps]
        if unknown := sorted(set(settings["stages"]) - set(names)):
            raise InputError(f"training.stages has {', '.join(unknown)}; this system's updates are {', '.join(names)}.")
        self.average = Average(system, settings["ema"]) if settings["ema"] else None
        # Several hundred small tensors: one at a time, updating them takes longer than their convolutions.
        self._optimizers = [torch.optim.Adam(step.groups(), foreach=True, **step.optimizer) for step in self.steps]
        self._plateau = 1.0
        self._patience = 0
        self._validated: list[dict[str, float]] = []
        self._last = time.monotonic()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return self._optimizers

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    # -- training --------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        self._last = time.monotonic()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(self.seed * 1_000_003 + self.iteration)
        random.seed(self.seed * 1_000_003 + self.iteration)
        rate = self.rate()
        update = (self.iteration + 1) % self.settings["accumulate"] == 0
        for step, optimizer in zip(self.steps, self._optimizers, strict=True):
            if not self.active(step.name):
                continue
            with _only(self.system, step.parameters, alone=len(self.steps) == 1):
                terms = {name: value * self.ramp(name) for name, value in step.loss(batch).items()}
                total = torch.stack(list(terms.values())).sum()
                self.manual_backward(total / self.settings["accumulate"])
            self._note({f"{step.name}/{k}": v for k, v in terms.items()} | {f"{step.name}/total": total})
            if update:
                if step.clip_norm is not None:
                    norm = nn.utils.clip_grad_norm_(step.parameters, step.clip_norm)
                    self._note({f"{step.name}/gradient_norm": norm})
                # Checkpoints from before there were factors have none.
                for group in optimizer.param_groups:
                    group["lr"] = step.optimizer["lr"] * rate * group.get("factor", 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self._note(getattr(self.system, "diagnostics", {}))
        if update and self.average is not None:
            self.average.update(self.system, self.iteration)
        self.iteration += 1
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now

    def fraction(self) -> float:
        """How much of the run is over, by steps or by minutes, whichever ends first."""
        by_steps = self.iteration / self.settings["steps"]
        limit = self.settings["max_minutes"]
        return max(by_steps, self.seconds / 60 / limit if limit else 0.0)

    def rate(self) -> float:
        """Factor of the learning rate now."""
        warmup = min(1.0, (self.iteration + 1) / max(self.settings["warmup"], 1))
        if self.settings["schedule"] == "cosine":
            return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(self.fraction(), 1.0))))
        return warmup * (self._plateau if self.settings["schedule"] == "plateau" else 1.0)

    def ramp(self, term: str) -> float:
        """Factor of a loss term now: 0 before the first, 1 after the second step of its entry in ``ramps``."""
        first, last = self.settings["ramps"].get(term, (0, 0))
        return min(max((self.iteration - first) / max(last - first, 1), 0.0), 1.0) if last else 1.0

    def active(self, update: str) -> bool:
        """Whether an update takes place now: always, unless it has an entry in ``stages``."""
        first, end = self.settings["stages"].get(update, (0, math.inf))
        return first <= self.iteration < end

    def take_recent(self) -> dict[str, float]:
        """Means of what was noted since the last call."""
        means = {name: float(torch.stack(values).mean()) for name, values in self.recent.items()}
        self.recent = {}
        return means

    def _note(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.recent.setdefault(name, []).append(value.detach().float())

    # -- validation ------------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        self._validated = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with self.averaged():
            self._validated.append(validation_scores(self.system, batch))

    def on_validation_end(self) -> None:
        self._last = time.monotonic()

    def validation(self) -> dict[str, float]:
        """Mean scores of the last validation."""
        # Unpaired batches differ in the sequences that they hold, and so in what they are scored for.
        names = dict.fromkeys(name for scores in self._validated for name in scores)
        found = {n: [scores[n] for scores in self._validated if n in scores] for n in names}
        return {n: float(torch.tensor(values).nanmean()) for n, values in found.items()}

    def follow_plateau(self, value: float, patience: int = 5, factor: float = 0.1, lowest: float = 0.05) -> bool:
        """Take note of a validation value; whether it is the best so far. Lowers the rate of "plateau" (spec 1b)."""
        if value < self.best:
            self.best, self._patience, self.stale = value, 0, 0
            return True
        self._patience += 1
        self.stale += 1
        if self._patience > patience:
            self._plateau, self._patience = max(self._plateau * factor, lowest), 0
        return False

    @contextlib.contextmanager
    def averaged(self) -> Iterator[System]:
        """The system in evaluation mode, with averaged weights where there are any; as it was afterwards."""
        was_training = self.system.training
        swapped = None if self.average is None else self.average.swap_in(self.system)
        self.system.eval()
        try:
            with torch.no_grad():
                yield self.system
        finally:
            if swapped is not None:
                self.system.load_state_dict(swapped)
            self.system.train(was_training)

    # -- state -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything to go on with, for a checkpoint."""
        return {
            "system": {"name": self.system.name, "config": self.system.config},
            "weights": self.system.state_dict(),
            "average": None if self.average is None else self.average.weights,
            "optimizers": [o.state_dict() for o in self._optimizers],
            "iteration": self.iteration,
            "seconds": self.seconds,
            "best": self.best,
            "stale": self.stale,
            "plateau": [self._plateau, self._patience],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.system.load_state_dict(state["weights"])
        if self.average is not None and state["average"] is not None:
            self.average.weights = state["average"]
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.iteration, self.seconds, self.best = state["iteration"], state["seconds"], state["best"]
        self._plateau, self._patience = state["plateau"]
        self.stale = state.get("stale", 0)


class Average:
    """Exponential moving average of a system's weights and buffers (warm start: the decay grows with the steps)."""

    def __init__(self, system: System, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in system.state_dict().items()}

    @torch.no_grad()
    def update(self, system: System, iteration: int) -> None:
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        means, values = [], []
        for name, value in system.state_dict().items():
            mean = self.weights[name] = self.weights[name].to(value.device)
            if value.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        torch._foreach_lerp_(means, values, 1 - decay)

    def swap_in(self, system: System) -> dict[str, Tensor]:
        """Load the averages into the system; returns what was there."""
        current = {k: v.detach().clone() for k, v in system.state_dict().items()}
        system.load_state_dict(self.weights)
        return current


def validation_scores(system: System, batch: Batch) -> dict[str, float]:
    """Mean masked L1 of self- and cross-reconstruction, and of every sequence withheld and synthesised in its
    default style; Dice per class of the fused segmentation of all sequences.

    Samples with different sequences (unpaired domains) are scored apart: the means are over these groups, and their
    Dice values stand beside the mean, with the names of the sequences.
    """
    sequences = list(batch.images)
    available = torch.stack([batch.available[s] for s in sequences], dim=1)
    patterns, group = available.unique(dim=0, return_inverse=True)
    if len(patterns) == 1:
        return _scores(system, batch)
    collected: dict[str, list[float]] = {}
    for n, pattern in enumerate(patterns.tolist()):
        present = [s for s, has in zip(sequences, pattern, strict=True) if has]
        for name, value in (_scores(system, batch.rows(group == n)) if present else {}).items():
            collected.setdefault(name, []).append(value)
            if name.startswith("dice "):
                collected[f"{name} ({'+'.join(present)})"] = [value]
    return {name: float(torch.tensor(values).nanmean()) for name, values in collected.items()}


def _scores(system: System, batch: Batch) -> dict[str, float]:
    """:func:`validation_scores` of samples that all have the same sequences."""
    abilities = system.capabilities
    present = [s for s in abilities.sequences if s in batch.images and bool(batch.available[s].all())]
    made = [s for s in abilities.targets if s in batch.images and bool(batch.available[s].all())]
    factors = system.encode({s: batch.images[s] for s in present}, batch.mask)
    errors: dict[str, list[Tensor]] = {"self": [], "cross": [], "imputation": []}
    for j in (s for s in present if s in made):
        there = system.align(factors, j)
        for i in present:
            image = system.decode(there.anatomy[i], factors.modality[j])
            errors["self" if i == j else "cross"].append(masked_l1(image, batch.images[j], batch.mask).mean())
    for j in made:
        others = [s for s in present if s != j]
        if not others:
            continue
        anatomy = system.synthesis_anatomy(system.align(factors.subset(others), others[0]))
        errors["imputation"].append(masked_l1(system.decode(anatomy, j), batch.images[j], batch.mask).mean())
    scores = {n: float(torch.stack(v).mean()) if v else float("nan") for n, v in errors.items()}
    if system.capabilities.segments and batch.sequence_labels:
        scores |= _unregistered_dice(system, factors, batch)
    elif system.capabilities.segments and batch.labels is not None:
        predicted = system.segment(system.fuse(factors)).argmax(1)
        for value, name in enumerate(system.capabilities.classes[1:], 1):
            truth, found = batch.labels == value, (predicted == value) & (batch.labels < HEALTHY)
            total = int(truth.sum() + found.sum())
            scores[f"dice {name}"] = 2 * int((truth & found).sum()) / total if int(truth.sum()) else float("nan")
    return scores


def _unregistered_dice(system: System, factors: Factors, batch: Batch) -> dict[str, float]:
    """Joint Dice on the slices of every sequence that are annotated: of that sequence alone ("dice LGE single"), of
    the others moved there ("dice LGE deformed"; on the source, it needs no labels of the target), and of all
    ("dice LGE")."""
    scores = {}
    for reference in factors.anatomy:
        truth = batch.labels_of(reference)
        known = truth < HEALTHY
        if not known.any():
            continue
        there = system.align(factors, reference)
        used = {" single": [reference]}
        if system.capabilities.aligns and len(factors.anatomy) > 1:
            used |= {" deformed": [s for s in factors.anatomy if s != reference], "": list(factors.anatomy)}
        for name, chosen in used.items():
            found = system.segment(system.fuse(there.subset(chosen))).argmax(1)
            scores[f"dice {reference}{name}"] = joint_dice(found[known].cpu().numpy(), truth[known].cpu().numpy())
    return scores


@contextlib.contextmanager
def _only(system: nn.Module, parameters: Sequence[nn.Parameter], alone: bool) -> Iterator[None]:
    """Let only ``parameters`` collect gradients: an update must leave nothing behind for the next one."""
    if alone:
        yield
        return
    chosen = {id(p) for p in parameters}
    frozen = [p for p in system.parameters() if p.requires_grad and id(p) not in chosen]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
