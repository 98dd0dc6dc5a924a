"""What ``gpu.py`` measures of a device and of the networks on it, without the rest of the product."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from flops import flops_of
from torch import Tensor, nn

from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.backends.graphs import CudaRecorder, Replays
from disentangle.networks.blocks import InstanceNorm
from disentangle.networks.condconv import CondConv2d
from disentangle.systems.base import Batch, System

PRECISIONS = {"fp32": "fp32", "tf32": "tf32", "tf32, cuDNN benchmark": "tf32", "bf16": "bf16"}
"""Name -> the matmul peak that it is compared with."""


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Convolutions and matrix products in a precision of :data:`PRECISIONS`; autocast is up to the job."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32 = matmul.allow_tf32 = PRECISIONS[name] == "tf32"
    cudnn.benchmark = "benchmark" in name
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before


def milliseconds(job: Callable[[], Any], device: torch.device, seconds: float = 0.15, inner: int = 1) -> float:
    """Median milliseconds of a job on a device (CUDA events), over as many runs as fit into about ``seconds``.

    Args:
        inner: calls between two events, so that a GPU does not wait for the launch of a short job.
    """
    job()
    found, end = [], time.perf_counter() + seconds
    while len(found) < 3 or (time.perf_counter() < end and len(found) < 100):
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(inner):
                job()
            stop.record()
            stop.synchronize()
            found.append(start.elapsed_time(stop) / inner)
        else:
            began = time.perf_counter()
            for _ in range(inner):
                job()
            found.append(1e3 * (time.perf_counter() - began) / inner)
    return statistics.median(found)


def limits(device: torch.device, quick: bool) -> dict[str, float]:
    """GB/s of a copy within the device (read and written), TFLOP/s of matrix products."""
    count, size = (1 << 20, 256) if quick else (1 << 28, 8192)
    source, target = torch.ones(count, device=device), torch.empty(count, device=device)
    found = {"copy_gb_per_s": 8 * count / milliseconds(partial(target.copy_, source), device) / 1e6}
    for name in ("fp32", "tf32", "bf16"):
        kind = torch.bfloat16 if name == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        with precision(name):
            found[f"matmul_{name}_tflops"] = 2 * size**3 / milliseconds(partial(torch.mm, a, b), device) / 1e9
    return found


def inputs(system: System, count: int, size: tuple[int, int], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Smooth random images (B, S, H, W) by sequence inside an ellipse, and that ellipse as mask."""
    generator = torch.Generator().manual_seed(1)
    rows, columns = (torch.linspace(-1.1, 1.1, n) for n in size)
    mask = ((rows[:, None] ** 2 + columns[None] ** 2) < 1).float().expand(count, 1, *size)
    images = {}
    for name in system.capabilities.sequences:
        coarse = torch.randn(count, system.capabilities.slices, 12, 12, generator=generator)
        image = nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False) * mask
        images[name] = image.to(device).contiguous(memory_format=torch.channels_last)
    return images, mask.contiguous().to(device)


