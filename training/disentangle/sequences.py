"""The vocabulary of sequences: canonical names, synonyms, and guessing a sequence from names and headers."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class SequenceInfo:
    """A sequence: canonical name, DICOM modality ("MR", "CT", "PT"), description, synonyms."""

    name: str
    modality: str
    description: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guess:
    """A guessed sequence (None: no idea), the confidence in [0, 1], and the reason as a sentence fragment."""

    sequence: str | None
    confidence: float
    reason: str

    @property
    def sure(self) -> bool:
        """Whether the guess may be used without asking."""
        return self.sequence is not None and self.confidence >= 0.75


SEQUENCES: dict[str, SequenceInfo] = {
    name: SequenceInfo(name, {"CT": "CT", "PET": "PT"}.get(name, "MR"), name)
    for name in "T1 T1Gd T2 FLAIR PD DWI ADC SWI cine LGE BOLD T1in T1out T2SPIR CT PET".split()
}


def canonical(name: str) -> str:
    """The canonical name of a sequence; accepts synonyms."""
    for known in SEQUENCES:
        if known.lower() == name.strip().lower():
            return known
    raise InputError(f"{name!r} is not a known sequence; use one of {', '.join(SEQUENCES)}.")
