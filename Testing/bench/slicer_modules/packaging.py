"""slicer.packaging: which requirements are met; nothing is ever installed by the bench, only recorded."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

installed: list[Any] = []
"""What was asked to be installed."""


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements in a requirements.txt."""
    lines = (line.partition(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def _as_list(requirements: Any) -> list[Requirement]:
    if isinstance(requirements, str):
        return [Requirement(part) for part in requirements.split()]
    if isinstance(requirements, Requirement):
        return [requirements]
    return [item if isinstance(item, Requirement) else Requirement(item) for item in requirements]


def pip_check(req: Any) -> bool:
    """Whether the requirements are met."""
    for requirement in _as_list(req):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            return False
        if not requirement.specifier.contains(version, prereleases=True):
            return False
    return True


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Record what would be installed, after asking the user."""
    import slicer

    missing = [item for item in _as_list(requirements) if not pip_check(item)]
    if not missing:
        return None
    text = ", ".join(str(item) for item in missing)
    if prompt_install and not slicer.util.confirmOkCancelDisplay(f"{requester or 'Slicer'} needs to install: {text}"):
        raise RuntimeError("User declined package installation")
    installed.extend(missing)
    return None


def pip_install(requirements: Any, **_options: Any) -> list[str] | None:
    """Record what would be installed."""
    installed.append(requirements)
    return None


def pip_uninstall(requirements: Any, **_options: Any) -> None:
    """Record what would be removed."""
    installed.append(("uninstall", requirements))
