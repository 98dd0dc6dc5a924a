"""What a bundle asks of the preprocessing, stored in its ``bundle.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import InputError

REGISTRATIONS = ("auto", "rigid", "affine", "none")
POSES = ("atlas", "reference")
MASKS = ("auto", "head", "none")
NORMALIZATIONS = ("zscore_mask", "percentile", "slice_percentile", "slice", "max", "window", "none")


@dataclass(frozen=True)
class PreprocessingConfig:
    """How a study becomes volumes that a network reads.

    Attributes:
        spacing: voxel size (i, j, k) of the working grid in mm.
        own_slices: keep the slices of the reference as they are (2-D acquisitions): the working grid has its slice
            axis and its slice distance, and ``spacing`` holds in the plane only. Needs the pose "reference". Stacks
            whose headers do not overlap are then laid over each other by their middles. Without a mask (``mask``
            "none") the working grid has their extent, neither padded nor cut.
        size_multiple: the in-plane size of the working grid around a mask is padded to multiples of this.
        margin_mm: kept around the bounding box of the mask.
        registration: "auto" registers rigidly where the identity is not already optimal; "rigid" and "affine" always
            register; "none" trusts the headers.
        pose: "atlas" turns the working grid to the axes of the MNI152 atlas, so that its slices are canonical axial;
            "reference" takes the axes of the reference sequence, permuted and flipped to the nearest patient axes.
        bias_field: divide by the N4 bias field, CT left out.
        mask: "auto" is a given mask, the foreground of skull-stripped input, or the brain found with the atlas;
            "head" is a given mask or the whole foreground; "none" is everything that the reference covers.
        normalization: "zscore_mask" (mean and standard deviation inside the mask), "percentile" (1st and 99th
            percentile to -1 and 1), "slice_percentile" (the same of every slice of the working grid on its own),
            "slice" (minimum and maximum of every slice to -1 and 1), "max" (maximum to 1), "window" (the ends of
            ``window`` to -1 and 1) or "none".
        window: intensities mapped to -1 and 1 by "window"; Hounsfield units of CT are mapped so whatever the
            normalization of the other sequences.
        suv: mean and standard deviation of standardised uptake values; PET, which is measured in the same units
            everywhere, is normalised with them whatever the normalization of the other sequences, and synthesised PET
            comes in these units. None normalises it like the others.
        clip: normalised intensities are clipped to this range; None does not clip.
        background: value outside the mask and outside a sequence's field of view.
    """

    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5)
    own_slices: bool = False
    size_multiple: int = 32
    margin_mm: float = 6.0
    registration: str = "auto"
    pose: str = "atlas"
    bias_field: bool = False
    mask: str = "auto"
    normalization: str = "zscore_mask"
    window: tuple[float, float] | None = None
    suv: tuple[float, float] | None = None
    clip: tuple[float, float] | None = (-5.0, 5.0)
    background: float = 0.0

    def __post_init__(self) -> None:
        spacing = self.spacing if isinstance(self.spacing, (tuple, list)) else (self.spacing,) * 3
        object.__setattr__(self, "spacing", tuple(float(v) for v in spacing))
        for name in ("window", "suv", "clip"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        for name, allowed in (
            ("registration", REGISTRATIONS),
            ("pose", POSES),
            ("mask", MASKS),
            ("normalization", NORMALIZATIONS),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"The preprocessing setting {name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}."
                )
        if len(self.spacing) != 3 or min(self.spacing) <= 0:
            raise InputError(f"The preprocessing setting spacing is {self.spacing}; give three lengths above 0 mm.")
        if self.size_multiple < 1 or self.margin_mm < 0:
            raise InputError("The preprocessing setting size_multiple must be at least 1 and margin_mm at least 0.")
        if self.own_slices and self.pose != "reference":
            raise InputError("The preprocessing setting own_slices needs the pose 'reference'.")
        if self.normalization == "window" and (self.window is None or self.window[1] <= self.window[0]):
            raise InputError("The normalization 'window' needs the setting window: (lower, upper) intensity.")
        if self.suv is not None and (len(self.suv) != 2 or self.suv[1] <= 0):
            raise InputError("The preprocessing setting suv is a mean and a standard deviation above 0.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able settings."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> PreprocessingConfig:
        """The inverse of :meth:`to_dict`; settings left out take their defaults.

        Raises:
            InputError: an unknown setting or value.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise InputError(f"Unknown preprocessing setting {unknown[0]!r}; known are {', '.join(sorted(known))}.")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
