"""Which compiled network runs a converted bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...systems.factors import Capabilities
from .aligning import AligningNetwork
from .compiled import CompiledNetwork


def compiled_network(
    folder: Path,
    capabilities: Capabilities,
    styles: Mapping[str, np.ndarray],
    threads: int | None = None,
    fast: Path | None = None,
) -> CompiledNetwork:
    """The network for programs in a folder; arguments as of :class:`.compiled.CompiledNetwork`."""
    kind = AligningNetwork if capabilities.aligns else CompiledNetwork
    return kind(folder, capabilities, styles, threads, fast)
