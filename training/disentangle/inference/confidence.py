"""How far a run can be trusted: whether its input looks like what the model knows, and how sure its answer is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..parallel import in_parallel
from ..preprocessing import PreparedStudy, PreprocessingConfig, prepare
from ..progress import Progress
from ..study import Image, Study
from .brain import find_brain
from .recognition import FLIPS, LEAST_AGREEMENT, Recognition, discriminant, recognise

SURE_LOOK = 0.9
"""Probability from which what an image looks like is told: another sequence than the one stated is worth a warning."""
STRANGE = 1.5
"""Distance (see :class:`.recognition.Recognition`) from which an image looks like nothing known."""
ALIKE = frozenset(("T1", "T1Gd"))
"""Where little takes up contrast agent these show the same: the one wrong answer in 32 series, at 91 %, was of this
pair (benchmarks/results/recognition.json). One alone that looks like the other is no contradiction; two that each look
like the other are."""


def recognisable(preprocessing: PreprocessingConfig) -> bool:
    """Whether a model's images can be recognised: whole brains on one grid."""
    return preprocessing.mask == "auto" and not preprocessing.own_slices


def recognise_study(prepared: PreparedStudy, progress: Progress | None = None) -> dict[str, Recognition]:
    """What every sequence of a prepared brain looks like; empty for studies that are no brains on one grid.

    Raises:
        Cancelled: the user asked to stop.
    """
    names = [name for name in prepared.images if name in discriminant().sequences]
    if not names or not recognisable(prepared.config):
        return {}
    spacing = tuple(float(v) for v in prepared.grid.spacing)

    def look(name: str, progress: Progress, ways: Sequence[str] = tuple(FLIPS)) -> Recognition:
        progress("recognize", 0.0, f"looking at {name}")
        return recognise(prepared.images[name], _judged(prepared, name), spacing, ways)

    progress = progress or Progress()
    first = look(names[0], progress.part(0.0, 0.5))
    # All lie as the first does.
    ways = tuple(dict.fromkeys(("upright", first.orientation)))
    others = in_parallel(partial(look, ways=ways), names[1:], progress.part(0.5, 1.0))
    return dict(zip(names, (first, *others), strict=True))


def _judged(prepared: PreparedStudy, name: str) -> np.ndarray:
    """The voxels that tell what a sequence looks like: the part of the brain that it shows, bool (K, J, I)."""
    if name not in prepared.seen:
        return prepared.mask
    part = prepared.seen[name].copy()
    # Brains are laid over the atlas by the ends of their masks. A part must not be stretched over all of it, so a voxel
    # of each end of the brain stays: six in a million change no figure.
    index = np.nonzero(prepared.mask)
    ends = [end for along in index for end in (along.argmin(), along.argmax())]
    part[tuple(along[ends] for along in index)] = True
    return part


def recognise_images(images: Mapping[str, Image], progress: Progress | None = None) -> dict[str, Recognition]:
    """What images look like before anybody has said which sequences they are, each by itself.

    Args:
        images: any names -> images, skull-stripped or whole heads. One in which no brain is found is left out.
        progress: reports and cancels; a whole head takes some seconds.

    Raises:
        Cancelled: the user asked to stop.
    """
    progress, found = progress or Progress(), {}
    config = PreprocessingConfig(spacing=(2.0, 2.0, 2.0))
    for n, (name, image) in enumerate(images.items()):
        part = progress.part(n / len(images), (n + 1) / len(images))
        part("recognize", 0.0, f"looking at {name}")
        try:
            # Which sequence it is called makes no difference to a study of one.
            prepared = prepare(Study({"T1": image}), config, progress=part, find_brain=find_brain)
        except InputError:
            continue
        found[name] = recognise(prepared.images["T1"], prepared.mask, config.spacing)
    progress("recognize", 1.0)
    return found


def doubts(recognised: Mapping[str, Recognition]) -> Iterator[str]:
    """Warnings, each a sentence: sequences that look like others, turned heads, what is no such brain."""
    if recognised and max(r.agreement for r in recognised.values()) < LEAST_AGREEMENT:
        yield (
            "The study does not look like a brain; check that the images show a whole brain, and whether their headers "
            "tell how it lies. The results are not to be trusted."
        )
        return
    turned = {r.orientation for r in recognised.values()}
    if len(turned) == 1 and "upright" not in turned:
        yield f"The head seems to lie {turned.pop()}; check the orientation in the headers of the images."
    for name, found in recognised.items():
        if found.distance > STRANGE:
            yield f"{name} looks like no brain MR that this model knows; check what it shows."
        elif contradicts(name, recognised):
            share = found.probabilities[found.sequence]
            yield f"The image given as {name} looks like {found.sequence} ({share:.0%}); check the assignment."


def contradicts(name: str, recognised: Mapping[str, Recognition]) -> bool:
    """Whether a sequence surely looks like another one than it was given as."""
    found = recognised[name]
    if found.sequence == name or found.probabilities[found.sequence] < SURE_LOOK:
        return False
    return not {name, found.sequence} <= ALIKE or _exchanged(recognised)


def _exchanged(recognised: Mapping[str, Recognition]) -> bool:
    """Whether the sequences that are alike are all there, and each looks like the other."""
    return all(s in recognised and recognised[s].sequence in ALIKE - {s} for s in ALIKE)


def _stated(name: str, recognised: Mapping[str, Recognition]) -> float:
    """Probability that a sequence is what it was given as, or one that looks alike."""
    alike = ALIKE if name in ALIKE and not _exchanged(recognised) else {name}
    return sum(recognised[name].probability_of(sequence) for sequence in alike)


def confidence(
    recognised: Mapping[str, Recognition],
    probabilities: np.ndarray | None,
    mask: np.ndarray,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Figures from 0 to 1 for the report.

    Args:
        recognised: of the sequences.
        probabilities: float (L, K, J, I) of the classes; None without a segmentation.
        mask: bool (K, J, I).
        classes: their names, background first.

    Returns:
        ``input``: the least probability that a sequence is what it was given as (or one that looks alike, see
        :data:`ALIKE`), lowered where it looks like nothing known. ``segmentation``: mean over the mask of 1 minus the
        entropy of the probabilities, 1 where one class is certain everywhere. ``classes``: mean probability of the
        class where it was chosen. ``study``: the product of the first two. What could not be judged is left out.
    """
    result: dict[str, Any] = {}
    if recognised:
        result["input"] = min(_stated(name, recognised) for name in recognised)
    if probabilities is not None and mask.any():
        # A tenth of a million voxels tell the means as well as all of them, in a tenth of the time.
        voxels = np.flatnonzero(mask)[:: max(1, int(mask.sum()) // 100_000)]
        p = probabilities.reshape(len(probabilities), -1)[:, voxels].astype(np.float32)
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(0) / np.log(max(len(p), 2))
        result["segmentation"] = float(1 - entropy.mean())
        chosen, best = p.argmax(0), p.max(0)
        shares = {name: best[chosen == value] for value, name in enumerate(classes) if value}
        result["classes"] = {name: round(float(v.mean()), 3) for name, v in shares.items() if len(v)}
    whole = [result[name] for name in ("input", "segmentation") if name in result]
    if whole:
        result["study"] = float(np.prod(whole))
    return {name: round(v, 3) if isinstance(v, float) else v for name, v in result.items()}
