"""How far a run can be trusted: whether its input looks like what the model knows, and how sure its answer is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..parallel import in_parallel
from ..preprocessing import PreparedStudy, PreprocessingConfig, prepare
from ..progress import Progress
from ..study import Image, Study
from .brain import find_brain
from .mirroring import LEAST_NATS, mirrored_against, shared
from .recognition import FLIPS, LEAST_AGREEMENT, Recognition, discriminant, recognise

SURE_LOOK = 0.9
"""Probability from which what an image looks like is told: another sequence than the one stated is worth a warning."""
STRANGE = 1.5
"""Distance (see :class:`.recognition.Recognition`) from which an image looks like nothing known."""
HEAD = 1.35
"""Distance from which a sequence that does not agree with the atlas may show a head. T1 of heads that were taken for
brains: 1.4 to 2.0; a weak stripped brain of the shared studies: 1.2."""
FEW_TIMES = 4.0
"""A sequence that agrees with the atlas so many times less than the study's best lies otherwise or shows another thing.
Upside down or back to front it is mostly 8 to 20 times, with noise 100 times. As delivered, the one sequence of the
shared studies that agrees less than :data:`.recognition.LEAST_AGREEMENT` does so 2.5 times less than the best."""
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
    others = in_parallel(partial(look, ways=ways), names[1:], progress.part(0.5, 0.9))
    found = _compared(prepared, dict(zip(names, (first, *others), strict=True)))
    for name in [name for name in found if _astray(name, found)]:
        again = look(name, progress.part(0.9, 1.0))
        if again.agreement >= LEAST_AGREEMENT:
            found[name] = replace(found[name], orientation=again.orientation, agreement=again.agreement)
    return found


def _compared(prepared: PreparedStudy, found: Mapping[str, Recognition]) -> dict[str, Recognition]:
    """What sequences look like, and how they lie against the reference."""
    reference = prepared.reference if prepared.reference in found else next(iter(found))
    images = {name: prepared.images[name] for name in found}
    common = shared(images, prepared.mask, reference, float(prepared.grid.spacing[0]), prepared.seen)
    turned = mirrored_against(common, reference)
    return {
        name: replace(
            looks,
            shared=common[name].straight if name in common else None,
            mirrored_against=turned.get(name, ""),
        )
        for name, looks in found.items()
    }


def taken_for_stripped(prepared: PreparedStudy) -> bool:
    """Whether the mask is all of the images that is not empty, which is taken for a stripped brain."""
    return any(s.name == "mask" and s.parameters.get("kind") == "skull-stripped input" for s in prepared.steps)


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


def doubts(
    recognised: Mapping[str, Recognition], confirmed: Collection[str] = (), stripped: bool = False
) -> Iterator[str]:
    """Warnings, each a sentence: sequences that look like others or lie otherwise, turned heads, what is no such brain.

    Args:
        recognised: of the sequences.
        confirmed: those whose assignment somebody has confirmed. Only how they lie against others is doubted.
        stripped: whether the study was taken for skull-stripped, see :func:`taken_for_stripped`.
    """
    judged = {name: looks for name, looks in recognised.items() if name not in confirmed}
    if stripped and _may_be_heads(judged):
        yield (
            "The images were taken for skull-stripped ones, but may show a whole head rather than a stripped brain; "
            "give a brain mask. The results are not to be trusted."
        )
        return
    if judged and max(r.agreement for r in judged.values()) < LEAST_AGREEMENT:
        yield (
            "The study does not look like a brain; check that the images show a whole brain, and whether their headers "
            "tell how it lies. The results are not to be trusted."
        )
        return
    lies = _head_lies(recognised)
    if lies != "upright":
        yield f"The head seems to lie {lies}; check the orientation in the headers of the images."
    for name, found in recognised.items():
        misplaced = _misplaced(name, recognised)
        if misplaced and not (name in confirmed and _astray(name, recognised)):
            yield misplaced
        elif name in confirmed:
            continue
        elif found.distance > STRANGE:
            yield f"{name} looks like no brain MR that this model knows; check what it shows."
        elif contradicts(name, recognised):
            share = found.probabilities[found.sequence]
            yield f"The image given as {name} looks like {found.sequence} ({share:.0%}); check the assignment."


def _may_be_heads(recognised: Mapping[str, Recognition]) -> bool:
    """Whether no sequence looks right, and one neither lies over the atlas nor looks like a sequence that is known."""
    wrong = [r.agreement < LEAST_AGREEMENT and r.distance > HEAD for r in recognised.values()]
    right = [r.agreement >= LEAST_AGREEMENT and r.distance < 1.0 for r in recognised.values()]
    return any(wrong) and not any(right)


def _misplaced(name: str, recognised: Mapping[str, Recognition]) -> str:
    """A sentence about a sequence that does not lie as others of its study do; "" where it does."""
    found = recognised[name]
    if _astray(name, recognised):
        return (
            f"{name} does not lie as the other sequences do, or shows something else; "
            "check its orientation and content."
        )
    if _turned(name, recognised):
        return f"{name} seems to lie {found.orientation}, unlike other sequences; check the orientation in its header."
    if found.mirrored_against:
        return f"{name} seems to be mirrored left to right against {found.mirrored_against}; check the headers of both."
    return ""


def _astray(name: str, recognised: Mapping[str, Recognition]) -> bool:
    """Whether a sequence does not fit the atlas while others of its study do, or while it has nothing in common with
    the study's reference."""
    found, best = recognised[name], max(r.agreement for r in recognised.values())
    if found.agreement >= LEAST_AGREEMENT or best < LEAST_AGREEMENT:
        return False
    return found.agreement < best / FEW_TIMES or (found.shared is not None and found.shared < LEAST_NATS)


