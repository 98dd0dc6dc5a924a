"""Where the files shipped with the product lie: models, the atlas, the network of the brain mask; and its pages.

The same package runs from a source tree (``training/disentangle`` two folders below ``Resources``; so does
``pip install -e .``) and from Slicer's module folder (``qt-scripted-modules/disentangle`` beside
``qt-scripted-modules/Resources``). A wheel, and so ``pip install .``, holds the Python files alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CANDIDATES = (_PACKAGE.parent / "Resources", _PACKAGE.parent.parent / "Resources")

HOMEPAGE = "https://github.com/Disentangle/SlicerDisentangle"
"""As in CMakeLists.txt."""
TUTORIAL = f"{HOMEPAGE}/blob/main/Resources/Docs/tutorial.md"


def resource_path(*parts: str) -> Path:
    """The path of a shipped file or folder, for example ``resource_path("Models")``.

    Raises:
        FileNotFoundError: no such file is shipped with this installation.
    """
    for root in _CANDIDATES:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{'/'.join(parts)} is missing from this installation of Disentangle; looked in "
        + ", ".join(str(root) for root in _CANDIDATES)
        + ". Install the extension again, or the package from its source tree with 'pip install -e .'."
    )


def cache_folder() -> Path:
    """The user's folder for what can be computed again: $DISENTANGLE_CACHE, else the place for caches on this system.

    It need not exist.
    """
    if home := os.environ.get("DISENTANGLE_CACHE"):
        return Path(home)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "Disentangle" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "Disentangle"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "disentangle"
