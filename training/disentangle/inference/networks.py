"""What computes for a predictor: loaded on the first run, beside its preparation, kept for the next ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..bundles import Bundle
from ..parallel import in_a_thread
from ..preprocessing import study_key
from ..progress import Progress
from . import brain
from .backends.store import TIMED_SIZE
from .backends.unusable import Unusable, torch_instead
from .devices import choose_device, longest_step, release_memory
from .plan import Plan, choose_plan, in_half

if TYPE_CHECKING:
    from ..study import Image, Study
    from ..systems.base import System
    from ..systems.factors import Capabilities
    from .backends import Network
    from .backends.eager import EagerNetwork
    from .report import RunReport

_PATIENCE_S = 0.05
"""How often somebody who waits for the networks looks whether to go on waiting."""
_MEASURED_AS = {"torch": "torch", "openvino": "openvino", "openvino int8": "fast"}
"""Name of a network -> that of its milliseconds, see :attr:`.backends.store.Converted.milliseconds`."""
_UNUSABLE = "the compiled backend could not be used"


class Lessons:
    """What was learnt on one study.

    Args:
        study: whose corrections were learnt from; :meth:`of` tells whether another one has the same content.

    Attributes:
        before: before each adaptation, the latest last: the state of the segmentation head, and what it had answered.
    """

    def __init__(self, study: Study) -> None:
        self._study, self._key = study, study_key(study)
        self.before: list[tuple[dict[str, Any], Image | None]] = []

    def of(self, study: Study) -> bool:
        """Whether they are about a study."""
        return study is self._study or study_key(study) == self._key


class Networks:
    """The network of a bundle on one device.

    Args:
        bundle: the bundle.
        device, backend: names, see :class:`Predictor`.
        threads: CPU threads; None leaves them as they are.
        fast: the fast mode is wished for.
        precision: of PyTorch on a GPU, see :func:`.plan.in_half`.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str,
        backend: str,
        threads: int | None = None,
        fast: bool = False,
        precision: str = "fp32",
    ) -> None:
        self.bundle, self.device, self.backend, self.threads, self.fast = bundle, device, backend, threads, fast
        self.precision = precision
        self._network: Network | None = None
        self._system: System | None = None
        self._plan: Plan | None = None
        self._reason = self._warning = self._note = ""
        self._loading: Future[tuple[Network, str | None]] | None = None
        self._lessons: Lessons | None = None
        self._home: Any = None
        self._broken = False

    def begin(self, sequences: Sequence[str] = (), segment: bool = False) -> None:
        """Load in a thread what :meth:`load` will ask for: importing a library takes seconds, and a study can be
        prepared meanwhile. A plan that has become a better one since the last run, because the bundle was converted
        meanwhile, is followed.

        Args:
            sequences, segment: what will be asked of the network first; its programs are compiled meanwhile.

        Raises:
            InputError: the plan cannot be had, or the bundle may not run.
        """
        if self._loading is not None and self._loading.done() and self._loading.exception() is not None:
            self._loading = None
        if self._loading is not None or self.adapted or self.compiled:
            return
        plan = choose_plan(self.bundle, self.device, self.backend, self.fast)
        if self._broken and plan.converted is not None:
            plan = replace(plan, converted=None, reason=_UNUSABLE)
        self._reason, self._warning = plan.reason, plan.warning
        if plan.converted is None and self._network is not None:
            return
        self.bundle.check_ready()
        self._plan = plan
        make = self._torch if plan.converted is None else partial(self._compiled, plan, sequences, segment)
        self._loading = in_a_thread(make)

    def load(self, report: RunReport, progress: Progress | None = None) -> Network:
        """What computes, when it is there.

        Raises:
            InputError: the bundle is damaged, or of no use.
            Cancelled: asked to stop while it was not there yet.
        """
        self._forget_others(report.study)
        self.wake()
        if self._loading is None:  # what has failed since it was begun is told, not tried again
            self.begin()
        if self._loading is not None:
            while not wait([self._loading], _PATIENCE_S).done:
                if progress is not None:
                    progress("load", 0.0, f"loading the model {self.bundle.name}")
            self._take(self._loading)
        if self.adapted:
            report.warn(
                f"The model {self.bundle.name} answers here as adapted to your corrections of this study, not as "
                "installed; undo the learning to have the installed model's answer."
            )
        return self._told(report)

    def _take(self, loading: Future[tuple[Network, str | None]]) -> None:
        self._loading = None
        self._network, note = loading.result()
        self._note, self._home = note or "", getattr(self._network, "torch_device", None)
        if self._network.name == "torch":
            self._use_threads()  # torch counts them by thread

    @property
    def abilities(self) -> Capabilities | None:
        """What the network can do; None where that is not known before it is there."""
        if self._loading is None:
            return None if self._network is None else self._network.capabilities
        return None if self._plan.known is None else self._plan.known

    def step_ms(self, size: Sequence[int]) -> float | None:
        """What the longest step takes for one slice of a size (H, W), see :func:`.devices.longest_step`; None where
        nobody has measured it, or on a GPU. The network must be there."""
        measured = self._plan.milliseconds.get(_MEASURED_AS[self._network.name])
        if measured is None or not self._network.device.startswith("cpu"):
            return None
        own = self._network.capabilities.size  # slices of every other size are brought to it
        return longest_step(measured, *((1, 1) if own else (math.prod(size), math.prod(TIMED_SIZE))))

    def rest(self) -> bool:
        """Leave the GPU to others until :meth:`wake`, the weights being kept on the CPU; True where there was a GPU to
        leave. Tensors that others hold keep their memory."""
        device = getattr(self._network, "torch_device", None)
        if device is None or device.type == "cpu":
            return False
        self._network.place("cpu")
        release_memory(device)
        return True

    def wake(self) -> None:
        """Back to the device that :meth:`rest` left, or memory that ran out in an earlier run; where there still is no
        memory, the CPU computes, and the next run tries again."""
        if self._home is None or self._network.torch_device == self._home:
            return
        try:
            self._network.place(self._home)
        except RuntimeError:
            self._network.place("cpu")

    @property
    def compiled(self) -> bool:
        """Whether compiled programs compute, or will as soon as they are there."""
        if self._loading is not None:
            return self._plan.converted is not None
        return self._network is not None and self._network.name != "torch"

    def use_torch(self, report: RunReport) -> Network:
        """PyTorch from now on: the model is to learn from the study of a report."""
        self._forget_others(report.study)
        if self._network.name != "torch":
            self._take(in_a_thread(self._torch))
        self._network.replays.forget()
        self._reason, self._warning = "the model was adapted", ""
        return self._told(report)

    # -- learning --------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network | None:
        """What computes; None before it is there."""
        return self._network

    @property
    def adapted(self) -> bool:
        """Whether the segmentation head is not the installed one."""
        return self._lessons is not None

    def learnt(self, study: Study) -> int:
        """How many adaptations to a study are in force."""
        return len(self._lessons.before) if self._lessons is not None and self._lessons.of(study) else 0

    def remember(self, study: Study, segmentation: Image | None) -> None:
        """The head is about to learn: keep its state for :meth:`undo`. :meth:`use_torch` comes first.

        Args:
            study: whose corrections will be learnt.
            segmentation: what the head has answered about it.
        """
        if self._lessons is None:
            self._lessons = Lessons(study)
        self._lessons.before.append((copy.deepcopy(self._network.head.state_dict()), segmentation))

    def undo(self) -> Image | None:
        """Forget the last adaptation; what had been answered before it. There must be one."""
        state, segmentation = self._lessons.before[-1]
        if len(self._lessons.before) == 1:
            self.restore()
        else:
            self._lessons.before.pop()
            self._network.head.load_state_dict(state)
        return segmentation

    def restore(self) -> None:
        """The segmentation head as it was installed; nothing where it is."""
        if self._lessons is None:
            return
        self._network.head.load_state_dict(self._lessons.before[0][0])
        self._lessons = None
        # Another network for all who keep what one has said: what the adapted head said is nothing of this one's.
        self._network = self._eager(self._network.system)

    def _forget_others(self, study: Study) -> None:
        """What one patient taught is not for the next one."""
        if self._lessons is not None and not self._lessons.of(study):
            self.restore()

    def system(self, device: Any) -> System:
        """The bundle's system on a device, folded, loaded once."""
        if self._system is None:
            self._system = self.bundle.system().fold()
        return self._system.to(device)

    def _told(self, report: RunReport) -> Network:
        for sentence in (self._note, self._warning):
            if sentence:
                report.warn(sentence)
        while brain.notes:
            report.warn(brain.notes.pop())
        if self._home is not None and self._network.torch_device != self._home:
            report.warn("The GPU has no memory to spare; the CPU computed instead. Close other programs that use it.")
        if self.precision == "bf16" and not getattr(self._network, "half", False):
            report.warn("bf16 is for PyTorch on a GPU; the networks computed in fp32.")
        report.device, report.backend = self._network.device, {"name": self._network.name, "reason": self._reason}
        return self._network

    def _compiled(self, plan: Plan, sequences: Sequence[str], segment: bool) -> tuple[Network, str | None]:
        """The compiled network. Who did not ask for it by name gets PyTorch's, and a note, where it cannot be used."""
        from .backends.choose import ready_network

        try:
            network = ready_network(plan.converted, self.threads, plan.fast, sequences)
        except Unusable as error:
            if self.backend == "openvino":
                raise
            # Damaged programs are made anew and then tried again; a library that does not load will not do so later.
            self._broken, self._reason = not error.damaged, _UNUSABLE
            network, note = self._torch()
            return network, " ".join([torch_instead(error.reason), *([note] if note else [])])
        in_a_thread(partial(network.compile_ahead, sequences, segment))
        self._system = None
        return network, None

    def _torch(self) -> tuple[Network, str | None]:
        """PyTorch's network, and a note when its device is not the one asked for."""
        self._use_threads()
        device, note = choose_device(self.device)
        return self._eager(self.system(device)), note

    def _eager(self, system: System) -> EagerNetwork:
        from .backends.eager import EagerNetwork

        half = in_half(self.precision, next(system.parameters()).device.type)
        return EagerNetwork(system, compiled=self.backend == "compile", half=half)

    def _use_threads(self) -> None:
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
