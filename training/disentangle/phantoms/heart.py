"""Digital hearts in short axis: cine, LGE and BOLD of one person, each with labels of its own.

The sequences are acquired in different breath-holds and phases of the heart beat, so that they do not lie over each
other. The defaults are set such that copying the cine masks to LGE scores about 0.67 joint Dice (method-spec 2f,
Table III), and to BOLD about 0.80.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import canonical
from ..study import Grid, Image, Study
from .body_signal import CARDIAC, draw_body_protocol, draw_tissues
from .heart_anatomy import Heart
from .options import check_options
from .phantom import Phantom
from .randomness import Range, draw, stream
from .stack import available, averaged, class_labels, scan_stack, stack_points
from .trunk import Trunk

HEART_CLASSES = ("background", "myocardium", "left ventricle")
"""Label values of hearts, those of the published protocol (method-spec 2c). Infarcts belong to the myocardium and
papillary muscles to the ventricle, as in clinical contours; both are exact in ``Phantom.tissues``, and so is the right
ventricle, which is background unless ``HeartPhantomConfig.right_ventricle`` asks for it."""
HEART_CLASSES_RV = (*HEART_CLASSES, "right ventricle")
"""Label values of hearts with ``right_ventricle=True``."""

_MEMBERS = {
    1: ("myocardium", "infarct", "obstruction"),
    2: ("left ventricle", "papillary"),
    3: ("right ventricle",),
}
# Right to left-posterior, down to inferior-posterior, apex to base: the usual view of a short-axis stack, in LPS.
_NORMAL = np.array([-0.50, 0.45, 0.74]) / np.linalg.norm([-0.50, 0.45, 0.74])
_RIGHT = np.array([0.75, 0.65, 0.0]) - np.dot([0.75, 0.65, 0.0], _NORMAL) * _NORMAL
_RIGHT = _RIGHT / np.linalg.norm(_RIGHT)
AXES = np.stack([_RIGHT, np.cross(_NORMAL, _RIGHT), _NORMAL], axis=1)
"""(3, 3) columns: directions of i, j and k of short-axis stacks in LPS."""
_HOME = np.array([34.0, -34.0, 26.0])
"""The middle of the left ventricle's base in the trunk's coordinates."""

_MOTION = {"cine": (0.0, 0.25), "LGE": (1.0, 1.0), "BOLD": (0.65, 0.75)}
"""How far a sequence's breath-holds lie from those of the cine: on the whole, and slice by slice."""
_SAMPLES = 3


@dataclass(frozen=True)
class HeartPhantomConfig:
    """What digital hearts may look like. A :data:`Range` is a number, or (low, high) to draw from.

    Attributes:
        size: pixels (i, j) of a slice.
        spacing: (i, j, k) in mm; k is the distance of slices, which touch.
        slices: from the apex to the base.
        sequences: which to simulate, among cine, LGE, BOLD; the first available one is the reference.
        missing: sequences to leave out, or the probability of each one being missing (one always stays).
        breathing_mm: how much lower the diaphragm is in another sequence's breath-hold, cine against LGE.
        breathing_slice_mm: standard deviation of that from slice to slice.
        shift_mm: standard deviation of the remaining in-plane shift of a slice, along each axis.
        contraction: phase of LGE against the cine at end diastole (0); 1 is end systole.
        right_ventricle: label the right ventricle too (:data:`HEART_CLASSES_RV`).
        infarct: probability of an infarct.
        dark_blood: probability that the inversion time of LGE nulls the blood in place of healthy myocardium: as a
            magnitude image what Holtackers et al., JCMR 19 (2017), call dark-blood LGE. Blood is then black inside a
            grey wall, where cine and the usual LGE have brighter blood inside a dark wall, so that a network that was
            taught cine alone fails on LGE, as the published one does (method-spec 2f, Table I).
        bias: standard deviation of the logarithm of the bias field.
        noise: standard deviation of the noise relative to blood.
        blur_mm: standard deviation of the in-plane point spread.
        contrast_jitter: standard deviation of unphysical changes (logarithm) of each tissue's signal.
        texture: relative local variation of the signal.
    """

    size: int | tuple[int, int] = (192, 192)
    spacing: tuple[float, float, float] = (1.5625, 1.5625, 9.0)
    slices: int = 9
    sequences: tuple[str, ...] = ("cine", "LGE")
    missing: float | tuple[str, ...] = ()
    breathing_mm: Range = (4.0, 11.0)
    breathing_slice_mm: float = 2.5
    shift_mm: float = 2.0
    contraction: Range = (0.0, 0.3)
    right_ventricle: bool = False
    infarct: float = 0.7
    dark_blood: float = 0.0
    bias: Range = (0.05, 0.2)
    noise: Range = (0.02, 0.07)
    blur_mm: Range = (0.5, 0.9)
    contrast_jitter: Range = (0.0, 0.08)
    texture: Range = (0.01, 0.04)

    def __post_init__(self) -> None:
        for name, value in checked_stack(self, CARDIAC, "Heart").items():
            object.__setattr__(self, name, value)


