"""PyTorchUtils of the PyTorch extension: torch as it is installed here; nothing is downloaded."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from packaging.specifiers import SpecifierSet

pretend_missing = False
"""A test sets this to see what the panel does when torch is not installed."""

requests: list[str | None] = []
"""Versions asked for by installTorch since the last time this was cleared."""


class PyTorchUtilsLogic:
    """Finds and installs torch."""

    def torchInstalled(self) -> bool:
        """Whether torch can be imported."""
        if pretend_missing:
            return False
        try:
            metadata.version("torch")
        except metadata.PackageNotFoundError:
            return False
        return True

    def torchVersionInformation(self) -> str | None:
        """For example "2.13.0"."""
        return metadata.version("torch") if self.torchInstalled() else None

    def torchVersion(self) -> str | None:
        """For example "2.13.0"."""
        return self.torchVersionInformation()

    @property
    def torch(self) -> Any:
        """The module, None if it is not installed."""
        if not self.torchInstalled():
            return None
        import torch

        return torch

    def isTorchVersionCompatible(self, requirement: str | None) -> bool:
        """Whether the installed version satisfies a requirement such as ">=2.2"."""
        version = self.torchVersionInformation()
        return version is not None and SpecifierSet(requirement or "").contains(version, prereleases=True)

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        """Ask, then install; None if the user declines."""
        import slicer

        requests.append(torchVersionRequirement)
        if askConfirmation and not slicer.util.confirmOkCancelDisplay("PyTorch will be downloaded and installed."):
            return None
        global pretend_missing
        pretend_missing = False
        return self.torch
