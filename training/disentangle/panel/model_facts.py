"""What a model's card says, in sentences: quality, what a missing sequence costs, how much memory a run needs."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bundles import Bundle, targets_of
from ..inference.devices import MAX_BATCH, memory_of_volumes, memory_per_slice
from ..mrml.text import _

_LIBRARIES_MB = 450
"""What a worker with torch and SimpleITK takes before it has seen a study (measured: 430 MB resident)."""
_UNSURE = 0.75
"""Classes whose voxels have a lower mean probability are named."""
_UNLIKELY = 0.5
"""An input that is less probably what it is used as hardly looks like it."""
_COPIES = 3
"""Float volumes per sequence that exist at once while a study is prepared: input, registered, normalised."""


def measured_dice(card: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Subset ("all", "-FLAIR", ...) -> structure -> Dice, of the strictest measurement that the card has."""
    quality = card.get("quality") or {}
    for name in ("leave_one_person_out", "unseen_studies", "unseen_phantoms"):
        found = (quality.get(name) or {}).get("dice") if isinstance(quality.get(name), Mapping) else None
        if found:
            return {k: v for k, v in found.items() if isinstance(v, Mapping)}
    return {}


def cost_of_missing(card: Mapping[str, Any], missing: Iterable[str], shown: int = 3) -> list[str]:
    """A sentence per missing sequence: the card's Dice without it beside that with everything.

    The structures that lose most are named; where the card has no figure, that is said.
    """
    dice = measured_dice(card)
    whole = dice.get("all") or {}
    lines = []
    for name in missing:
        without = dice.get(f"-{name}")
        if not without or not whole:
            lines.append(_("{name} is missing; the model card has no figures without it.").format(name=name))
            continue
        losses = {s: whole[s] - v for s, v in without.items() if s in whole}
        worst = [s for s in sorted(losses, key=losses.get, reverse=True) if losses[s] >= 0.02][:shown]
        if not worst:
            lines.append(_("{name} is missing; that costs less than 0.02 Dice (model card).").format(name=name))
            continue
        parts = [
            _("{structure} {without:.2f} instead of {whole:.2f}").format(
                structure=s, without=without[s], whole=whole[s]
            )
            for s in worst
        ]
        lines.append(_("{name} is missing; Dice: {list}.").format(name=name, list=", ".join(parts)))
    return lines


def quality_of_made(card: Mapping[str, Any], missing: Iterable[str]) -> list[str]:
    """A sentence per missing sequence: how well the card says that it can be made."""
    made = _imputation(card)
    lines = []
    for name in missing:
        figures = made.get(name)
        if not figures or "psnr" not in figures:
            lines.append(_("{name} is missing; the model card has no figures of making it.").format(name=name))
            continue
        lines.append(
            _("{name} is missing; made ones had a PSNR of {psnr:.1f} dB, SSIM {ssim:.2f} (model card).").format(
                name=name, psnr=figures["psnr"], ssim=figures.get("ssim", 0.0)
            )
        )
    return lines


