"""What computes for a predictor: loaded on the first run, kept for the next ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..bundles import Bundle
from .devices import choose_device, release_memory
from .plan import choose_plan

if TYPE_CHECKING:
    from ..systems.base import System
    from .backends import Network
    from .report import RunReport


class Networks:
    """The network of a bundle on one device.

    Args:
        bundle: the bundle.
        device, backend: names, see :class:`Predictor`.
        threads: CPU threads; None leaves them as they are.
        fast: the fast mode is wished for.
    """

    def __init__(
        self, bundle: Bundle, device: str, backend: str, threads: int | None = None, fast: bool = False
    ) -> None:
        self.bundle, self.device, self.backend, self.threads, self.fast = bundle, device, backend, threads, fast
        self._network: Network | None = None
        self._system: System | None = None
        self._reason = self._warning = ""
        self.adapted = False
        self._resting: Any = None

    def load(self, report: RunReport) -> Network:
        """What computes. A plan that has become a better one since the last run, because the bundle was converted
        meanwhile, is followed."""
        if self._network is None or (self._network.name == "torch" and not self.adapted):
            plan = choose_plan(self.bundle, self.device, self.backend, self.fast)
            if plan.converted is not None:
                from .backends.compiled import CompiledNetwork

                self.bundle.check_ready()
                made = plan.converted
                self._network = CompiledNetwork(
                    made.folder, made.capabilities, made.styles, self.threads, plan.fast
                )
                self._system = None
            elif self._network is None:
                self._network = self._torch(report)
            self._reason, self._warning = plan.reason, plan.warning
        return self._told(report)

    def rest(self) -> bool:
        """Leave the GPU to others until :meth:`wake`, the weights being kept on the CPU; True where there was a GPU to
        leave. Tensors that others hold keep their memory."""
        device = getattr(self._network, "torch_device", None)
        if device is None or device.type == "cpu":
            return False
        self._network.place("cpu")
        self._resting = device
        release_memory(device)
        return True

    def wake(self) -> None:
        """Back to the device that :meth:`rest` left."""
        if self._resting is not None:
            self._network.place(self._resting)
            self._resting = None

    @property
    def compiled(self) -> bool:
        """Whether compiled programs compute; not before something was loaded."""
        return self._network is not None and self._network.name != "torch"

    def use_torch(self, report: RunReport) -> Network:
        """PyTorch from now on: the model is to learn."""
        if self._network.name != "torch":
            self._network = self._torch(report)
        self._network.replays.forget()
        self.adapted, self._reason, self._warning = True, "the model was adapted", ""
        return self._told(report)

    def system(self, device: Any) -> System:
        """The bundle's system on a device, folded, loaded once."""
        if self._system is None:
            self._system = self.bundle.system().fold()
        return self._system.to(device)

    def _told(self, report: RunReport) -> Network:
        if self._warning:
            report.warn(self._warning)
        report.device, report.backend = self._network.device, {"name": self._network.name, "reason": self._reason}
        return self._network

    def _torch(self, report: RunReport) -> Network:
        import torch

        from .backends.eager import EagerNetwork

        if self.threads:
            torch.set_num_threads(self.threads)
        device, note = choose_device(self.device)
        if note:
            report.warn(note)
        return EagerNetwork(self.system(device))
