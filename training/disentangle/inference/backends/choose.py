"""Which compiled network runs a converted bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...systems.factors import Capabilities
from .aligning import AligningNetwork
from .compiled import CompiledNetwork
from .domains import DomainsNetwork
from .modulating import ModulatingNetwork
from .store import Converted, refuse_damaged
from .translating import TranslatingNetwork
from .unusable import openvino_may_fail


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


def ready_network(
    made: Converted, threads: int | None = None, fast: Path | None = None, sequences: Sequence[str] = ()
) -> CompiledNetwork:
    """The network for a converted bundle, its files looked at and its first program compiled: what is broken shows here
    rather than between two slices.

    Args:
        made: what was converted.
        threads, fast: as of :class:`.compiled.CompiledNetwork`.
        sequences: what will be asked of the network first; () for any.

    Raises:
        Unusable: OpenVINO fails, or the programs are damaged; those are deleted.
        InputError: the bundle's own programs in 8-bit integers are of no use.
    """
    refuse_damaged(made.folder)
    with openvino_may_fail():
        network = compiled_network(made.folder, made.capabilities, made.styles, threads, fast)
        network.compile_first(sequences or made.capabilities.sequences)
    return network