def checked_stack(config: Any, allowed: tuple[str, ...], what: str) -> dict[str, Any]:
    """The checked size, spacing, sequences and missing of a configuration of stacks.

    Raises:
        InputError: one of them is impossible, or any option is of a wrong type.
    """
    check_options(config)
    size, spacing = np.ravel(config.size).tolist(), np.ravel(config.spacing).tolist()
    size = size * 2 if len(size) == 1 else size
    if len(size) != 2 or not all(16 <= n <= 1024 for n in size) or not 3 <= config.slices <= 200:
        raise InputError(f"A stack cannot have {config.slices} slices of {config.size}; give 3 to 200 of 16 to 1024.")
    if len(spacing) != 3 or not all(0.3 <= s <= 30 for s in spacing):
        raise InputError(f"A stack cannot have voxels of {config.spacing} mm; give three lengths of 0.3 to 30.")
    names = tuple(canonical(name) for name in config.sequences)
    unknown = [name for name in names if name not in allowed]
    if unknown or not names or len(set(names)) < len(names):
        wrong = ", ".join(unknown or names) or "no sequence"
        choice = ", ".join(allowed)
        raise InputError(f"{what} phantoms cannot be made of {wrong}; choose among {choice}, each once.")
    missing = config.missing
    if not isinstance(missing, (int, float)):
        missing = tuple(canonical(name) for name in missing)
        if set(names) <= set(missing):
            raise InputError("All sequences of the phantom are declared missing; leave at least one.")
    return {
        "size": tuple(int(n) for n in size),
        "spacing": tuple(float(s) for s in spacing),
        "sequences": names,
        "missing": missing,
    }


