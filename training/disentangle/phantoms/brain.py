"""Digital brains: anatomy, lesions, MR signal and scanner put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import canonical
from ..study import Grid, Image, Study
from .acquisition import bias_field, blurred, draw_rigid, moved, rician, slice_grid
from .anatomy import Anatomy, build_anatomy, draw_deformation, subject_grid
from .lesions import (
    LESION_TISSUES,
    glioma,
    periventricular_rim,
    plan_glioma,
    plan_lesions,
    white_matter_lesions,
)
from .mr_signal import HEALTHY_TISSUES, draw_protocol, draw_relaxation, mixed_signal
from .options import check_options
from .phantom import Phantom
from .randomness import Range, draw, grid_noise, stream
from .skull import HEAD_MM, add_head
from .stack import available

BRAIN_CLASSES = (
    "background",
    "cerebrospinal fluid",
    "grey matter",
    "white matter",
    "white-matter lesion",
    "peritumoral edema",
    "necrotic or non-enhancing core",
    "enhancing tumour",
)
"""Names of the label values of brain studies."""

_MEMBERS = {
    1: ("csf", "vessel", "dura", "choroid"),
    2: ("gm", "deep_gm", "pallidum"),
    3: ("wm",),
    4: ("lesion",),
    5: ("edema",),
    6: ("necrosis", "nonenhancing"),
    7: ("enhancing",),
}
_LESION_KINDS = ("none", "ms", "glioma", "both", "random")
_BRAIN_SEQUENCES = ("T1", "T1Gd", "T2", "FLAIR", "PD")


@dataclass(frozen=True)
class BrainPhantomConfig:
    """What digital brains may look like. A :data:`Range` is a number, or (low, high) to draw from.

    Attributes:
        spacing: voxel size in mm, one number or (i, j, k).
        sequences: which to simulate, among T1, T1Gd, T2, FLAIR, PD; the first available one is the reference.
        lesions: "none", "ms" (white-matter lesions), "glioma", "both", or "random" (one of these per subject).
        glioma_radius_mm: of a glioma's core.
        glioma_edema_mm: how far its edema reaches; None draws 3 to 22 where it enhances, 1 to 10 elsewhere. With
            cores of 36 mm and edema of 35 mm a glioma takes a fifth of the brain, as large ones of patients do.
        missing: sequences to leave out, or the probability of each one being missing (one always stays).
        misregistration_mm, misregistration_deg: motion of every sequence against the reference.
        thick_slice_mm: slice thickness, drawn per sequence; values at or below the spacing give the grid itself.
        slice_axes: patient axes to slice across: 0 sagittal, 1 coronal, 2 axial.
        common_grid: resample moved or thick-sliced sequences back onto the reference grid, as registration would.
        bias: standard deviation of the logarithm of the bias field.
        noise: standard deviation of the noise relative to white matter.
        blur_mm: standard deviation of the in-plane point spread.
        smoothing: standard deviation in voxels of a blur after the noise, as interpolated images have it.
        deformation: strength of the random head shape; 0 is the atlas.
        atrophy: 0 tight to 1 wide sulci; ventricles widen with it.
        contrast_jitter: standard deviation of unphysical changes (logarithm) of each tissue's signal, half of it
            for healthy tissue.
        gamma: exponent applied to the intensities.
        texture: relative local variation of T1 and T2 within tissue.
        field_tesla: 1.5 to 3; None draws 1.5 or 3.
        skull: a head around the brain instead of zeros.
    """

    spacing: float | tuple[float, float, float] = 2.0
    sequences: tuple[str, ...] = ("T1", "T1Gd", "T2", "FLAIR")
    lesions: str = "random"
    glioma_radius_mm: Range = (7.0, 24.0)
    glioma_edema_mm: Range | None = None
    missing: float | tuple[str, ...] = ()
    misregistration_mm: Range = 0.0
    misregistration_deg: Range = 0.0
    thick_slice_mm: Range | None = None
    slice_axes: tuple[int, ...] = (2,)
    common_grid: bool = False
    bias: Range = (0.0, 0.2)
    noise: Range = (0.005, 0.05)
    blur_mm: Range = (0.3, 0.8)
    smoothing: Range = (0.0, 0.5)
    deformation: Range = (0.5, 1.1)
    atrophy: Range = (0.0, 0.8)
    contrast_jitter: Range = (0.0, 0.08)
    gamma: Range = (0.85, 1.15)
    texture: Range = (0.02, 0.05)
    field_tesla: float | None = None
    skull: bool = False

    def __post_init__(self) -> None:
        check_options(self)
        spacing = np.ravel(self.spacing).tolist()
        spacing = spacing * 3 if len(spacing) == 1 else spacing
        if len(spacing) != 3 or not all(0.4 <= s <= 12 for s in spacing):
            raise InputError(f"A phantom cannot have voxels of {self.spacing} mm; give 0.4 to 12, one number or three.")
        object.__setattr__(self, "spacing", tuple(float(s) for s in spacing))
        names = tuple(canonical(name) for name in self.sequences)
        unknown = [name for name in names if name not in _BRAIN_SEQUENCES]
        if unknown or not names or len(set(names)) < len(names):
            wrong = ", ".join(unknown or names) or "no sequence"
            raise InputError(f"Brain phantoms cannot be made of {wrong}; give T1, T1Gd, T2, FLAIR or PD, each once.")
        object.__setattr__(self, "sequences", names)
        if self.lesions not in _LESION_KINDS:
            raise InputError(f"Brains have no lesions '{self.lesions}'; choose one of {', '.join(_LESION_KINDS)}.")
        if not self.slice_axes or not set(self.slice_axes) <= {0, 1, 2}:
            axes = ", ".join(str(axis) for axis in self.slice_axes) or "none"
            raise InputError(f"Slices cannot lie across the axes {axes}; choose among 0, 1 and 2.")
        if not isinstance(self.missing, (int, float)):
            missing = tuple(canonical(name) for name in self.missing)
            object.__setattr__(self, "missing", missing)
            if set(names) <= set(missing):
                raise InputError("All sequences of the phantom are declared missing; leave at least one.")


def brain_phantom(seed: int, config: BrainPhantomConfig | None = None, **changes: Any) -> Phantom:
    """A digital brain. The same seed and configuration give the same voxels.

    Anatomy, lesions and each sequence's scanner have random streams of their own: one subject can be had with other
    sequences, noise, slices or voxel size.

    Args:
        changes: fields of :class:`BrainPhantomConfig` to replace.

    Raises:
        InputError: an impossible configuration.
    """
    if seed < 0:
        raise InputError(f"A phantom cannot have the seed {seed}; give 0 or a positive whole number.")
    config = replace(config or BrainPhantomConfig(), **changes)
    anatomy, tissues, parameters = _subject(seed, config)
    grid = anatomy.grid
    labels = _labels(tissues, anatomy.inside)

    rng = stream(seed, 3)
    field_tesla = config.field_tesla or float(rng.choice([1.5, 3.0]))
    relaxation = draw_relaxation(rng, field_tesla)
    if config.skull:
        tissues = add_head(rng, replace(anatomy, tissues=tissues))
    parameters |= {"field_tesla": field_tesla, "relaxation": {n: asdict(relaxation[n]) for n in tissues}}
    texture = _texture(stream(seed, 4), grid, draw(rng, config.texture)).reshape(3, -1)
    fractions = np.stack([tissues[name].ravel() for name in tissues])
    scanner = _Scanner(config, grid, anatomy.inside, bias_field(stream(seed, 5), grid, 1.0))

    images, masks, transforms, protocols = {}, {}, {}, {}
    for sequence in available(stream(seed, 6), config.sequences, config.missing):
        rng = stream(seed, 10 + _BRAIN_SEQUENCES.index(sequence))
        protocol = draw_protocol(rng, sequence, field_tesla)
        share = np.array([0.5 if name in HEALTHY_TISSUES else 1.0 for name in tissues])
        jitter = np.exp(share * rng.normal(0, draw(rng, config.contrast_jitter), len(tissues)))
        signal = mixed_signal(
            fractions, [relaxation[n] for n in tissues], protocol, sequence == "T1Gd", texture, jitter
        )
        white = float(np.average(signal, weights=fractions[list(tissues).index("wm")] + 1e-9))
        image, mask, transform, drawn = scanner.scan(rng, sequence, signal.reshape(grid.shape), white, not images)
        images[sequence], transforms[sequence] = image, transform
        if mask is not None:
            masks[sequence] = mask
        protocols[sequence] = protocol | drawn
    masks[""] = Image(anatomy.inside.astype(np.uint8), grid.affine)
    study = Study(
        images,
        name=f"brain-{seed}",
        labels=Image(labels, grid.affine),
        masks=masks,
        label_names={i: name for i, name in enumerate(BRAIN_CLASSES) if i},
    )
    parameters |= {"config": asdict(config), "protocols": protocols}
    return Phantom("brain", seed, study, tissues, labels, grid, transforms, parameters)


def _subject(seed: int, config: BrainPhantomConfig) -> tuple[Anatomy, dict[str, np.ndarray], dict[str, Any]]:
    """Anatomy, tissue fractions with lesions, and what was drawn."""
    rng = stream(seed, 0)
    kinds = {"random": str(rng.choice(["none", "ms", "glioma", "both"], p=[0.15, 0.35, 0.42, 0.08]))}
    lesions = kinds.get(config.lesions, config.lesions)
    atrophy = draw(rng, config.atrophy)
    ventricle_mm = float(np.clip(rng.normal(-0.6 + 4.0 * atrophy, 0.8), -1.5, 5.5))
    deformation, parameters = draw_deformation(rng, draw(rng, config.deformation), ventricle_mm)
    parameters |= {"lesions": lesions, "atrophy": atrophy}
    grid = subject_grid(deformation, config.spacing, HEAD_MM if config.skull else 4.0)

    # Lesions are planned on one coarse grid, so that they do not depend on the spacing.
    coarse = subject_grid(deformation, (4.0, 4.0, 4.0), 4.0)
    plan, spots = None, None
    if lesions != "none":
        sketch = build_anatomy(stream(seed, 2), deformation, coarse, atrophy)
        if lesions != "ms":
            plan = plan_glioma(stream(seed, 1), sketch, config.glioma_radius_mm, config.glioma_edema_mm)
            parameters["glioma"] = asdict(plan)
        if lesions != "glioma":
            rng = stream(seed, 7)
            spots = plan_lesions(rng, sketch, int(np.clip(np.exp(rng.normal(np.log(25), 0.9)), 2, 120)))
            parameters["white_matter_lesions"] = [asdict(spot) for spot in spots]

    anatomy = build_anatomy(stream(seed, 2), deformation, grid, atrophy, plan and plan.mass_effect())
    rng = stream(seed, 8)
    added = {"rim": periventricular_rim(rng, anatomy, rng.uniform(0.0, 0.35))}
    if spots is not None:
        added["lesion"] = white_matter_lesions(rng, anatomy, spots)
    if plan is not None:
        added |= glioma(stream(seed, 9), anatomy, plan)
    return anatomy, _replaced(anatomy, added), parameters


def _replaced(anatomy: Anatomy, added: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The healthy tissues make room for the added ones; fractions still sum to 1 in the brain."""
    tumour = sum((added[n] for n in LESION_TISSUES[1:] if n in added), np.float32(0))
    tumour = np.minimum(tumour, 1)
    lesion = added.get("lesion", np.float32(0)) * (1 - tumour)
    rim = added["rim"] * (1 - tumour) * (1 - lesion)
    rest = 1 - tumour - lesion
    tissues = {name: fraction * rest for name, fraction in anatomy.tissues.items()}
    # The normal rim looks a little like a lesion but is white matter: it takes the signal of fluid mixed in.
    shift = np.minimum(0.35 * rim, tissues["wm"])
    tissues["wm"] = tissues["wm"] - shift
    tissues["gm"] = tissues["gm"] + shift
    if "lesion" in added:
        tissues["lesion"] = lesion
    for name in LESION_TISSUES[1:]:
        if name in added:
            tissues[name] = added[name]
    total = np.where(anatomy.inside, sum(tissues.values()), 1)
    return {n: np.where(anatomy.inside, f / total, 0).astype(np.float32) for n, f in tissues.items()}


