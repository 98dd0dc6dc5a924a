"""Which compiled network runs a converted bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...systems.factors import Capabilities
from .aligning import AligningNetwork
from .compiled import CompiledNetwork
from .domains import DomainsNetwork
from .modulating import ModulatingNetwork
from .translating import TranslatingNetwork


def compiled_network(
    folder: Path,
    capabilities: Capabilities,
    styles: Mapping[str, np.ndarray],
    threads: int | None = None,
    fast: Path | None = None,
) -> CompiledNetwork:
    """The network for programs in a folder; arguments as of :class:`.compiled.CompiledNetwork`."""
    if capabilities.aligns:
        kind = AligningNetwork
    elif capabilities.agnostic:
        kind = DomainsNetwork
    else:
        kind = TranslatingNetwork if (folder / "anatomy.xml").is_file() else ModulatingNetwork
    return kind(folder, capabilities, styles, threads, fast)