def _ways(recognised: Mapping[str, Recognition]) -> set[str]:
    """How the sequences lie that fit the atlas at all; the others tell nothing of it."""
    return {r.orientation for r in recognised.values() if r.agreement >= LEAST_AGREEMENT}


def _head_lies(recognised: Mapping[str, Recognition]) -> str:
    """How the head lies, if its sequences agree; "upright" where they do not, see :func:`_turned`, or tell nothing."""
    ways = _ways(recognised)
    return ways.pop() if len(ways) == 1 else "upright"


def _turned(name: str, recognised: Mapping[str, Recognition]) -> bool:
    """Whether a sequence fits the atlas turned, and another one of its study otherwise."""
    found = recognised[name]
    return found.agreement >= LEAST_AGREEMENT and found.orientation != "upright" and len(_ways(recognised)) > 1


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


def _input(recognised: Mapping[str, Recognition], confirmed: Collection[str]) -> float | None:
    """The least that can be said for a sequence; None where there is nothing to judge."""
    shares = [_stated(name, recognised) for name in recognised if name not in confirmed]
    wrong = [name for name in recognised if _misplaced(name, recognised)]
    if any(name not in confirmed or not _astray(name, recognised) for name in wrong):
        shares.append(0.0)
    # The classes of a head that lies back to front are others: Dice .46 to those of the head upright for edema, .1 for
    # white-matter lesions; upside down .3 and .7 for these (tcga-du-7294 and ms-07, 2 mm).
    if shares and _head_lies(recognised) != "upright":
        shares.append(0.0)
    return min(shares, default=None)


def confidence(
    recognised: Mapping[str, Recognition],
    probabilities: np.ndarray | None,
    mask: np.ndarray,
    classes: Sequence[str] = (),
    confirmed: Collection[str] = (),
) -> dict[str, Any]:
    """Figures from 0 to 1 for the report.

    Args:
        recognised: of the sequences.
        probabilities: float (L, K, J, I) of the classes; None without a segmentation.
        mask: bool (K, J, I).
        classes: their names, background first.
        confirmed: sequences whose assignment somebody has confirmed. Only how they lie against others is doubted.

    Returns:
        ``input``: the least probability that a sequence is what it was given as (or one that looks alike, see
        :data:`ALIKE`), lowered where it looks like nothing known, 0 where one does not lie as others do, or the whole
        head not as the headers say (but for one that somebody has confirmed in all its sequences).
        ``segmentation``: mean over the mask of 1 minus the entropy of the probabilities, 1 where one class is certain
        everywhere. ``classes``: mean probability of the class where it was chosen. ``study``: the product of the
        first two. What could not be judged is left out.
    """
    result: dict[str, Any] = {}
    least = _input(recognised, confirmed)
    if least is not None:
        result["input"] = least
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
