"""A study that a network can read, and the way back to the geometry and intensities of its input."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import SEQUENCES
from ..study import Grid, Image, Study
from . import normalization
from .config import PreprocessingConfig
from .resampling import crop_to, matrix_of, resample

Box = tuple[slice, slice, slice]
_RIGHT_ANGLE = 1e-6
"""Largest cosine between axes that is still rounding: 0.2 um over a head."""


@dataclass(frozen=True)
class Step:
    """One step of the preprocessing, as it is recorded in reports.

    Attributes:
        name: "register", "mask", "pose", "resample", "bias field" or "normalize".
        sequence: the sequence it worked on; "" for the whole study.
        parameters: JSON-able settings and measurements.
        seconds: wall-clock time.
        skipped: why it was not needed; None where it ran.
    """

    name: str
    sequence: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    skipped: str | None = None

    @classmethod
    def since(
        cls, started: float, name: str, sequence: str = "", skipped: str | None = None, **parameters: Any
    ) -> Step:
        """A step that began at ``started`` of ``time.perf_counter`` and ends now."""
        return cls(name, sequence, parameters, round(time.perf_counter() - started, 3), skipped)


@dataclass(eq=False)
class PreparedStudy:
    """Every sequence of a study on one working grid, normalised.

    Attributes:
        study: the input.
        config: what was asked for.
        reference: the sequence in whose physical space the grid lies.
        grid: the working grid, where it is computed with: in the space of the reference. Its array axes are canonical
            in the head's own pose: k inferior to superior, j anterior to posterior, i right to left. Images that are
            given away lie elsewhere, see :attr:`working_affine`.
        images: sequence -> float32 (K, J, I), normalised, ``config.background`` outside the mask.
        mask: bool (K, J, I).
        labels: int16 (K, J, I), the study's labels by nearest neighbour; None without labels.
        transforms: sequence -> linear transform from physical points (LPS mm) of the reference to its own.
        normalization: sequence -> (offset, scale); normalised = (intensity - offset) / scale. Numbers, or (K, 1, 1)
            where every slice has its own.
        bias: sequence -> float32 (K, J, I), the N4 field that intensities were divided by; empty without it.
        steps, warnings: what was done, and sentences that the user should see.
        sequence_labels: sequence -> int16 (K, J, I), like ``labels``, for sequences with labels of their own.
        shown: sequence -> bool (K,), the slices of which it shows enough to be read; only of sequences that lack some.
        seen: sequence -> bool (K, J, I), where it has intensities inside the mask; only of sequences that cover
            noticeably less than the mask.
    """

    study: Study
    config: PreprocessingConfig
    reference: str
    grid: Grid
    images: dict[str, np.ndarray]
    mask: np.ndarray
    labels: np.ndarray | None
    transforms: dict[str, sitk.Transform]
    normalization: dict[str, tuple[normalization.Level, normalization.Level]]
    bias: dict[str, np.ndarray] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sequence_labels: dict[str, np.ndarray] = field(default_factory=dict)
    shown: dict[str, np.ndarray] = field(default_factory=dict)
    seen: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences, first input first."""
        return tuple(self.images)

    @property
    def first(self) -> str:
        """The first input: in its physical space everything lies that is given away."""
        return self.study.available[0]

    @property
    def working_affine(self) -> np.ndarray:
        """(4, 4) voxel indices (i, j, k, 1) of the working grid to LPS mm in the space of the first input.

        Where the first input is the reference, that is the affine of the grid. Where the head moved between the two,
        it takes the grid to where the first input shows the head. A rigid registration keeps the grid's right angles;
        of an affine one (``registration="affine"``) only that is kept which the geometry of an image can express: the
        turn, the stretch along each axis of the grid, and the place of the mask's middle, while the shear is lost.
        """
        if self.first == self.reference:
            return self.grid.affine
        affine = matrix_of(self.transforms[self.first]) @ self.grid.affine
        return _right_angled(affine, self._middle())

    def _middle(self) -> np.ndarray:
        """(4,) index (i, j, k, 1) of the middle of the mask's extent, of the grid where nothing is inside."""
        spans = [np.flatnonzero(self.mask.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
        ends = [(s[0], s[-1]) if len(s) else (0, n - 1) for s, n in zip(spans, self.grid.size, strict=True)]
        return np.array([*(np.mean(pair) for pair in ends), 1.0])

    def normalize(self, array: np.ndarray, sequence: str | None) -> np.ndarray:
        """Normalised values, clipped as configured, of intensities on the working grid (or of any array without a
        bias field)."""
        offset, scale = self._normalization_of(sequence)
        if sequence in self.bias and array.shape == self.grid.shape:
            array = array / self.bias[sequence]
        return normalization.apply(array, offset, scale, self.config.clip)

    def denormalize(self, array: np.ndarray, sequence: str | None) -> np.ndarray:
        """Intensities of normalised values, in the units of ``sequence``.

        None, or a sequence that the study lacks, takes the units of another one, see :meth:`units_of`.
        """
        offset, scale = self._normalization_of(sequence)
        result = normalization.invert(array, offset, scale)
        if sequence in self.bias and array.shape == self.grid.shape:
            result *= self.bias[sequence]
        return result

    def to_input(
        self,
        array: np.ndarray,
        sequence: str,
        interpolation: str = "linear",
        default: float = 0.0,
        masked: bool = False,
    ) -> Image:
        """An array on the working grid, in the geometry of one of the inputs.

        Args:
            array: (K, J, I) on the working grid.
            sequence: the input whose grid it goes to.
            interpolation: "linear" (smoothed where the input is coarser) or "nearest" (labels).
            default: value outside the working grid.
            masked: the array has the default everywhere outside the mask; only what the mask reaches is computed.

        Raises:
            InputError: the study has no such sequence.
        """
        target = self._input(sequence)
        box = self.reached(sequence) if masked else tuple(slice(0, n) for n in target.array.shape)
        values = np.full(target.array.shape, default, array.dtype if interpolation == "nearest" else np.float32)
        if box is not None:
            values[box] = self.to_part(array, sequence, box, interpolation, default)
        return Image(values, target.affine)

    def reached(self, sequence: str, where: np.ndarray | None = None) -> Box | None:
        """The part (k, j, i) of an input that some voxels of the working grid reach; None where they reach nothing.

        Args:
            sequence: the input.
            where: bool (K, J, I), the voxels; None takes the mask.
        """
        where = self.mask if where is None else where
        spans = [np.flatnonzero(where.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        if not all(map(len, spans)):
            return None
        box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
        part = Image(where, self.grid.affine).cropped(box).grid
        return crop_to(self._input(sequence).grid, part, matrix_of(self.transforms[sequence]))

    def to_part(
        self, array: np.ndarray, sequence: str, box: Box, interpolation: str = "linear", default: float = 0.0
    ) -> np.ndarray:
        """As :meth:`to_input`, only a part (k, j, i) of it."""
        # The way back: points of the sequence -> points of the reference.
        matrix = np.linalg.inv(matrix_of(self.transforms[sequence]))
        part = self._input(sequence).cropped(box)
        self._check_shape(array)
        return resample(Image(array, self.grid.affine).to_sitk(), part.grid, matrix, interpolation, default)

    def input_on(self, name: str, sequence: str, box: Box | None = None) -> np.ndarray:
        """One input where another one has its voxels, interpolated once, in its own intensities, float32.

        Args:
            name: the input that is resampled.
            sequence: the input whose grid it goes to.
            box: a part (k, j, i) of that grid; None takes all of it.
        """
        target = self._input(sequence)
        target = target if box is None else target.cropped(box)
        if name == sequence:
            return target.array.astype(np.float32)
        matrix = matrix_of(self.transforms[name]) @ np.linalg.inv(matrix_of(self.transforms[sequence]))
        return resample(self._input(name).to_sitk(), target.grid, matrix)

    def to_grid(
        self, image: Image, interpolation: str = "linear", sequence: str | None = None, default: float = 0.0
    ) -> np.ndarray:
        """An image (labels, a reference image, an edited segmentation) on the working grid, not normalised.

        Args:
            image: lies in the physical space of ``sequence``.
            sequence: None takes ``image.sequence`` where the study has it on the same grid, else the input whose grid
                the image has, else the reference.
        """
        space = sequence or home_of(image, self.study, self.reference)
        self._input(space)
        return resample(image.to_sitk(), self.grid, matrix_of(self.transforms[space]), interpolation, default)

    def working_image(self, array: np.ndarray, sequence: str | None = None) -> Image:
        """An array (K, J, I) as an image on the working grid, in the space of the first input, beside which it is
        shown (see :attr:`working_affine`)."""
        self._check_shape(array)
        return Image(array, self.working_affine, sequence=sequence)

    def working_slab(self, array: np.ndarray, start: int, source: str = "") -> Image:
        """Adjacent slices (n, J, I) of the working grid, ``start`` the number of the first, where
        :meth:`working_image` would have them."""
        affine = self.working_affine.copy()
        affine[:3, 3] += affine[:3, 2] * start
        return Image(array, affine, source=source)

    def _check_shape(self, array: np.ndarray) -> None:
        if array.shape != self.grid.shape:
            raise ValueError(f"array of shape {array.shape} is not on the working grid {self.grid.shape}")

    def _input(self, sequence: str) -> Image:
        if sequence not in self.study:
            raise InputError(f"The study has no {sequence}; it has {', '.join(self.study.available)}.")
        return self.study[sequence]

    def units_of(self, sequence: str | None) -> str | None:
        """The input in whose intensity units an image of ``sequence`` is given: nobody has measured a synthesised one.

        Itself where it is an input; none (None) where the settings give the units (Hounsfield units of CT, SUV of
        PET); else the reference, or the first input of its modality where the reference has another one; none where
        there is none.
        """
        if sequence is None or sequence in self.normalization:
            return sequence or self.reference
        if normalization.by_window(self.config, sequence) is not None:
            return None
        alike = [s for s in (self.reference, *self.normalization) if _modality(s) == _modality(sequence)]
        return alike[0] if alike else None

    def least(self, sequence: str) -> tuple[float, float]:
        """The least intensity that an image of a sequence may have, and what it has where nothing was imaged."""
        units = self.units_of(sequence)
        if units is not None:
            # Input that was z-scored by others has negative values.
            return min(0.0, float(self.study[units].array.min())), 0.0
        absolute = normalization.by_window(self.config, sequence) is not None
        window = self.config.window if absolute and not (sequence == "PET" and self.config.suv) else None
        return (window[0], window[0]) if window else (0.0, 0.0)

    def _normalization_of(self, sequence: str | None) -> tuple[normalization.Level, normalization.Level]:
        units = self.units_of(sequence)
        if units is not None:
            return self.normalization[units]
        return normalization.by_window(self.config, sequence) or normalization.without_units(self.config)


def _right_angled(affine: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The affine of an image nearest to any affine; one with right angles stays as it is.

    Args:
        affine: (4, 4) to mm.
        middle: (4,) index that keeps its place.
    """
    linear = affine[:3, :3]
    axes = linear / np.linalg.norm(linear, axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() < _RIGHT_ANGLE:
        return affine
    u, _, vt = np.linalg.svd(axes)
    direction = u @ vt
    nearest = np.eye(4)
    nearest[:3, :3] = direction * np.sum(direction * linear, axis=0)  # each axis as long as the part along it
    nearest[:3, 3] = (affine @ middle)[:3] - nearest[:3, :3] @ middle[:3]
    return nearest


def _modality(sequence: str) -> str:
    """The modality of a sequence; intensities of one modality are not those of another."""
    return SEQUENCES[sequence].modality if sequence in SEQUENCES else "MR"


def home_of(image: Image, study: Study, reference: str) -> str:
    """The sequence in whose physical space an accompanying image (labels, a mask) lies.

    Its own sequence where the grids agree, else a sequence with the same grid (the reference before others), else the
    reference.
    """
    if image.sequence in study and study[image.sequence].grid.same_as(image.grid):
        return image.sequence
    for sequence in (reference, *sorted(study.images)):
        if study[sequence].grid.same_as(image.grid):
            return sequence
    return reference