def networks(
    system: System, device: torch.device, peaks: dict[str, float], batches: tuple[int, ...], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Encoding every sequence of slices, fusing, segmenting: a row for each batch, precision, and with or without a
    graph. Differences are those of the class probabilities from fp32 without a graph."""

    def plain(images: dict[str, Tensor], mask: Tensor) -> Tensor:
        return system.segment(system.fuse(system.anatomies(images, mask))).float().softmax(1)

    def cast(images: dict[str, Tensor], mask: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            return plain(images, mask)

    def timed(arguments: tuple, kind: str, graph: bool) -> tuple[float, Tensor]:
        function = cast if kind == "bf16" else plain
        function(*arguments)
        replay = CudaRecorder(device)(function, arguments) if graph else None
        job = (lambda: replay(arguments)) if graph else (lambda: function(*arguments))
        answer = job()
        return milliseconds(job, device), answer

    rows = []
    for count in batches:
        arguments, reference = inputs(system, count, size, device), None
        with torch.no_grad():
            flops = flops_of(partial(plain, *arguments))
        for name, kind in PRECISIONS.items():
            for graph in (False, True) if device.type == "cuda" else (False,):
                row: dict[str, Any] = {"slices": count, "precision": name, "graph": graph}
                rows.append(row)
                try:
                    with torch.no_grad(), precision(name):
                        ms, answer = timed(arguments, kind, graph)
                    reference = answer if reference is None else reference
                    tflops = flops / ms / 1e9
                    row.update(
                        ms_per_slice=ms / count,
                        slices_per_s=1e3 * count / ms,
                        tflops=tflops,
                        largest_difference=float((answer - reference).abs().max()),
                        labels_equal=float((answer.argmax(1) == reference.argmax(1)).float().mean()),
                    )
                    if peak := peaks.get(f"matmul_{kind}_tflops"):
                        row["share_of_matmul"] = tflops / peak
                except Exception as error:  # the other rows are worth having
                    row["error"] = f"{type(error).__name__}: {error}"[:500]
    return rows


def layers(
    system: System, device: torch.device, peaks: dict[str, float], count: int, size: tuple[int, int]
) -> dict[str, dict[str, float]]:
    """Each kind of layer of one encoder and the segmentation head, alone, in TF32: its milliseconds, and the least that
    they could be at the measured peak and copy bandwidth (whichever takes longer, layer by layer)."""
    images, mask = inputs(system, count, size, device)
    kinds = (nn.Conv2d, nn.ConvTranspose2d, CondConv2d, InstanceNorm, nn.BatchNorm2d)
    calls: list[tuple[nn.Module, tuple, Tensor]] = []
    modules = [m for m in system.modules() if isinstance(m, kinds)]
    hooks = [m.register_forward_hook(lambda m, given, out: calls.append((m, given, out))) for m in modules]
    one = {name: images[name] for name in list(images)[:1]}
    with torch.no_grad(), precision("tf32"):
        try:
            system.segment(system.fuse(system.anatomies(one, mask)))
        finally:
            for hook in hooks:
                hook.remove()
        found: dict[str, dict[str, float]] = {}
        for module, given, out in calls:
            job = partial(module, *given)
            ms = milliseconds(job, device, 0.02, inner=10)
            flops = flops_of(job)
            moved = given[0].nbytes + out.nbytes
            row = found.setdefault(type(module).__name__, {"layers": 0, "ms": 0.0, "gflop": 0.0, "gb": 0.0, "least": 0})
            row["layers"] += 1
            row["ms"] += ms
            row["gflop"] += flops / 1e9
            row["gb"] += moved / 1e9
            row["least"] += max(flops / peaks["matmul_tf32_tflops"] / 1e9, moved / peaks["copy_gb_per_s"] / 1e6)
    for row in found.values():
        row["least_ms"] = row.pop("least")
        row["share_of_limit"] = row["least_ms"] / row["ms"]
        row["share_of_copy"] = row["gb"] / row["ms"] * 1e3 / peaks["copy_gb_per_s"]
        row["share_of_matmul"] = row["gflop"] / row["ms"] / peaks["matmul_tf32_tflops"]
    return found


def interactive(system: System, device: torch.device, size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Milliseconds from arrays to arrays for one slice: factors and labels of every sequence; one slice redrawn."""
    network = EagerNetwork(system)
    recording = network.replays
    tensors, inside = inputs(system, 1, size, torch.device("cpu"))
    images, mask = {name: t.contiguous().numpy() for name, t in tensors.items()}, inside.numpy()
    style = np.linspace(-1, 1, system.capabilities.style_dim, dtype=np.float32)

    def click() -> np.ndarray:
        factors = network.encode(images, mask)
        return network.array(network.probabilities(factors))

    anatomy = network.synthesis_anatomy(network.encode(images, mask))
    found = {}
    for name, replays in {"eager": Replays(None), "graph": recording}.items():
        network.replays = replays
        jobs = {"factors and labels": click, "redraw": lambda: network.array(network.decode(anatomy, [style])[0])}
        found[name] = {}
        for what, job in jobs.items():
            seconds = []
            for _ in range(3 + 20):
                began = time.perf_counter()
                job()
                seconds.append(time.perf_counter() - began)
            found[name][f"{what}, first"] = 1e3 * seconds[0]
            found[name][f"{what}, later"] = 1e3 * statistics.median(seconds[3:])
        found[name]["graphs"] = len(replays)
    return found


def training(
    system: System, device: torch.device, peaks: dict[str, float], batches: tuple[int, ...], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Steps of training (forward, backward, clipping, Adam) on random data, a row for each batch and precision."""
    rows = []
    for count in batches:
        for kind in ("fp32", "tf32", "bf16"):
            row: dict[str, Any] = {"slices": count, "precision": kind}
            rows.append(row)
            try:
                row.update(_training_row(type(system)(**system.config), device, kind, count, size))
                if peak := peaks.get(f"matmul_{kind}_tflops"):
                    row["share_of_matmul"] = row["tflops"] / peak
            except Exception as error:  # the other rows are worth having
                row["error"] = f"{type(error).__name__}: {error}"[:500]
    return rows


def _training_row(
    learner: System, device: torch.device, kind: str, count: int, size: tuple[int, int]
) -> dict[str, float]:
    learner = learner.to(device).train().to(memory_format=torch.channels_last)
    images, mask = inputs(learner, count, size, device)
    labels = torch.randint(0, len(learner.capabilities.classes), (count, *size), device=device)
    there = {name: torch.ones(count, dtype=torch.bool, device=device) for name in images}
    batch = Batch(images, there, mask, labels, torch.arange(count, device=device))
    steps = learner.training_steps()
    optimizers = [torch.optim.Adam(step.parameters, foreach=True, **step.optimizer) for step in steps]

    def step() -> None:
        for part, optimizer in zip(steps, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
                loss = sum(part.loss(batch).values())
            loss.backward()
            if part.clip_norm is not None:
                nn.utils.clip_grad_norm_(part.parameters, part.clip_norm)
            optimizer.step()

    with precision(kind):
        step()
        flops = flops_of(step)
        ms = milliseconds(step, device, 0.6)
    return {
        "ms_per_step": ms,
        "steps_per_s": 1e3 / ms,
        "slices_per_s": 1e3 * count / ms,
        "gflop_per_step": flops / 1e9,
        "tflops": flops / ms / 1e9,
    }