def heart_phantom(seed: int, config: HeartPhantomConfig | None = None, **changes: Any) -> Phantom:
    """A digital heart. The same seed and configuration give the same voxels.

    Anatomy, motion and each sequence's scanner have random streams of their own: one person can be had with other
    sequences, noise or voxel size.

    Args:
        changes: fields of :class:`HeartPhantomConfig` to replace.

    Raises:
        InputError: an impossible configuration.
    """
    if seed < 0:
        raise InputError(f"A phantom cannot have the seed {seed}; give 0 or a positive whole number.")
    config = replace(config or HeartPhantomConfig(), **changes)
    trunk, heart = Trunk.draw(stream(seed, 0)), Heart.draw(stream(seed, 1), config.infarct)
    properties = draw_tissues(stream(seed, 2))
    grid = _grid(stream(seed, 3), config, heart)
    points = stack_points(grid, _SAMPLES)
    classes = HEART_CLASSES_RV if config.right_ventricle else HEART_CLASSES
    members = {value: _MEMBERS[value] for value in range(1, len(classes))}

    images, truths, labels, records = {}, {}, {}, {}
    for sequence in available(stream(seed, 4), config.sequences, config.missing):
        number = CARDIAC.index(sequence)
        motion = _motion(stream(seed, 20 + number), sequence, config)
        truths[sequence] = _tissues(trunk, heart, points, motion)
        labels[sequence] = class_labels(truths[sequence], members)
        rng = stream(seed, 10 + number)
        protocol = draw_body_protocol(rng, sequence, properties, config.dark_blood)
        drawn = {
            "noise": draw(rng, config.noise),
            "bias": draw(rng, config.bias),
            "blur_mm": draw(rng, config.blur_mm),
            "jitter": draw(rng, config.contrast_jitter),
            "texture": draw(rng, config.texture),
            "gain": float(np.exp(rng.uniform(np.log(80), np.log(1500)))),
        }
        bright = "myocardium" if protocol.get("nulled") == "blood" else "blood"
        array = scan_stack(rng, truths[sequence], grid, sequence, protocol, properties, drawn, bright)
        images[sequence] = Image(array, grid.affine, sequence, f"heart phantom {sequence}")
        records[sequence] = protocol | drawn | {"motion": motion}
    first = next(iter(images))
    study = Study(
        images,
        name=f"heart-{seed}",
        labels=Image(labels[first], grid.affine),
        label_names={i: name for i, name in enumerate(classes) if i},
        sequence_labels={s: Image(array, grid.affine, s) for s, array in labels.items()},
    )
    parameters = {
        "config": asdict(config),
        "trunk": trunk.shape,
        "heart": heart.shape,
        "infarct": heart.infarct,
        "protocols": records,
        "labels": "labels-<SEQUENCE>.nii.gz hold for one sequence each; labels.nii.gz are those of the first",
    }
    identity = {s: sitk.Transform(3, sitk.sitkIdentity) for s in images}
    return Phantom("heart", seed, study, truths[first], labels[first], grid, identity, parameters, labels)


def _grid(rng: np.random.Generator, config: HeartPhantomConfig, heart: Heart) -> Grid:
    """A stack from the apex to the base, planned a little off."""
    spacing = np.array(config.spacing)
    shape = (config.slices, config.size[1], config.size[0])
    middle = AXES @ np.array([*rng.normal(0, 5, 2), -heart.shape["length"] / 2 + 1 + rng.normal(0, 3)])
    affine = np.eye(4)
    affine[:3, :3] = AXES * spacing
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Grid(shape, affine)


def _motion(rng: np.random.Generator, sequence: str, config: HeartPhantomConfig) -> dict[str, Any]:
    """Per slice: how much lower the diaphragm is and the in-plane shift, in mm; and the phase."""
    whole, single = _MOTION[sequence]
    breath = draw(rng, config.breathing_mm) * (1.0 if rng.random() < 0.5 else -1.0)
    slices = rng.normal(0, config.breathing_slice_mm, config.slices)
    shifts = rng.normal(0, config.shift_mm, (config.slices, 2))
    return {
        "breathing_mm": (whole * breath + single * slices).tolist(),
        "shift_mm": (single * shifts).tolist(),
        "contraction": whole * draw(rng, config.contraction),
    }


def _tissues(trunk: Trunk, heart: Heart, points: np.ndarray, motion: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Fractions (K, J, I) of what a sequence shows; ``points`` (3, K, S, J, I) in LPS mm about the heart."""

    def per_slice(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[..., None, None, None]

    down = per_slice(np.array(motion["breathing_mm"]))
    layers = trunk.paint(points + _HOME.astype(np.float32).reshape(3, 1, 1, 1, 1), down)
    # The heart rides on the diaphragm: down and a little forward; the slices move on their own in plane.
    along = np.tensordot(AXES.T.astype(np.float32), points, axes=1)
    travel = AXES.T @ np.array([0.0, -0.15, -1.0])
    shift = np.array(motion["shift_mm"])
    offset = np.stack([travel[a] * np.array(motion["breathing_mm"]) for a in range(3)])
    offset[:2] += shift.T
    u, v, w = along - per_slice(offset)
    heart.paint(layers, np.stack([u, v, -w]), motion["contraction"])
    return averaged(layers.fractions())
