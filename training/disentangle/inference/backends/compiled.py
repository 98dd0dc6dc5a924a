"""Programs compiled for the CPU by OpenVINO, one slice each, as many at once as there are cores. Needs no torch."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...bundles.store import MAX_BUNDLE_BYTES
from ...errors import InputError
from ...parallel import cores
from ...systems.factors import Capabilities, Factors
from ..devices import threads_in_words
from .store import keep_size, last_size
from .unusable import load_openvino

_KEPT = 40
"""Compiled programs in memory, each of one size of slices: two sizes of a bundle of four sequences."""
Shapes = tuple[str, tuple[tuple[int, ...], ...]]
"""A program and the shapes of its inputs."""


class CompiledNetwork:
    """A converted bundle behind the interface of :class:`~disentangle.inference.backends.Network`; base of the networks
    of each kind of system, which know its programs (``choose.py``).

    Slices go through one by one and side by side: on two cores that takes less time than batches of 4 or 8 whose
    every step is split between the cores, and a single slice needs no program of its own. Sequences that are asked for
    together go side by side, too: it takes 17 instead of 28 ms for a single slice of brain-mr's four (128 x 128, two
    cores), which a session therefore asks for at once; four slices keep both cores busy as they are (13 ms a slice
    either way). Handles are arrays.

    Args:
        folder: of the converted programs, see ``store.py``.
        capabilities, styles: of the system; styles are the default modality factors by target.
        threads: slices at once; None takes all cores.
        fast: a zip of programs in 8-bit integers, which take the place of their namesakes.

    Raises:
        Unusable: OpenVINO does not load.
        InputError: the zip is none.
    """

    def __init__(
        self,
        folder: Path,
        capabilities: Capabilities,
        styles: Mapping[str, np.ndarray],
        threads: int | None = None,
        fast: Path | None = None,
    ) -> None:
        openvino = load_openvino()
        self.name = "openvino" if fast is None else "openvino int8"
        self.capabilities = capabilities
        self.threads = threads or cores()
        self.device = f"cpu ({threads_in_words(self.threads)}, OpenVINO {openvino.__version__.split('-')[0]})"
        self._folder, self._styles = folder, styles
        self._fast = {} if fast is None else _unpacked(fast)
        self._core = openvino.Core()
        self._compiled: dict[Shapes, list[Any]] = {}
        self._compiling = threading.Lock()
        self._foreseen: tuple[int, ...] | None = None  # the size of slices that was, or will be, compiled ahead

    @property
    def learns(self) -> bool:
        """Whether the system has a segmentation head, which learns on PyTorch."""
        return self.capabilities.segments

    # -- the interface ---------------------------------------------------------------------------------------------

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        raise NotImplementedError

    def align(self, factors: Factors, reference: str) -> Factors:
        return factors

    def probabilities(self, factors: Factors) -> np.ndarray:
        raise NotImplementedError

    def synthesis_anatomy(self, factors: Factors) -> np.ndarray:
        """The mean anatomy."""
        return np.mean(list(factors.anatomy.values()), axis=0)

    def decode(self, anatomy: np.ndarray, styles: Sequence[np.ndarray | str]) -> list[np.ndarray]:
        vectors = self._vectors(styles, len(anatomy))
        return self.by_slice([("decode", (anatomy, z)) for z in vectors], range(len(anatomy)))

    def _vectors(self, styles: Sequence[np.ndarray | str], count: int) -> list[np.ndarray]:
        """Modality factors (count, Z) of styles."""
        vectors = [self._styles[z] if isinstance(z, str) else z for z in styles]
        return [np.broadcast_to(np.asarray(z, np.float32), (count, z.shape[-1])) for z in vectors]

    def anatomy_maps(self, anatomy: np.ndarray, size: Sequence[int]) -> np.ndarray:
        shown = self.capabilities.anatomy_channels
        if anatomy.shape[1] != shown:
            groups = np.array_split(anatomy, shown, axis=1)
            anatomy = np.stack([np.sqrt(np.square(g).mean(axis=1)) for g in groups], axis=1)
        if anatomy.shape[-2:] == tuple(size):
            return anatomy
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, anatomy.shape[-2:], strict=True))
        return anatomy[:, :, rows[:, None], columns]

    def agnostic_image(self, anatomy: np.ndarray, sequence: str) -> np.ndarray:
        raise NotImplementedError

    def default_style(self, target: str) -> np.ndarray:
        return self._styles[target]

    def array(self, handle: np.ndarray) -> np.ndarray:
        return handle

    # -- programs --------------------------------------------------------------------------------------------------

    def _run(self, jobs: Sequence[tuple[str, tuple[np.ndarray, ...]]]) -> list[list[np.ndarray]]:
        """The outputs of each job, a program with its inputs; as many run at once as there are threads.

        OpenVINO's threads do the work. Python's must not: two of them that hand over arrays at the same moment have
        been seen to wait for each other for ever (2026.4.1).
        """
        results: list[list[np.ndarray]] = []
        running: deque[Any] = deque()

        def collect() -> None:
            request = running.popleft()
            request.wait()
            outputs = range(len(request.model_outputs))
            results.append([request.get_output_tensor(n).data.copy() for n in outputs])

        try:
            for number, (program, inputs) in enumerate(jobs):
                if len(running) == self.threads:
                    collect()
                request = self._requests(program, tuple(array.shape for array in inputs))[number % self.threads]
                for n, array in enumerate(inputs):
                    request.get_input_tensor(n).data[:] = array
                request.start_async()
                running.append(request)
            while running:
                collect()
        finally:
            for request in running:  # something was interrupted: nothing may run when the next call begins
                request.wait()
        return results

    def compile_first(self, sequences: Sequence[str]) -> None:
        """Compile the encoder of the first of some sequences, for slices of the size that was the last one on this
        machine, or of a small one.

        Raises:
            Exception: whatever OpenVINO raises where it cannot.
        """
        least = 2 * self.capabilities.size_multiple
        size = self._last_size or (least, least)
        self._requests(*self._first_programs(sequences, False, size)[0])

    @property
    def _last_size(self) -> tuple[int, ...]:
        return tuple(self.capabilities.size or last_size(self._folder))

    def compile_ahead(self, sequences: Sequence[str], segment: bool) -> None:
        """Compile what will be asked for first, for slices of the size that was the last one on this machine.

        For a thread, while a study is prepared: that takes a second, most of which something else would wait for.

        Args:
            sequences: whose encoders will be used.
            segment: so will the segmentation head.
        """
        self._foreseen = self._last_size
        if not self._foreseen or self._fast:
            return
        for program, shapes in self._first_programs(sequences, segment, self._foreseen):
            self._requests(program, shapes)

    def foresee(self, size: tuple[int, ...]) -> None:
        """Slices of this size (H, W) came: the next ones will probably have it too."""
        if self._foreseen is not None and self._foreseen != size:
            self._foreseen = size
            keep_size(self._folder, size)

    def by_slice(self, jobs: Sequence[tuple[str, tuple[np.ndarray, ...]]], slices: range) -> list[np.ndarray]:
        """The outputs of programs with one output, whose inputs (B, ...) go through slice by slice."""
        found = self._run([(name, tuple(a[b : b + 1] for a in inputs)) for name, inputs in jobs for b in slices])
        count = len(slices)
        return [np.concatenate([f[0] for f in found[n * count : (n + 1) * count]]) for n in range(len(jobs))]

    def output_shapes(self, program: str, shapes: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
        """The shapes of a program's outputs, for inputs of such shapes."""
        return [tuple(port.shape) for port in self._requests(program, shapes)[0].model_outputs]

    def ready_to_decode(self, size: Sequence[int]) -> None:
        for program, shapes in self._decoding_programs(size):
            self._requests(program, shapes)

    def _decoding_programs(self, size: Sequence[int]) -> Iterator[Shapes]:
        """What decoding slices of a size takes, in that order: programs and the shapes of their inputs."""
        raise NotImplementedError

    def _first_programs(self, sequences: Sequence[str], segment: bool, size: Sequence[int]) -> list[Shapes]:
        """What will be asked for first, in that order: programs and the shapes of their inputs."""
        raise NotImplementedError

    def has(self, program: str) -> bool:
        """Whether there is such a program."""
        return (self._folder / f"{program}.xml").is_file()

    def model(self, program: str) -> Any:
        """A program as it was read."""
        if program in self._fast:
            return self._core.read_model(*self._fast[program])
        return self._core.read_model(self._folder / f"{program}.xml")

    def _requests(self, program: str, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
        """One request per thread of a program, compiled for inputs of these shapes."""
        with self._compiling:
            if (program, shapes) not in self._compiled:
                if len(self._compiled) >= _KEPT:
                    self._compiled.clear()
                self._compiled[program, shapes] = self._new_requests(program, shapes)
            return self._compiled[program, shapes]

    def _new_requests(self, program: str, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
        model = self.model(program)
        model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
        settings = {
            "NUM_STREAMS": str(self.threads),
            "INFERENCE_NUM_THREADS": str(self.threads),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = self._core.compile_model(model, "CPU", settings)
        return [compiled.create_infer_request() for _ in range(self.threads)]


def _unpacked(archive: Path) -> dict[str, tuple[bytes, bytes]]:
    """Program -> what is in its ``.xml`` and ``.bin``."""
    try:
        with zipfile.ZipFile(archive) as bag:
            if sum(member.file_size for member in bag.infolist()) > MAX_BUNDLE_BYTES:
                raise InputError(f"{archive} unpacks to more than a model can have; do not use this model.")
            names = [name[: -len(".xml")] for name in bag.namelist() if name.endswith(".xml")]
            return {name: (bag.read(f"{name}.xml"), bag.read(f"{name}.bin")) for name in names}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, KeyError, OSError) as error:
        raise InputError(f"{archive} holds no programs of a fast mode; get the model again.") from error
