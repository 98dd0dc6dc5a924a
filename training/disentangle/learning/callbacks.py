"""What happens around the updates of a run: logs, checkpoints, pictures, the time limit."""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch

from ..errors import InputError
from ..progress import Progress
from ..study import write_atomically
from ..systems.base import Batch
from .checkpoints import save_checkpoint
from .module import Learner
from .pictures import save_matrix

LAST, BEST, FINAL = "last.ckpt", "best.ckpt", "final.ckpt"
LOW_HINGE_ACTIVITY = 0.05


class Diverged(InputError):
    """The loss or the weights of a training are no longer finite.

    Args:
        step: when that was noticed.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"The loss or the weights are not finite at step {step}; lower system.learning_rate.")
        self.step = step


class Housekeeping(lightning.Callback):
    """Logs, checkpoints and pictures by iteration; stops at the time limit or when the progress says so.

    Args:
        folder: of the run.
        settings: the section ``training`` of the configuration.
        about: goes into every checkpoint (configuration, data).
        picture: a validation batch to draw.
        progress: receives the fraction of the run; may cancel it.
        quiet: print nothing.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        about: dict[str, Any],
        picture: Callable[[], Batch],
        progress: Progress,
        quiet: bool = False,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.about = about
        self.picture = picture
        self.progress = progress
        self.quiet = quiet
        self._saved = time.monotonic()
        self._newest = LAST
        self._warned = False

    def on_train_batch_end(self, trainer: lightning.Trainer, learner: Learner, *_: Any) -> None:
        n, settings = learner.iteration, self.settings
        if n % settings["log_every"] == 0:
            self._log(trainer, learner)
        if settings["images_every"] and n % settings["images_every"] == 0:
            with learner.averaged() as system:
                save_matrix(system, self.picture().to(learner.device), self.folder / "images" / f"step-{n:06d}.png")
        if time.monotonic() - self._saved > 60 * settings["checkpoint_minutes"]:
            self.save(learner, LAST)
        if settings["max_minutes"] and learner.seconds > 60 * settings["max_minutes"]:
            trainer.should_stop = True

    def on_validation_end(self, trainer: lightning.Trainer, learner: Learner) -> None:
        scores = learner.validation()
        if not scores:
            return
        self._write(trainer, {f"validation/{k}": v for k, v in scores.items()}, learner.iteration)
        if learner.follow_plateau(self._monitored(scores)):
            self.save(learner, BEST)
        elif self.settings["patience"] and learner.stale >= self.settings["patience"]:
            trainer.should_stop = True
        self._say(f"step {learner.iteration}: validation " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))

    def _monitored(self, scores: dict[str, float]) -> float:
        """The validation score that decides which weights are best, lower being better."""
        name = self.settings["monitor"]
        if name not in scores:
            raise InputError(
                f'There is no validation score "{name}" (training.monitor); there are {", ".join(scores)}.'
            )
        if name.startswith("dice"):
            return -scores[name]
        if name != "cross":
            return scores[name]
        # Domains that no person has in common have no cross-reconstruction to score, a task that is downstream of a
        # representation has the synthesis of its target alone, and a segmentation has nothing but Dice.
        dice = [v for k, v in scores.items() if k.startswith("dice") and not math.isnan(v)]
        found = [scores["cross"], scores["self"], scores["imputation"], -sum(dice) / max(len(dice), 1)]
        return next(v for v in found if not math.isnan(v))

    def on_exception(self, trainer: lightning.Trainer, learner: Learner, exception: BaseException) -> None:
        with contextlib.suppress(Diverged):
            self.save(learner, LAST)

    def save(self, learner: Learner, name: str) -> Path:
        """Write a checkpoint of the run.

        Raises:
            Diverged: there is nothing to go on with in it; ``last.ckpt`` is then the newest state that was good.
        """
        state = learner.state()
        if not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(state)):
            if self._newest == BEST:
                with write_atomically(self.folder / LAST) as temporary:
                    shutil.copyfile(self.folder / BEST, temporary)
            raise Diverged(learner.iteration)
        self._saved, self._newest = time.monotonic(), name
        return save_checkpoint(self.folder / name, {**state, **self.about})

    def _log(self, trainer: lightning.Trainer, learner: Learner) -> None:
        means = learner.take_recent()
        total = sum(v for k, v in means.items() if k.endswith("/total"))
        if not torch.isfinite(torch.tensor(total)):
            raise Diverged(learner.iteration)
        self._write(trainer, {**means, "rate": learner.rate(), "minutes": learner.seconds / 60}, learner.iteration)
        parts = ", ".join(f"{k.partition('/')[2] or k} {v:.3g}" for k, v in means.items())
        message = f"step {learner.iteration}, {learner.seconds / 60:.1f} min: {parts}"
        self.progress("train", learner.fraction(), message)
        self._say(message)
        activity = means.get("active_anatomy_hinges", 1.0)
        if activity < LOW_HINGE_ACTIVITY and not self._warned:
            self._warned = True
            warnings.warn(
                f"Only {activity:.1%} of the anatomy hinges are active at step {learner.iteration}: the negatives are "
                "too easy; draw partners at the same height, or raise system.margins.",
                stacklevel=2,
            )

    @staticmethod
    def _write(trainer: lightning.Trainer, values: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)
            logger.save()

    def _say(self, text: str) -> None:
        # Beside a progress bar on a terminal these lines would tear it apart; the logs have them anyway.
        if not self.quiet and not sys.stderr.isatty():
            print(text, flush=True)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested mappings and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)
