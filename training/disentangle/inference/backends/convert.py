"""Converting a bundle: ``python -m disentangle.inference.backends.convert BUNDLE``.

The only place where torch and OpenVINO meet. Every program is compared with the reference on slices of another size
than it was traced with, and the backends are timed; programs that differ by more than :data:`TOLERANCE` are thrown
away. The bundle's programs in 8-bit integers are timed beside them. As a process of its own it ends when its stdin
does, so that it never outlives who started it.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...bundles import Bundle, find_bundle
from ...errors import InputError
from ...study import write_atomically
from ...systems.base import Program, System
from .. import brain
from .choose import compiled_network
from .compiled import CompiledNetwork
from .eager import EagerNetwork
from .store import (
    TIMED_SIZE,
    Converted,
    brain_program,
    folder_of,
    lacks_brain,
    openvino_version,
    read,
    seal,
    write_card,
)
from .unusable import load_openvino

TOLERANCE = 1e-3
_INPUTS = 4
"""Random inputs on which programs may agree with the reference. Wrong ones differ on all. But a one-hot anatomy, whose
largest two channels may be as near as rounding (5e-7), tips over at a voxel now and then, and takes with it what is
made of it: on a CPU with AMX one voxel of 16384 did, on the first input of a random DAFNet."""
"""Largest difference of any output, relative to the largest value of that output."""
_TIMED = 5


def convert(bundle: Bundle) -> Converted:
    """Convert a bundle's programs for this machine, or find out that it has none; what is there already is kept.

    Raises:
        InputError: OpenVINO is not installed or does not load (``Unusable``), or the bundle cannot be loaded or stored.
    """
    if openvino_version() is None:
        raise InputError("OpenVINO is not installed; install it with: pip install openvino")
    load_openvino()
    if lacks_brain(bundle):
        _convert_brain()
    known = read(bundle)
    if known is not None:
        return known
    system = bundle.system().fold()
    folder = folder_of(bundle)
    folder.parent.mkdir(parents=True, exist_ok=True)
    styles = {t: system.default_style(t).cpu().numpy() for t in system.capabilities.targets}
    programs = system.programs()
    with write_atomically(folder) as temporary:
        temporary.mkdir()
        made = Converted(folder, (), system.capabilities, styles, {}, note=f"{system.name} runs as it is only")
        if programs:
            try:
                made = _checked(bundle, system, programs, temporary, made)
            except RuntimeError as error:  # an operation or a graph that OpenVINO has no answer to
                made = replace(made, note=f"OpenVINO: {str(error).strip().splitlines()[0]}")
        write_card(made, temporary)
        seal(temporary)
    return made


def _checked(
    bundle: Bundle, system: System, programs: dict[str, Program], folder: Path, nothing: Converted
) -> Converted:
    """Programs written to a folder, compared with the reference and timed; ``nothing``, and why, where they differ."""
    save_programs(programs, folder)
    abilities, styles = nothing.capabilities, nothing.styles
    compiled = compiled_network(folder, abilities, styles)
    difference = math.inf
    for seed in range(_INPUTS):
        difference = min(difference, _difference(EagerNetwork(system), compiled, seed))
        if difference <= TOLERANCE:
            break
    if difference > TOLERANCE:
        note = f"the compiled programs differ from the reference by {difference:.2g}"
        return replace(nothing, difference=difference, note=note)
    networks = {"torch": EagerNetwork(system), "openvino": compiled}
    if bundle.fast is not None:
        networks["fast"] = compiled_network(folder, abilities, styles, fast=bundle.fast_programs())
    milliseconds = _timings(system, networks)
    return Converted(nothing.folder, tuple(programs), abilities, styles, milliseconds, difference)


@torch.no_grad()
def _convert_brain() -> None:
    """The network of the brain mask, once: what runs a compiled bundle on whole heads then needs no torch either."""
    path, net = brain_program(), brain.torch_network()
    if path is None or net is None or path.is_file():
        return
    example = torch.linspace(0, 1, 32**3).view(1, 1, 32, 32, 32)
    with write_atomically(path.parent) as temporary:
        temporary.mkdir()
        save_programs({"brain": Program(net, (example,))}, temporary)
        other = torch.rand(1, 1, 40, 48, 32, generator=torch.Generator().manual_seed(0))
        expected, found = net(other).numpy(), brain.compiled_logits(temporary / "brain.xml", other.numpy())
        if np.abs(found - expected).max() > TOLERANCE * np.abs(expected).max():
            (temporary / "brain.xml").unlink()
        seal(temporary)


@torch.no_grad()
def save_programs(programs: dict[str, Program], folder: Path) -> None:
    """Write programs as ``NAME.xml`` and ``NAME.bin``, as OpenVINO reads them."""
    # Not openvino.convert_model: it reports its use to a server.
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    frontend = FrontEndManager().load_by_framework("pytorch")
    for name, program in programs.items():
        example = program.inputs if len(program.inputs) > 1 else program.inputs[0]
        decoder = TorchScriptPythonDecoder(program.module, example_input=example)  # must outlive the model
        model = frontend.convert(frontend.load(decoder))
        folding = Manager()  # of kernels that depend on the sequence: the program is of one sequence
        folding.register_pass(ConstantFolding())
        folding.run_passes(model)
        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)


def _inputs(system: System, count: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Smooth random images and a mask, as normalised slices of a head have them."""
    generator = np.random.default_rng(seed)
    abilities = system.capabilities
    height, width = abilities.size or TIMED_SIZE
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask = np.repeat((x**2 + y**2 < 0.8).astype(np.float32)[None, None], count, axis=0)
    images = {}
    for name in abilities.sequences:
        shape = (count, abilities.slices, height // 8, width // 8)
        coarse = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
        fine = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear").numpy()
        images[name] = (fine + 0.1 * generator.standard_normal(fine.shape, dtype=np.float32)) * mask
    return images, mask


def _difference(reference: EagerNetwork, compiled: CompiledNetwork, seed: int) -> float:
    """The largest root mean square difference of any output, relative to its largest value, on the random images of a
    seed. Not the largest difference of all: where features are nearly constant, instance normalisation makes 1e-3 at
    two voxels of a thousand out of rounding (a random DALACE on a CPU with AMX)."""
    images, mask = _inputs(reference.system, 2, seed)

    def outputs(network: Any) -> list[np.ndarray]:
        factors = network.encode(images, mask)
        there = network.align(factors, next(iter(images)))
        found = [*factors.anatomy.values(), *factors.modality.values(), *there.anatomy.values()]
        if network.capabilities.classes:
            found.append(network.probabilities(there))
            found.append(network.probabilities(there.subset(list(images)[:1])))
        if network.capabilities.agnostic:
            found += [network.agnostic_image(anatomy, name) for name, anatomy in there.anatomy.items()]
        if network.capabilities.targets:
            found += network.decode(network.synthesis_anatomy(there), list(network.capabilities.targets))
        return [network.array(handle) for handle in found]

    pairs = zip(outputs(reference), outputs(compiled), strict=True)
    return max(float(np.sqrt(np.square(a - b).mean()) / max(np.abs(a).max(), 1e-6)) for a, b in pairs)


def _timings(system: System, networks: dict[str, EagerNetwork | CompiledNetwork]) -> dict[str, float]:
    """Median milliseconds per slice of each, taking turns."""
    images, mask = _inputs(system, 4)

    def run(network: Any) -> Callable[[], Any]:
        def job() -> Tensor | np.ndarray:
            factors = network.align(network.encode(images, mask, styles=False), next(iter(images)))
            if network.capabilities.classes:
                return network.probabilities(factors)
            return network.decode(network.synthesis_anatomy(factors), [network.capabilities.targets[0]])

        return job

    jobs = {name: run(network) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(_TIMED + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: round(1000 * statistics.median(values) / len(mask), 2) for name, values in seconds.items()}


def main(arguments: list[str]) -> int:
    """Convert the bundle named by the first argument."""
    if not sys.stdin.isatty():

        def end_with_parent() -> None:
            while sys.stdin.buffer.read(1 << 12):
                pass
            os._exit(3)

        if "--with-parent" in arguments:
            threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        made = convert(find_bundle(arguments[0]))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{made.milliseconds or made.note} in {made.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
