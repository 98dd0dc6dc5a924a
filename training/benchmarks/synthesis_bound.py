"""How well a missing sequence can be known at all: ``python training/benchmarks/synthesis_bound.py``.

A network for one person, one scanner and one target: it learns the target of a study from the study's other sequences
on slabs of five slices and is scored on the middle of the slabs in between, whose neighbours it has all but seen. What
it cannot tell (noise, flow, contrast agent, what one acquisition shows and another does not) no model of unseen
scanners can. Measures are those of ``quality.py``: inside the brain, range of the target's 0.5-99.5 percentiles; beside
it, on the same slices, the nearest sequence after histogram matching. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from disentangle.datasets.volumes import Subject
from disentangle.learning.config import load_config
from disentangle.learning.data import load_data
from disentangle.metrics.image import image_quality, match_histogram
from disentangle.networks.unet import UNet
from disentangle.study import write_atomically

HERE = Path(__file__).resolve().parent
SLAB = 5
"""Slices of a slab; of those that are scored the outermost stay away, which are too like their neighbours."""


def slabs(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Indices of slices to learn from, and of slices to be scored on."""
    brain = np.flatnonzero(subject.mask.any((1, 2)))
    place = brain - brain[0]
    scored = (place // SLAB % 2 == 1) & (place % SLAB > 0) & (place % SLAB < SLAB - 1)
    return brain[place // SLAB % 2 == 0], brain[scored]


def stacked(volumes: np.ndarray, slices: np.ndarray) -> torch.Tensor:
    """Slices with both neighbours of every sequence, (B, 3 sequences, J, I), padded to multiples of 16."""
    last = volumes.shape[1] - 1
    near = [volumes[:, np.clip(slices + step, 0, last)] for step in (-1, 0, 1)]
    maps = torch.from_numpy(np.concatenate(near).swapaxes(0, 1).astype(np.float32))
    pad = [-size % 16 for size in maps.shape[2:]]
    return torch.nn.functional.pad(maps, (0, pad[1], 0, pad[0]))


def learned(subject: Subject, target: str, steps: int, seed: int) -> np.ndarray:
    """The target on all slices (K, J, I), by a U-Net that knows a half of them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    volumes = np.stack([image.astype(np.float32) for s, image in subject.images.items() if s != target])
    truth = subject.images[target].astype(np.float32)[None]
    known, _ = slabs(subject)
    network = UNet(3 * len(volumes), 1, 0.25)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        some = rng.choice(known, 4)
        images, wanted, mask = (stacked(v, some) for v in (volumes, truth, subject.mask[None]))
        wanted, mask = wanted[:, 1:2], mask[:, 1:2]
        if rng.random() < 0.5:
            images, wanted, mask = images.flip(3), wanted.flip(3), mask.flip(3)
        loss = ((network(images) - wanted).square() * mask).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        parts = [network(stacked(volumes, part)) for part in np.array_split(np.arange(volumes.shape[1]), 20)]
    _, height, width = subject.mask.shape
    return torch.cat(parts)[:, 0, :height, :width].numpy()


def measured(subject: Subject, steps: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Target -> method -> PSNR, SSIM, MAE on the slices in between."""
    _, between = slabs(subject)
    mask = np.zeros_like(subject.mask)
    mask[between] = subject.mask[between]
    result: dict[str, dict[str, dict[str, float]]] = {}
    for target in subject.images:
        truth = subject.images[target].astype(np.float32)
        others = [image.astype(np.float32) for s, image in subject.images.items() if s != target]
        copies = [quality(match_histogram(image, truth, subject.mask), truth, mask) for image in others]
        own = quality(learned(subject, target, steps, seed), truth, mask)
        result[target] = {"own network": own, "histogram-matched copy": max(copies, key=lambda q: q["psnr"])}
        print(
            f"  {target:<6}",
            "  ".join(f"{k} {v['psnr']:.1f} dB {v['ssim']:.2f}" for k, v in result[target].items()),
            flush=True,
        )
    return result


def quality(made: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    figures = image_quality(made, truth, mask).to_dict()
    return {key: round(float(figures[key]), 4) for key in ("psnr", "ssim", "mae")}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="What a network for one scanner and person cannot tell.")
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    parser.add_argument("--studies", nargs="*", default=["ms-07", "ms-19", "tcga-*"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "synthesis_bound.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)
    changes = ["data.phantoms=null", f"data.studies={{include: {json.dumps(options.studies)}}}"]
    data = load_data(load_config(options.config, [*options.overrides, *changes]))
    report: dict[str, Any] = {
        "command": shlex.join(["python", "training/benchmarks/synthesis_bound.py", *arguments]),
        "steps": options.steps,
        "seed": options.seed,
        "studies": {},
    }
    for subject in data.training + data.validation:
        print(subject.name, flush=True)
        report["studies"][subject.name] = measured(subject, options.steps, options.seed)
    with write_atomically(options.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