def _imputation(card: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Sequence -> similarity to the real one, of the strictest measurements that the card has."""
    found: dict[str, Mapping[str, float]] = {}
    for name in ("unseen_phantoms", "unseen_studies", "leave_one_person_out"):
        measured = (card.get("quality") or {}).get(name)
        found.update((measured.get("imputation") or {}) if isinstance(measured, Mapping) else {})
    return found


def quality_lines(card: Mapping[str, Any]) -> list[str]:
    """What the card measured: Dice with all sequences, similarity of synthesised images."""
    lines = []
    dice = measured_dice(card).get("all") or {}
    if dice:
        figures = ", ".join(f"{name} {value:.2f}" for name, value in dice.items())
        lines.append(_("Dice: {figures}.").format(figures=figures))
    figures = ", ".join(f"{name} {v['psnr']:.1f} dB" for name, v in _imputation(card).items() if "psnr" in v)
    if figures:
        lines.append(_("Synthesised: {figures}.").format(figures=figures))
    return lines + _missed_lines(card)


def _missed_lines(card: Mapping[str, Any]) -> list[str]:
    """What the model was to reach and did not; nothing where the card tells no targets."""
    targets = targets_of(card)
    if not targets:
        return []
    missed = [t for t in targets if not t["met"]]
    counts = _("Targets met: {met} of {all}.").format(met=len(targets) - len(missed), all=len(targets))
    parts = [
        _("{what} {measured:.2f} (wanted {wanted})").format(
            what=t["what"], measured=t["measured"], wanted=t["wanted"].partition(",")[0]
        )
        for t in missed
    ]
    return [counts, *([_("Missed: {list}.").format(list="; ".join(parts))] if parts else [])]


def fast_line(card: Mapping[str, Any]) -> str:
    """What the fast mode gains and costs; "" where the model has none."""
    if not card.get("fast"):
        return ""
    line = _("Anatomies and labels in 8-bit integers, on the CPU, where OpenVINO is installed.")
    measured = card["fast"].get("measured") or {}
    if not measured:
        return line
    gain = _("Measured: {gain:.1f} times as fast as PyTorch; Dice lost {dice:.3f}, {psnr:.2f} dB.").format(
        gain=measured["times_torch"], dice=measured["dice"]["loss"], psnr=measured["psnr"]["loss"]
    )
    return f"{line} {gain}"


def estimate_mb(
    bundle: Bundle,
    sizes_mm: Sequence[float],
    voxels: Sequence[int],
    factors: bool = False,
    cross: bool = False,
    targets: int = 0,
) -> int:
    """Memory (MiB) that the worker needs at most for a run, estimated.

    Args:
        sizes_mm: extent of the first input along its axes.
        voxels: number of voxels of each input.
    """
    spacing = bundle.preprocessing.get("spacing") or (1.0, 1.0, 1.0)
    grid = sorted((max(round(size / step), 1) for size, step in zip(sizes_mm, spacing, strict=True)))
    channels = int(bundle.card["system"]["config"].get("anatomy_channels", 8))
    sequences, classes = len(voxels), len(bundle.card["classes"])
    images = targets + (sequences**2 if cross else sequences if factors else 0)
    kept = channels if factors or cross else 0
    results = memory_of_volumes(tuple(grid), sequences, kept, classes, images)
    width = float(bundle.card["system"]["config"].get("width", 1.0))
    network = MAX_BATCH * memory_per_slice(grid[1], grid[2], sequences, channels, classes) * min(width, 1.0)
    inputs = _COPIES * 4 * sum(voxels)
    weights = 4 * bundle.card["weights"]["bytes"]
    return round(_LIBRARIES_MB + (results + network + inputs + weights) / (1 << 20))


def free_memory_mb() -> int | None:
    """Memory that programs can still get (MiB); None where this system does not tell."""
    try:
        if sys.platform.startswith("linux"):
            with Path("/proc/meminfo").open(encoding="ascii") as stream:
                for line in stream:
                    if line.startswith("MemAvailable:"):
                        return int(line.split()[1]) // 1024
        elif sys.platform == "win32":
            return _free_on_windows()
        elif hasattr(os, "sysconf"):  # macOS tells only how much there is; a third is in use as a rule
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 2 // 3 // (1 << 20)
    except (OSError, ValueError, AttributeError):
        return None
    return None


def _free_on_windows() -> int:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "all", "all_free", "more")),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.free >> 20


def confidence_line(report: Mapping[str, Any]) -> str:
    """What a run says of its own confidence, and of the classes that it is least sure of; "" where it says nothing."""
    figures = report.get("confidence") or {}
    if "study" not in figures:
        return ""
    if "segmentation" not in figures:
        return _inputs_line(figures)
    known = ((_("input"), "input"), (_("segmentation"), "segmentation"))
    parts = [f"{title} {figures[key]:.0%}" for title, key in known if key in figures]
    classes = figures.get("classes") or {}
    unsure = [name for name in sorted(classes, key=classes.get) if classes[name] < _UNSURE][:3]
    line = _("Confidence {study:.0%} ({parts}).").format(study=figures["study"], parts=", ".join(parts))
    if unsure:
        line += " " + _("Least sure: {list}.").format(list=", ".join(f"{name} {classes[name]:.0%}" for name in unsure))
    return line


def _inputs_line(figures: Mapping[str, Any]) -> str:
    """Without a segmentation the figures are about the inputs alone: how good a synthetic image is they do not tell."""
    if "input" not in figures:
        return ""
    if figures["input"] < _UNLIKELY:
        line = _("The inputs hardly look like what they are used as ({percent} %); check the assignment.")
    else:
        line = _("The inputs look like what they are used as ({percent} %).")
    return line.format(percent=round(100 * figures["input"]))


def memory_sentence(needed: int, free: int | None) -> str:
    """What the panel says before a run."""
    if free is None:
        return _("Needs about {needed:.1f} GB of memory.").format(needed=needed / 1024)
    figures = {"needed": needed / 1024, "free": free / 1024}
    if needed > free:
        return _(
            "Needs about {needed:.1f} GB of memory, and only {free:.1f} GB are free: close other programs, or leave "
            "out cross-reconstructions and factors."
        ).format(**figures)
    return _("Needs about {needed:.1f} GB of memory; {free:.1f} GB are free.").format(**figures)
