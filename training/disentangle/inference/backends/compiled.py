"""Programs compiled for the CPU by OpenVINO, one slice each, as many at once as there are cores. Needs no torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...parallel import cores
from ...systems.factors import Capabilities, Factors

_KEPT = 40
"""Compiled programs in memory, each of one size of slices: two sizes of a bundle of four sequences."""


class CompiledNetwork:
    """A converted bundle behind the interface of :class:`~disentangle.inference.backends.Network`.

    Slices go through one by one and side by side: on two cores that takes less time than batches of 4 or 8 whose
    every step is split between the cores, and a single slice needs no program of its own. Handles are arrays.

    Args:
        folder: of the converted programs, see ``store.py``.
        capabilities, styles: of the system; styles are the default modality factors by target.
        threads: slices at once; None takes all cores.
    """

    name = "openvino"

    def __init__(
        self, folder: Path, capabilities: Capabilities, styles: Mapping[str, np.ndarray], threads: int | None = None
    ) -> None:
        import openvino

        self.capabilities = capabilities
        self.threads = threads or cores()
        self.device = f"cpu ({self.threads} threads, OpenVINO {openvino.__version__.split('-')[0]})"
        self._folder, self._styles = folder, styles
        self._openvino = openvino
        self._core = openvino.Core()
        self._compiled: dict[tuple[str, tuple[tuple[int, ...], ...]], Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="slices")
        self._modulated: tuple[np.ndarray, list[list[np.ndarray]]] | None = None

    @property
    def learns(self) -> bool:
        """Whether the system has a segmentation head, which learns on PyTorch."""
        return self.capabilities.segments

    # -- the interface ---------------------------------------------------------------------------------------------

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        names, count = list(images), len(mask)
        jobs = [(name, b) for name in names for b in range(count)]

        def anatomy(job: tuple[str, int]) -> np.ndarray:
            name, b = job
            return self._run(f"anatomy-{name}", images[name][b : b + 1], mask[b : b + 1])[0]

        def style(job: tuple[str, int]) -> np.ndarray:
            return self._run(f"style-{job[0]}", images[job[0]][job[1] : job[1] + 1])[0]

        found = self._each(anatomy, jobs)
        vectors = self._each(style, jobs) if styles else []
        per = range(0, len(jobs), count)
        anatomies = {name: np.concatenate(found[n : n + count]) for name, n in zip(names, per, strict=True)}
        modality = {name: np.concatenate(vectors[n : n + count]) for name, n in zip(names, per, strict=True) if styles}
        return Factors(anatomies, modality, mask)

    def align(self, factors: Factors, reference: str) -> Factors:
        return factors

    def probabilities(self, factors: Factors) -> np.ndarray:
        anatomies = np.stack(list(factors.anatomy.values()))
        return np.concatenate(
            self._each(lambda b: self._run("segment", anatomies[:, b : b + 1])[0], range(anatomies.shape[1]))
        )

    def synthesis_anatomy(self, factors: Factors) -> np.ndarray:
        """The mean anatomy, its channels summing to 1 inside the mask (``networks.fusion.consensus``)."""
        total = np.sum(list(factors.anatomy.values()), axis=0)
        return total / np.maximum(total.sum(axis=1, keepdims=True), np.float32(1e-6)) * factors.mask

    def decode(self, anatomy: np.ndarray, styles: Sequence[np.ndarray | str]) -> list[np.ndarray]:
        count = len(anatomy)
        vectors = [self._styles[z] if isinstance(z, str) else z for z in styles]
        vectors = [np.broadcast_to(np.asarray(z, np.float32), (count, z.shape[-1])) for z in vectors]
        # The maps that an anatomy imposes cost ten times what showing it in one more style does: a slider's next
        # position, which brings the same anatomy again, finds them here.
        if self._modulated is None or self._modulated[0] is not anatomy:
            maps = self._each(lambda b: self._run("modulate", anatomy[b : b + 1]), range(count))
            self._modulated = anatomy, maps
        maps = self._modulated[1]
        inside = np.clip(anatomy.sum(axis=1, keepdims=True), 0, 1)
        jobs = [(vector, b) for vector in vectors for b in range(count)]
        shown = self._each(lambda job: self._run("render", job[0][job[1]][None], *maps[job[1]])[0], jobs)
        return [np.concatenate(shown[n : n + count]) * inside for n in range(0, len(jobs), count)]

    def anatomy_maps(self, anatomy: np.ndarray, size: Sequence[int]) -> np.ndarray:
        return anatomy

    def agnostic_image(self, anatomy: np.ndarray, sequence: str) -> np.ndarray:
        raise NotImplementedError  # no system that has such images is converted

    def default_style(self, target: str) -> np.ndarray:
        return self._styles[target]

    def array(self, handle: np.ndarray) -> np.ndarray:
        return handle

    # -- programs --------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> list[Any]:
        """``work`` of every job, side by side."""
        jobs = list(jobs)
        if len(jobs) == 1:
            return [work(jobs[0])]
        return list(self._pool.map(work, jobs))

    def _run(self, program: str, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of a program, copied."""
        inputs = tuple(np.ascontiguousarray(array, np.float32) for array in inputs)
        request = self._request(program, tuple(array.shape for array in inputs))
        request.infer(list(inputs), share_inputs=True)
        return [request.get_output_tensor(n).data.copy() for n in range(len(request.model_outputs))]

    def _request(self, program: str, shapes: tuple[tuple[int, ...], ...]) -> Any:
        """This thread's own request of a program for inputs of these shapes."""
        requests = self._local.__dict__.setdefault("requests", {})
        model = self._model(program, shapes)
        known = requests.get((program, shapes))
        if known is None or known[0] is not model:
            if len(requests) > _KEPT:
                requests.clear()
            known = requests[program, shapes] = (model, model.create_infer_request())
        return known[1]

    def _model(self, program: str, shapes: tuple[tuple[int, ...], ...]) -> Any:
        with self._lock:
            if (program, shapes) not in self._compiled:
                if len(self._compiled) >= _KEPT:
                    self._compiled.clear()
                model = self._core.read_model(self._folder / f"{program}.xml")
                model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
                settings = {
                    "NUM_STREAMS": str(self.threads),
                    "INFERENCE_NUM_THREADS": str(self.threads),
                    "INFERENCE_PRECISION_HINT": "f32",
                }
                self._compiled[program, shapes] = self._core.compile_model(model, "CPU", settings)
            return self._compiled[program, shapes]
