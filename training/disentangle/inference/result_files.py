"""Where the files of a result lie in its folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

OF_A_SEQUENCE = ("input", "argmax", "reconstruction", "agnostic")
"""Images of a sequence's factors, beside the channels of its anatomy."""


@dataclass(frozen=True)
class ResultFiles:
    """The paths of a result.

    Attributes:
        folder: of the result; of probabilities or uncertainties alone where only these are written.
    """

    folder: Path

    @property
    def segmentation(self) -> Path:
        return self.folder / "segmentation.nii.gz"

    @property
    def probabilities(self) -> Path:
        """The folder of :meth:`probability` within a whole result."""
        return self.folder / "probabilities"

    @property
    def uncertainty(self) -> Path:
        return self.folder / "uncertainty.nii.gz"

    @property
    def lesion_uncertainty(self) -> Path:
        return self.folder / "lesion_uncertainty.nii.gz"

    @property
    def modality(self) -> Path:
        return self.folder / "modality.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def overview(self) -> Path:
        return self.folder / "overview.png"

    @property
    def cross_overview(self) -> Path:
        return self.folder / "cross.png"

    def probability(self, name: str) -> Path:
        """Of the class of that name."""
        return self.folder / f"{file_name(name)}.nii.gz"

    def synthetic(self, sequence: str) -> Path:
        return self.folder / f"synthetic_{sequence}.nii.gz"

    def difference(self, sequence: str) -> Path:
        return self.folder / f"difference_{sequence}.nii.gz"

    def factor(self, sequence: str, name: str) -> Path:
        """One of :data:`OF_A_SEQUENCE`."""
        return self.folder / "factors" / sequence / f"{name}.nii.gz"

    def channel(self, sequence: str, number: int | str) -> Path:
        """A channel of the anatomy, counted from 1; "*" stands for all of them."""
        return self.factor(sequence, f"anatomy_{number}")

    def cross(self, source: str, look: str) -> Path:
        """The anatomy of one sequence in the appearance of another."""
        return self.folder / "cross" / f"{source}_as_{look}.nii.gz"

    def all_probabilities(self, names: Iterable[str]) -> list[Path]:
        """One file a class."""
        return [self.probability(name) for name in names]

    def all_uncertainties(self) -> list[Path]:
        """What may be written of them."""
        return [self.uncertainty, self.lesion_uncertainty]

    def all_files(
        self, segment: bool = False, targets: Iterable[str] = (), sequences: Sequence[str] = ()
    ) -> list[Path]:
        """What a run may write into the folder, without probabilities and uncertainties.

        Args:
            segment: with a segmentation.
            targets: sequences that are made.
            sequences: those whose factors and cross-reconstructions are wanted.
        """
        files = [self.report, self.overview, *([self.segmentation] if segment else [])]
        for target in dict.fromkeys(targets):
            files += [self.synthetic(target), self.difference(target)]
        if sequences:
            files += [self.modality, self.cross_overview]
        for sequence in sequences:
            files += [self.factor(sequence, name) for name in OF_A_SEQUENCE]
            # How many there are is the model's affair; those that are there are the ones that could be overwritten.
            channels = self.channel(sequence, "*")
            files += sorted(channels.parent.glob(channels.name))
        return files + [self.cross(source, look) for source, look in itertools.product(sequences, repeat=2)]


def file_name(text: str) -> str:
    """A text as a file name for every system."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text).strip("_") or "unnamed"