def _labels(tissues: dict[str, np.ndarray], inside: np.ndarray) -> np.ndarray:
    """int16 (K, J, I): the class with the largest sum of fractions, 0 outside the brain."""
    best = np.full(inside.shape, -1, dtype=np.float32)
    labels = np.zeros(inside.shape, dtype=np.int16)
    for value, members in _MEMBERS.items():
        present = [tissues[m] for m in members if m in tissues]
        if present:
            share = sum(present)
            labels[share > best] = value
            best = np.maximum(best, share)
    labels[~inside] = 0
    return labels


def _texture(rng: np.random.Generator, grid: Grid, amount: float) -> np.ndarray:
    """(3, K, J, I) relative local change of T1, T2 and PD: long waves, patches and grain."""
    result = []
    for share in (1.0, 1.0, 0.4):
        waves = (grid_noise(rng, grid, s) * w for s, w in ((24.0, 0.7), (8.0, 0.5), (3.0, 0.4)))
        result.append(np.float32(share * amount) * sum(waves))
    return np.stack(result)


@dataclass(frozen=True, eq=False)
class _Scanner:
    """Turns signal on the subject's grid into images."""

    config: BrainPhantomConfig
    grid: Grid
    inside: np.ndarray
    bias: np.ndarray

    def scan(
        self, rng: np.random.Generator, sequence: str, signal: np.ndarray, white: float, reference: bool
    ) -> tuple[Image, Image | None, sitk.Transform, dict[str, Any]]:
        """One sequence: image, its mask where its geometry is its own, reference-to-sequence transform, parameters."""
        config, grid = self.config, self.grid
        drawn = {
            "noise": draw(rng, config.noise),
            "bias": draw(rng, config.bias),
            "blur_mm": draw(rng, config.blur_mm),
            "smoothing": draw(rng, config.smoothing),
            "gamma": draw(rng, config.gamma),
            "gain": float(np.exp(rng.uniform(np.log(80), np.log(1500)))),
            "slice_mm": draw(rng, config.thick_slice_mm or 0.0),
            "slice_axis": int(rng.choice(config.slice_axes)),
        }
        shift, turn = draw(rng, config.misregistration_mm), draw(rng, config.misregistration_deg)
        centre = grid.corners().mean(axis=0)
        transform = draw_rigid(rng, centre, shift, turn)
        moves = not reference and (shift > 0 or turn > 0)
        if not moves:
            transform, shift, turn = sitk.Transform(3, sitk.sitkIdentity), 0.0, 0.0
        drawn |= {"shift_mm": shift, "turn_deg": turn}

        own = bias_field(rng, grid, 0.5)
        signal = signal / np.float32(white) * (self.bias * own) ** np.float32(drawn["bias"])
        sigma = np.full(3, drawn["blur_mm"])
        axis, thickness = drawn["slice_axis"], drawn["slice_mm"]
        thick = thickness > 1.05 * grid.spacing[axis]
        # A box of width t has the standard deviation t / sqrt(12); real slice profiles are a little wider.
        sigma[axis] = 0.33 * thickness if thick else sigma[axis]
        signal = blurred(signal, grid.spacing, sigma)
        signal = signal ** np.float32(drawn["gamma"])

        target, mask = grid, self.inside
        if thick or moves:
            target = slice_grid(grid, thickness, axis) if thick else grid
            back = transform.GetInverse()
            signal = moved(signal, grid, target, back)
            mask = moved(mask, grid, target, back, nearest=True) > 0
        # Thick slices gather more signal: less noise per voxel.
        noise = drawn["noise"] / (np.sqrt(thickness / grid.spacing[axis]) if thick else 1.0)
        signal = rician(rng, signal, noise)
        signal = blurred(signal, (1, 1, 1), [drawn["smoothing"]] * 3)
        if config.common_grid and mask is not self.inside:
            signal, target, mask = moved(signal, target, grid, transform), grid, self.inside
            transform = sitk.Transform(3, sitk.sitkIdentity)
        if not config.skull:
            signal = signal * mask
        image = Image(
            np.round(signal * drawn["gain"]).astype(np.float32), target.affine, sequence, f"brain phantom {sequence}"
        )
        own_mask = None if mask is self.inside else Image(mask.astype(np.uint8), target.affine)
        return image, own_mask, transform, drawn
