"""The brain mask. Train it: ``python training/benchmarks/brain_mask.py --cache FOLDER --minutes M --output FOLDER``;
score it: ``python training/benchmarks/brain_mask.py --score tcga-fg-6692-native``.

Brains with a known mask (phantoms, and studies that came skull-stripped) get random heads of fluid, bone, scalp and
neck around them. Whole heads without a known mask teach only far from its border, which the classical surface tells to
within a centimetre.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from disentangle.datasets.volumes import Subject
from disentangle.inference.brain import MM, find_brain, on_network_grid
from disentangle.metrics.overlap import dice
from disentangle.networks.brain_unet import BrainUNet
from disentangle.preprocessing.pose import align_atlas
from disentangle.study import Study

SHAPE = (48, 56, 48)
UNKNOWN_MM = 8.0


def brains(caches: Sequence[Path], names: list[str]) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """(images, soft mask) at 4 mm of cached subjects: all phantoms, and the studies named."""
    found = []
    for path in sorted(path for cache in caches for path in cache.glob("*.npz")):
        subject = Subject.load(path)
        digital = subject.source == "phantom" and "kind" not in subject.about  # hearts and abdomens say what they are
        if not digital and subject.name not in names:
            continue
        factor = [s / MM for s in reversed(subject.spacing)]
        mask = ndimage.zoom(ndimage.gaussian_filter(subject.mask.astype(np.float32), 1.0), factor, order=1)
        images = []
        for image in subject.images.values():
            array = image.astype(np.float32)
            array = np.where(subject.mask, array - np.quantile(array[subject.mask], 0.005), 0).clip(0)
            array /= np.quantile(array[subject.mask], 0.995) + 1e-6
            images.append(ndimage.zoom(ndimage.gaussian_filter(array, 1.0), factor, order=1))
        found.append((images, mask))
    return found


def heads(folder: Path, names: list[str]) -> list[tuple[list[np.ndarray], np.ndarray, np.ndarray]]:
    """(image, mask, unknown) at 4 mm of whole heads; unknown is 1 near the border of the classical mask."""
    found = []
    for name in names:
        study = Study.from_folder(folder / name)
        image = study["FLAIR"]
        mask = image.with_array(align_atlas(image).brain_mask(image).astype(np.float32))
        images, masks = [], []
        for other in study.images.values():
            array, grid = on_network_grid(other)
            images.append(array)
            masks.append(sitk.GetArrayFromImage(sitk.Resample(mask.to_sitk(), _like(grid), sitk.Transform())) > 0.5)
        for array, inside in zip(images, masks, strict=True):
            volume = sitk.GetImageFromArray(inside.astype(np.uint8))
            away = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(volume, squaredDistance=False)) * MM
            found.append(([array], inside.astype(np.float32), (np.abs(away) <= UNKNOWN_MM).astype(np.float32)))
    return found


def _like(grid) -> sitk.Image:
    image = sitk.Image([int(n) for n in grid.size], sitk.sitkFloat32)
    image.SetSpacing([float(s) for s in grid.spacing])
    image.SetOrigin([float(o) for o in grid.origin])
    image.SetDirection(grid.direction.ravel().tolist())
    return image


def with_head(brain: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random head around a brain, in a box of ``SHAPE``: image and soft mask."""
    pad = [(max(n - m, 0) // 2 + 2, max(n - m, 0) // 2 + 3) for n, m in zip(SHAPE, mask.shape, strict=True)]
    brain, mask = np.pad(brain, pad), np.pad(mask, pad)
    volume = sitk.GetImageFromArray((mask > 0.5).astype(np.uint8))
    away = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(volume, squaredDistance=False)) * MM

    def waves(size: float, amount: float) -> np.ndarray:
        noise = ndimage.gaussian_filter(random.normal(size=mask.shape).astype(np.float32), size)
        return amount * noise / (noise.std() + 1e-6)

    def shell(low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
        return np.clip((away - low) / MM + 0.5, 0, 1) * np.clip((high - away) / MM + 0.5, 0, 1)

    fluid = random.uniform(0, 3)
    bone = fluid + random.uniform(3, 9) * np.exp(waves(4, 0.25))
    skin = bone + random.uniform(3, 10) * np.exp(waves(4, 0.3))
    head = shell(0, fluid) * random.uniform(0, 1.2) + shell(fluid, bone) * random.uniform(0, 0.25)
    head += shell(bone, skin) * random.uniform(0.3, 1.8) * np.exp(waves(2, 0.25))
    # Below the brain: muscles, jaw and neck, of any brightness, wherever they are.
    k, j, i = np.indices(mask.shape)
    bottom = np.argwhere(mask > 0.5)[:, 0].min() + random.uniform(-2, 8)
    middle = np.array(mask.shape[1:]) / 2 + random.uniform(-6, 6, 2)
    inside = ((j - middle[0]) / random.uniform(12, 24)) ** 2 + ((i - middle[1]) / random.uniform(10, 20)) ** 2 < 1
    neck = (k < bottom) & inside & (away > bone)
    head = np.where(neck, np.abs(random.uniform(0.1, 0.9) + waves(1.5, random.uniform(0.1, 0.5))), head)
    whole = brain * mask + head * (1 - mask)
    return whole.astype(np.float32), mask.astype(np.float32)


def augmented(volumes: np.ndarray, random: np.random.Generator) -> torch.Tensor:
    """(1, C, *SHAPE): turned, scaled, shifted; the first channel is the image, whose contrast changes."""
    angles = np.deg2rad(random.uniform(-20, 20, 3))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    rotation = rotation @ np.diag(random.uniform(0.85, 1.15, 3) * [random.choice([-1, 1]), 1, 1])
    size, out = np.array(volumes.shape[1:])[::-1], np.array(SHAPE)[::-1]
    theta = np.zeros((1, 3, 4), np.float32)
    theta[0, :, :3] = (rotation * out[None]) / size[:, None]
    theta[0, :, 3] = random.uniform(-0.12, 0.12, 3)
    grid = F.affine_grid(torch.from_numpy(theta), (1, len(volumes), *SHAPE), align_corners=False)
    result = F.grid_sample(torch.from_numpy(volumes)[None], grid, align_corners=False)
    image = result[0, 0].numpy()
    if random.random() < 0.5:  # thick slices
        sigma = np.zeros(3)
        sigma[random.integers(3)] = random.uniform(0.2, 0.8)
        image = ndimage.gaussian_filter(image, sigma)
    field = ndimage.zoom(random.normal(0, random.uniform(0, 0.3), (3, 3, 3)), np.array(SHAPE) / 3, order=2)
    image = np.clip(image * np.exp(field), 0, None)
    image = np.clip(image / (np.quantile(image, 0.995) + 1e-6), 0, 1) ** np.exp(random.uniform(-0.5, 0.5))
    image = np.clip(image + random.normal(0, random.uniform(0, 0.06), SHAPE), 0, 1)
    if random.random() < 0.3:  # field of view
        cut = random.integers(0, 8)
        image[:cut] = 0
    result[0, 0] = torch.from_numpy(image.astype(np.float32))
    return result


class Heads(IterableDataset):
    """Samples (3, *SHAPE) without end: image, soft mask, and where nothing is known."""

    def __init__(self, known: list, whole: list, seed: int) -> None:
        self.known, self.whole, self.seed = known, whole, seed

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        torch.set_num_threads(1)
        random = np.random.default_rng([self.seed, 0 if worker is None else worker.id])
        while True:
            if self.whole and random.random() < 0.4:
                images, mask, unknown = self.whole[random.integers(len(self.whole))]
                volumes = np.stack([images[random.integers(len(images))], mask, unknown])
            else:
                images, mask = self.known[random.integers(len(self.known))]
                image, mask = with_head(images[random.integers(len(images))], mask, random)
                volumes = np.stack([image, mask, np.zeros_like(mask)])
            yield augmented(volumes.astype(np.float32), random)[0]


def whole_heads(options: argparse.Namespace) -> list:
    """:func:`heads`, kept in a file if one is named: another machine need not have the studies."""
    path = options.whole
    if path is None or not path.is_file():
        found = heads(options.data, options.heads)
        if path is not None:
            np.savez_compressed(path, *(np.stack([image, mask, unknown]) for (image,), mask, unknown in found))
        return found
    with np.load(path) as stored:
        return [([stored[name][0]], *stored[name][1:]) for name in stored.files]


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    known = brains(options.cache, options.stripped)
    whole = whole_heads(options)
    print(f"{len(known)} brains, {len(whole)} series of whole heads", flush=True)
    samples = iter(DataLoader(Heads(known, whole, options.seed), options.batch, num_workers=options.workers))
    net = BrainUNet(options.channels).to(options.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    began, step, losses = time.monotonic(), 0, []
    average = {k: v.clone() for k, v in net.state_dict().items()}
    while (gone := (time.monotonic() - began) / 60 / options.minutes) < 1 and step < options.steps:
        done = max(gone, step / options.steps)
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (0.02 + 0.49 * (1 + np.cos(np.pi * done))) * min(1, (step + 1) / 10)
        batch = next(samples).to(options.device)
        truth, counts = batch[:, 1:2].clamp(0, 1), (batch[:, 2:3] < 0.01).float()
        logits = net(batch[:, :1])
        p = torch.sigmoid(logits)
        overlap = 1 - 2 * (p * truth * counts).sum() / (((p + truth) * counts).sum() + 1)
        entropy = (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * counts).sum() / counts.sum()
        loss = overlap + entropy
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            for name, value in net.state_dict().items():
                average[name].lerp_(value, 1 - min(0.99, (1 + step) / (10 + step)))
        losses.append(loss.detach())
        step += 1
        if step % 100 == 0:
            recent = float(torch.stack(losses[-100:]).mean())
            print(f"step {step}, {gone * options.minutes:.1f} min: loss {recent:.3f}", flush=True)
            save(average, options, step, recent)
    save(average, options, step, float(torch.stack(losses[-100:]).mean()))


def save(weights: dict, options: argparse.Namespace, steps: int, loss: float) -> None:
    from safetensors.torch import save_file

    options.output.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().cpu().contiguous() for k, v in weights.items()}, options.output / "model.safetensors")
    card = {
        "command": "python training/benchmarks/brain_mask.py " + " ".join(sys.argv[1:]),
        "seed": options.seed,
        "steps": steps,
        "loss": round(loss, 4),
        "stripped": options.stripped,
        "heads": options.heads,
    }
    (options.output / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def score(folder: Path) -> dict[str, dict[str, float]]:
    """Dice of the shipped network, and of the classical surface, per series of a study that brings masks."""
    study = Study.from_folder(folder)
    found: dict[str, dict[str, float]] = {"network": {}, "classical surface": {}}
    for name, image in study.images.items():
        given = study.masks[name].array > 0
        brain = find_brain(image, compiled=False)
        for how, pose in (("network", align_atlas(image, brain)), ("classical surface", align_atlas(image))):
            found[how][name] = round(dice(pose.brain_mask(image), given), 4)
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Train the brain mask, or score the one that is shipped.")
    parser.add_argument("--cache", type=Path, nargs="+", default=[], help="prepared subjects: data.cache, or a pack")
    parser.add_argument("--whole", type=Path, help="file of the whole heads: made where it is not there")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--stripped", nargs="*", default=["ms-07", "ms-19", "tcga-du-7294"])
    parser.add_argument("--heads", nargs="*", default=["ms-long-01a", "ms-long-03b", "ms-long-04a"])
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that make samples")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, nargs=4, default=(8, 16, 32, 48))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder of the weights")
    parser.add_argument("--score", help="score the shipped network on this study of --data, and train nothing")
    options = parser.parse_args(arguments)
    if options.score:
        for how, found in score(options.data / options.score).items():
            each = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"{how}: {each}; mean {np.mean(list(found.values())):.4f}")
    elif options.output and options.cache:
        train(options)
    else:
        parser.error("training needs --cache and --output; --score STUDY scores")


if __name__ == "__main__":
    main(sys.argv[1:])
