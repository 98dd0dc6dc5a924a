"""The vocabulary of sequences: canonical names, synonyms, and guessing a sequence from names and headers.

A guess carries its confidence and its reason; only a guess that is :attr:`Guess.sure` may be used without asking.
Evidence that contradicts itself (the name says one sequence, the acquisition parameters another) is never sure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .errors import InputError

SURE_GUESS = 0.75
"""Confidence from which a guess by names and headers is used without asking."""
SURE_NONE = 0.9
"""Confidence from which a volume that was given as a sequence gets a warning that it is none. The words of names that
reach less (0.8) are ambiguous: "T1_bet" may be the mask or the T1 inside it."""


@dataclass(frozen=True)
class SequenceInfo:
    """A sequence: canonical name, DICOM modality ("MR", "CT", "PT"), description, and other names it goes by."""

    name: str
    modality: str
    description: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guess:
    """A guessed sequence, the confidence in [0, 1], and the reason as a fragment of a sentence.

    ``sequence`` is None where nothing speaks for any sequence (confidence 0), or where something speaks for a
    volume outside the vocabulary, such as a localizer or a parameter map (confidence above 0).
    """

    sequence: str | None
    confidence: float
    reason: str

    @property
    def sure(self) -> bool:
        """Whether the guess may be used without asking."""
        return self.sequence is not None and self.confidence >= SURE_GUESS

    @property
    def surely_none(self) -> bool:
        """Whether it is hardly any sequence: a synthetic volume, a localizer, an object that is no MR, CT or PET."""
        return self.sequence is None and self.confidence >= SURE_NONE


_NOTHING = Guess(None, 0.0, "nothing in it names a sequence")

SEQUENCES: dict[str, SequenceInfo] = {
    info.name: info
    for info in (
        SequenceInfo(
            "T1",
            "MR",
            "T1-weighted, without contrast agent",
            ("t1w", "t1n", "t1 pre", "t1 native", "t1 weighted", "mprage", "mp-rage", "bravo", "spgr", "fspgr", "t1 se")
            + ("t1 tse", "t1 fse", "t1 ffe", "t1 tfe", "t1 flair", "t1 precontrast", "t1 space"),
        ),
        SequenceInfo(
            "T1Gd",
            "MR",
            "T1-weighted, after contrast agent",
            ("t1ce", "t1c", "t1 gd", "t1 gad", "t1 post", "t1 contrast", "t1 +c", "t1+c", "t1 c+", "t1wce", "t1w ce")
            + ("t1 km", "t1 gado", "t1 postcontrast", "t1 post contrast", "t1w gd", "ce t1w", "mprage gd", "t1cegd"),
        ),
        SequenceInfo("T2", "MR", "T2-weighted", ("t2w", "t2 weighted", "t2 tse", "t2 fse", "t2 frfse", "t2 space")),
        SequenceInfo(
            "FLAIR",
            "MR",
            "T2-weighted, fluid suppressed",
            ("t2f", "t2 flair", "t2w flair", "dark fluid", "t2 tirm dark fluid", "fl", "flair w", "fluid attenuated"),
        ),
        SequenceInfo("PD", "MR", "proton density", ("pdw", "pd weighted", "proton density", "rho", "dp")),
        SequenceInfo("DWI", "MR", "diffusion-weighted", ("diffusion", "trace", "dwi trace", "ep2d diff", "b1000")),
        SequenceInfo("ADC", "MR", "apparent diffusion coefficient", ("adc map", "apparent diffusion coefficient")),
        SequenceInfo("SWI", "MR", "susceptibility-weighted", ("swan", "susceptibility", "venobold")),
        SequenceInfo("cine", "MR", "cardiac cine, balanced steady state", ("bssfp", "c0", "cine ssfp", "cine trufi")),
        SequenceInfo("LGE", "MR", "late gadolinium enhancement", ("de", "psir", "late enhancement", "lge psir")),
        SequenceInfo("BOLD", "MR", "T2*-weighted, functional or myocardial BOLD", ("fmri", "func", "epi bold")),
        SequenceInfo(
            "T1in",
            "MR",
            "T1-weighted gradient echo, water and fat in phase",
            ("in phase", "inphase", "t1 in phase", "t1 dual in", "t1 dual in phase", "ip"),
        ),
        SequenceInfo(
            "T1out",
            "MR",
            "T1-weighted gradient echo, water and fat out of phase",
            ("out phase", "outphase", "opposed phase", "t1 out phase", "t1 dual out phase", "out of phase", "opp"),
        ),
        SequenceInfo("T2SPIR", "MR", "T2-weighted, fat suppressed (SPIR)", ("t2 spir", "spir", "t2 spair")),
        SequenceInfo(
            "T1arterial",
            "MR",
            "T1-weighted, fat suppressed, arterial phase after contrast agent",
            ("t1 arterial", "t1 arterial phase", "vibe arterial", "lava arterial", "thrive arterial", "t1 art"),
        ),
        SequenceInfo(
            "T1portal",
            "MR",
            "T1-weighted, fat suppressed, portal venous phase after contrast agent",
            ("t1 portal", "t1 portal venous", "t1 venous", "vibe portal", "vibe venous", "lava portal"),
        ),
        SequenceInfo(
            "T1delayed",
            "MR",
            "T1-weighted, fat suppressed, delayed phase after contrast agent",
            ("t1 delayed", "t1 delayed phase", "vibe delayed", "vibe late", "lava delayed", "t1 late"),
        ),
        SequenceInfo("CT", "CT", "computed tomography", ("cta", "cect", "ncct", "computed tomography")),
        SequenceInfo("PET", "PT", "positron emission tomography", ("pt", "fdg", "suv", "fdg pet", "pet fdg")),
    )
}


def _squeeze(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


_EXACT = {_squeeze(name): info.name for info in SEQUENCES.values() for name in (info.name, *info.synonyms)}


# Synonyms that mean a sequence where one is asked for, but much else as the name of a file or folder.
_AMBIGUOUS = {"de", "fl", "c0", "ip", "dp", "rho", "pt", "func", "opp"}


def canonical(name: str) -> str:
    """The canonical name of a sequence, from that name or a synonym, whatever its case and punctuation.

    Raises:
        InputError: not in the vocabulary.
    """
    known = _EXACT.get(_squeeze(name))
    if known:
        return known
    guess = guess_from_name(name)
    hint = f"did you mean {guess.sequence}? " if guess.sequence else ""
    raise InputError(f"{name!r} is not a sequence that Disentangle knows; {hint}use one of {', '.join(SEQUENCES)}.")


# --- names ----------------------------------------------------------------------------------------------------------

_SUFFIXES = re.compile(r"\.(nii(\.gz)?|nrrd|nhdr|mha|mhd|dcm|ima|img|hdr|seq\.nrrd|json|gz)$", re.IGNORECASE)
_PLANES = "ax|axi|axial|sag|sagittal|cor|coronal|tra|trans|3d|2d|fs|hr|cube|space|brain|head|mr|mri|pre|post|reg|r|rr|w"
_BIDS_ENTITY = re.compile(r"(?:^|_)(?:sub|ses|run|space|res|dir|rec|desc|echo|part|chunk|hemi)-[^_]+", re.IGNORECASE)
# "T1_to_FLAIR", "T1_in_FLAIR_space": the first is what the volume shows, the second only where it lies.
_TARGET_SPACE = re.compile(
    r"\b(?:to|2|on|onto|in)\s+(?:t1|t2|flair|pd|mni\w*|ct|atlas)(?:\s*w)?(?:\s+(?:gd|ce))?\s*(?:space)?\b"
)

_CONTRAST = re.compile(
    r"\+\s*c\b|\bc\s*\+|\+\s*(?:gd|gad|km|contrast)|\b(?:gd|gad|gado|gadolin\w*|gadavist|gadovist|dotarem|magnevist"
    r"|prohance|multihance|ce|cegd|wce|wc|contrast|contrasted|post|postcontrast|postgad|postgd|km|kontrast|mdc|enhanced|inj)\b"
)
_NO_CONTRAST = re.compile(
    r"\b(?:pre|precontrast|pregad|native|nativ|nat|noncontrast|unenhanced|without|wo|w o|no|non|ohne|sans)\b|-\s*c\b"
)
_NO_CONTRAST_PHRASE = re.compile(
    r"\b(?:no|non|without|wo|w o|ohne|sans|pre)\s+(?:iv\s+)?(?:contrast|gd|gad|gado|gadolinium|km|ce|kontrast|inj)\b"
)

# Volumes that somebody made, not a scanner: by the names that results have as files (inference/result.py) and as nodes
# (mrml/results.py). SEQ stands for any sequence. "Anatomy" or "reconstruction" beside other words is usual in series.
_MADE = (
    (r"\bsynthetic\b|\bsynthesi[sz]ed\b", "a synthetic volume"),
    (r"^SEQ(?: anatomy)? as SEQ(?: \d+)?$", "a synthetic volume"),
    (r"^(?:SEQ )?reconstruction(?: \d+)?$|\bagnostic\b", "a synthetic volume"),
    (r"\bdifference\b", "a difference of two volumes"),
    (r"\buncertainty\b|\bentropy\b", "a map of uncertainty"),
    (r"\bprobabilit(?:y|ies)\b", "a map of probabilities"),
    (r"^(?:SEQ )?(?:(?:anatomy )?channel|anatomy) \d+(?: \d+)?$", "a channel of the anatomy factor"),
    (r"\bargmax\b|\banatomy map\b|\bstrongest anatomy\b", "a map of the anatomy factor"),
)
_MADE_CONFIDENCE = 0.95
# What the headers of our synthetic images say (``inference.result.SYNTHETIC``): whatever they are called by now.
_SIGNED = re.compile(r"\bmade by Disentangle\b")
_SIGNED_CONFIDENCE = 0.99

# Volumes that carry a sequence's name but are not that sequence.
_OUTSIDE = (
    (r"\b(?:seg|segmentation|label|labels|lesion|lesions|roi|consensus)\b|\bground\s?truth\b|\bgt\b", "a segmentation"),
    (r"\b(?:mask|brainmask|bet)\b", "a mask"),
    (r"\b(?:loc|localizer|localiser|scout|survey|plan scan|3plane|3 plane|aahead|aahscout)\b", "a localizer"),
    (r"\b(?:t1|t2|t2 star|pd)\s*(?:map|mapping|maps)\b|\b(?:molli|relaxometry)\b", "a parameter map"),
    (r"\b(?:perf|perfusion|pwi|dsc|dce|rcbv|rcbf|cbf|cbv|mtt|ttp|tmax|asl|pcasl)\b", "a perfusion series"),
    (r"\b(?:tof|mra|mrv|mip|minip|pca|angio\w*)\b", "an angiogram or projection"),
    (r"\b(?:dti|dtifit|tensor|tractography|fa|b0)\b|\bcolfa\b", "diffusion tensor data"),
    (r"\b(?:fieldmap|field map|phasediff|b1map|phoenix\w*|spectro\w*|mrs|csi|subtraction)\b", "a helper series"),
    (r"\bt2\s*(?:star|\*|s\b|gre\b|ge\b|ffe\b|fl2d\b|hemo\b)|\b(?:t2star\w*|hemo|haemo)\b", "a T2*-weighted volume"),
    (r"\bstir\b", "a STIR volume"),
)

# (sequence, pattern, confidence, what was seen), most specific first; T1 is told from T1Gd afterwards.
_NAMED = (
    ("ADC", r"\b(?:adc|apparent diffusion coefficient)\b", 0.95, "ADC"),
    ("SWI", r"\b(?:swi|swan|venobold|susceptibility)\b", 0.95, "SWI"),
    ("LGE", r"\b(?:lge|psir|late gad\w*|late enhancement|delayed enhancement|myocardial delayed)\b", 0.95, "LGE"),
    ("DWI", r"\b(?:dwi|diffusion|trace\w*|ep2d diff|diff|b\s?(?:500|800|1000|1500|2000))\b", 0.9, "DWI"),
    ("BOLD", r"\b(?:bold|fmri|rsfmri|resting state)\b", 0.9, "BOLD"),
    ("T1out", r"\bout\s?(?:of\s)?phase\b|\bopp(?:osed)?\s?phase\b|\bopp(?:osed)?\b|\bt1\s?out\b", 0.9, "out of phase"),
    ("T1in", r"\b(?:in\s?phase|inphase)\b|\bt1\s?in\b(?!\s*(?:t2|flair|mni|space))", 0.9, "in phase"),
    ("T2SPIR", r"\bt2\b.*\bsp(?:ir|air)\b|\bsp(?:ir|air)\b.*\bt2\b", 0.95, "T2 with SPIR"),
    ("T2SPIR", r"\bspir\b", 0.8, "SPIR"),
    ("T1arterial", r"\b(?:t1|vibe|lava|thrive)\b.*\b(?:arterial|art)\b", 0.9, "the arterial phase"),
    ("T1portal", r"\b(?:t1|vibe|lava|thrive)\b.*\b(?:portal|venous|pv)\b", 0.9, "the portal venous phase"),
    ("T1delayed", r"\b(?:t1|vibe|lava|thrive)\b.*\b(?:delayed|late)\b", 0.9, "the delayed phase"),
    ("cine", r"\bcine\b", 0.95, "cine"),
    ("cine", r"\bb\s?ssfp\b", 0.8, "bSSFP"),
    ("T1", r"\bt1\s*(?:w\s*)?(?:fs\s*)?(?:3d\s*)?(?:ax|sag|cor|tra)?\s*flair\b", 0.8, "T1 FLAIR"),
    ("FLAIR", r"\bflair\w*\b|\b(?:dark|da)\s?fl(?:uid)?\b|\bfluid attenuated\b|\bt2\s?f\b", 0.95, "FLAIR"),
    ("T1", r"\bt1\b", 0.95, "T1"),
    ("T2", r"\bt2\b", 0.95, "T2"),
    ("PD", r"\b(?:pd|pdw|proton density|protondensity|densite de protons)\b", 0.9, "PD"),
    ("T1", r"\b(?:mp\s?rage|mp2rage|bravo|fspgr|ir fspgr|mprage\w*)\b", 0.85, "MPRAGE/BRAVO"),
    ("T1", r"\b(?:spgr|vibe|lava|thrive|3d tfe|flash|irspgr)\b", 0.75, "a spoiled gradient echo"),
    ("CT", r"\b(?:ct|cta|ncct|cect|computed tomography)\b", 0.9, "CT"),
    ("PET", r"\b(?:pet|fdg|suv)\b", 0.9, "PET"),
    ("T2", r"\b(?:tse|fse|frfse|haste|ssfse)\b", 0.5, "a turbo spin echo, which is often T2"),
    ("cine", r"\b(?:trufi|fiesta|c0)\b", 0.5, "a balanced steady state, which is often cine"),
    ("LGE", r"\bde\b", 0.4, "DE, which may be delayed enhancement"),
)


def _words(name: str) -> str:
    """Lower-case words of a name, the weighting split from what is glued to it ("t1ce" -> "t1 ce")."""
    text = _BIDS_ENTITY.sub("_", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text).lower()
    text = re.sub(r"dark[-_ ]?fluid", "dark fluid", text)
    text = re.sub(r"t2\*", "t2 star", text)
    text = re.sub(r"w/o\b", "without", text)
    text = re.sub(r"[^a-z0-9+]+", " ", text).strip()
    text = re.sub(rf"\b({_PLANES})(?=(?:t[12]|pd)(?:[^0-9a-z]|w|$))", r"\1 ", text)
    text = re.sub(r"\b(t[12])w?i?(?=[a-z+])(?!w?i?\b)", r"\1 ", text)
    text = re.sub(r"\b(t[12])(?:wi?|n|weighted)\b", r"\1", text)
    text = re.sub(r"\bpd(?:w|wi)\b", "pd", text)
    return re.sub(r"\s+", " ", text)


_ANY_SEQUENCE = "(?:" + "|".join(sorted((_words(name) for name in SEQUENCES), key=len, reverse=True)) + ")"
_MADE_PATTERNS = [(re.compile(pattern.replace("SEQ", _ANY_SEQUENCE)), what) for pattern, what in _MADE]


def _guess_words(words: str) -> Guess:
    for made, what in _MADE_PATTERNS:
        if made.search(words):
            return Guess(None, _MADE_CONFIDENCE, f"it looks like {what}")
    about = _TARGET_SPACE.sub(" ", words)
    for pattern, what in _OUTSIDE:
        if re.search(pattern, about):
            return Guess(None, 0.8, f"it looks like {what}")
    found = [(s, c, seen) for s, pattern, c, seen in _NAMED if re.search(pattern, about)]
    if not found:
        return _NOTHING
    sequence, confidence, seen = found[0]
    reason = f"the name says {seen}"
    explained = {
        "FLAIR": {"T2", "FLAIR", "T1" if seen == "T1 FLAIR" else "FLAIR"},
        "T1": {"T1", "FLAIR"} if seen == "T1 FLAIR" else {"T1"},
        "T2SPIR": {"T2", "T2SPIR"},
        "T1in": {"T1", "T1in"},
        "T1out": {"T1", "T1out"},
        "T1arterial": {"T1", "T1arterial"},
        "T1portal": {"T1", "T1portal"},
        "T1delayed": {"T1", "T1delayed"},
        "ADC": {"DWI", "ADC"},
        "cine": {"cine"},
        "SWI": {"SWI", "T2"},
        "BOLD": {"BOLD"},
    }.get(sequence, {sequence})
    others = [s for s, c, _ in found[1:] if s not in explained and c > 0.5]
    if others:
        return Guess(sequence, 0.45, f"the name says both {sequence} and {others[0]}")
    if sequence == "T1":
        native = _NO_CONTRAST_PHRASE.search(about)
        rest = _NO_CONTRAST_PHRASE.sub(" ", about)
        enhanced = _CONTRAST.search(rest) or re.search(r"\bt1 c\b", rest)
        if enhanced and (native or _NO_CONTRAST.search(rest)):
            return Guess("T1Gd", 0.5, "the name speaks both for and against a contrast agent")
        if enhanced:
            return Guess("T1Gd", min(confidence, 0.9), f"{reason} and a contrast agent")
    return Guess(sequence, confidence, reason)


def guess_from_name(name: str) -> Guess:
    """Guess from a file name, a path, a volume's name or a series description.

    The last part of a path speaks first; a folder's name counts, a little less, where the file's says nothing.
    """
    parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p != "/"]
    # A series description may hold slashes ("T1 W/O"); only a path's last part ends in an image suffix.
    if len(parts) > 1 and not _SUFFIXES.search(name) and " " in name:
        parts = [name]
    for depth, part in enumerate(reversed(parts[-3:])):
        stem = part
        while _SUFFIXES.search(stem):
            stem = _SUFFIXES.sub("", stem)
        exact = _EXACT.get(_squeeze(stem))
        if exact and _squeeze(stem) not in _AMBIGUOUS:
            guess = Guess(exact, 0.97, f"it is named {stem}")
        else:
            guess = _guess_words(_words(stem))
        if guess.confidence > 0:
            if depth:
                return Guess(guess.sequence, guess.confidence * 0.9, f"the folder {part} suggests it")
            return guess
    return _NOTHING


# --- DICOM and other headers ----------------------------------------------------------------------------------------

DICOM_TAGS: dict[str, str] = {
    "0008|0008": "ImageType",
    "0008|0060": "Modality",
    "0008|103e": "SeriesDescription",
    "0018|0010": "ContrastBolusAgent",
    "0018|0015": "BodyPartExamined",
    "0018|0020": "ScanningSequence",
    "0018|0021": "SequenceVariant",
    "0018|0022": "ScanOptions",
    "0018|0023": "MRAcquisitionType",
    "0018|0024": "SequenceName",
    "0018|0080": "RepetitionTime",
    "0018|0081": "EchoTime",
    "0018|0082": "InversionTime",
    "0018|0087": "MagneticFieldStrength",
    "0018|1030": "ProtocolName",
    "0018|1314": "FlipAngle",
    "0018|9087": "DiffusionBValue",
    "0020|000e": "SeriesInstanceUID",
    "0020|0011": "SeriesNumber",
}
"""The DICOM attributes that guessing uses, by tag in SimpleITK's notation."""


def _number(value: Any) -> float | None:
    try:
        return float(str(value).split("\\")[0].strip())
    except ValueError:
        return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Iterable):
        return "\\".join(str(v) for v in value)
    return "" if value is None else str(value)


def _guess_physics(attributes: Mapping[str, Any]) -> Guess:
    """From echo, repetition and inversion time (ms) and the pulse sequence; usual clinical ranges."""
    te, tr, ti = (_number(attributes.get(k)) for k in ("EchoTime", "RepetitionTime", "InversionTime"))
    kind = set(re.split(r"[\\, ]+", _text(attributes.get("ScanningSequence")).upper()))
    image = set(re.split(r"[\\, ]+", _text(attributes.get("ImageType")).upper()))
    b = _number(attributes.get("DiffusionBValue"))
    if (b or 0) >= 400 or image & {"DIFFUSION", "TRACEW"}:
        return Guess("DWI", 0.85, "it is diffusion-weighted")
    if te is None:
        return _NOTHING
    said = f"TE {te:g} ms" + (f", TR {tr:g} ms" if tr else "") + (f", TI {ti:g} ms" if ti else "")
    gradient_echo = "GR" in kind and "SE" not in kind
    if ti and ti >= 1500 and te >= 60:
        return Guess("FLAIR", 0.85, said)
    if ti and ti < 400 and "IR" in kind and te > 15:
        return Guess(None, 0.5, f"{said}: a short inversion time (STIR)")
    if tr is None:
        return _NOTHING
    if ti and 400 <= ti < 1500 and te < 30:
        return Guess("T1", 0.8, said)
    if "EP" in kind and te >= 20:
        return Guess("BOLD" if gradient_echo else "DWI", 0.4, f"{said}, echo-planar")
    if gradient_echo:
        return Guess("T1", 0.6, f"{said}, gradient echo") if te <= 10 and tr < 500 else _NOTHING
    if te >= 60 and tr >= 1800 and not ti:
        return Guess("T2", 0.8, said)
    if te <= 30 and tr <= 1200:
        return Guess("T1", 0.8, said)
    if te <= 45 and tr >= 1800 and not ti:
        return Guess("PD", 0.7, said)
    return _NOTHING


# What acquisition parameters can tell at most; None: nothing (cine and LGE have no range of their own).
_FAMILY = {"T2SPIR": "T2", "cine": None, "LGE": None} | dict.fromkeys(
    ("T1Gd", "T1in", "T1out", "T1arterial", "T1portal", "T1delayed"), "T1"
)


def guess_from_dicom(attributes: Mapping[str, Any]) -> Guess:
    """Guess from DICOM attributes by keyword: ``SeriesDescription``, ``EchoTime`` (ms), ``ContrastBolusAgent``, ..."""
    modality = _text(attributes.get("Modality")).upper()
    if modality in ("CT", "PT"):
        return Guess("CT" if modality == "CT" else "PET", 0.99, f"its DICOM modality is {modality}")
    if modality not in ("", "MR"):
        return Guess(None, 0.95, f"its DICOM modality is {modality}")
    image_type = _text(attributes.get("ImageType")).upper()
    if re.search(r"\bADC\b", image_type):
        return Guess("ADC", 0.95, "ImageType says ADC")
    if "LOCALIZER" in image_type or "PROJECTION IMAGE" in image_type:
        return Guess(None, 0.9, "it is a localizer or a projection")
    named, source = _NOTHING, ""
    for source in ("SeriesDescription", "ProtocolName", "SequenceName"):
        text = _text(attributes.get(source))
        named = _guess_words(_words(text)) if text else _NOTHING
        if named.confidence > 0:
            named = Guess(named.sequence, named.confidence, f"{source} is {text!r}")
            break
    physics = _guess_physics(attributes)
    guess = _agree(named, physics)
    agent = _text(attributes.get("ContrastBolusAgent"))
    if guess.sequence == "T1" and agent and agent.lower() not in ("no", "none", "n", "n/a", "null", "0", "without"):
        reason = f"{guess.reason}, and a contrast agent ({agent}) is recorded"
        if _NO_CONTRAST.search(_words(_text(attributes.get(source)))):
            return Guess("T1Gd", 0.5, f"{reason} although {source} says without")
        return Guess("T1Gd", min(guess.confidence, 0.85), reason)
    return guess


def _agree(first: Guess, second: Guess) -> Guess:
    """Two independent pieces of evidence: stronger where they agree, unsure where they do not."""
    if first.confidence == 0 or second.confidence == 0:
        return first if second.confidence == 0 else second
    if first.sequence is None or second.sequence is None:
        return first if first.confidence >= second.confidence else second
    strong, weak = sorted((first, second), key=lambda g: -g.confidence)
    if first.sequence == second.sequence:
        return Guess(
            first.sequence, 1 - (1 - first.confidence) * (1 - second.confidence), f"{first.reason}; {second.reason}"
        )
    family = _FAMILY.get(first.sequence, first.sequence)
    if family in (None, _FAMILY.get(second.sequence, second.sequence)):
        # The parameters know "T1", the name "T1Gd": the name is more specific, not in conflict.
        return first
    if weak.confidence <= 0.5:  # "TSE" is often T2, but one with an inversion time of 2500 ms is FLAIR
        return strong
    reason = f"{first.reason}: {first.sequence}; but {second.reason}: {second.sequence}"
    return Guess(strong.sequence, 0.5, reason)


def sidecar_attributes(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """DICOM attributes from the JSON that dcm2niix (BIDS) puts beside a NIfTI file: its times are seconds, ours ms."""
    attributes = {k: v for k, v in sidecar.items() if k in DICOM_TAGS.values()}
    for key in ("EchoTime", "RepetitionTime", "InversionTime"):
        value = _number(attributes.get(key))
        if value is not None:
            attributes[key] = value * 1000
    return attributes


def dicom_attributes(meta: Mapping[str, str]) -> dict[str, str]:
    """The DICOM attributes within a header, whether keyed by tag ("0018|0081") or by keyword."""
    known = set(DICOM_TAGS.values())
    attributes = {}
    for key, value in meta.items():
        short = key.rsplit(".", 1)[-1]
        keyword = DICOM_TAGS.get(key.lower()) or (short if short in known else None)
        if keyword and _text(value):
            attributes[keyword] = _text(value)
    return attributes


def guess_from_header(meta: Mapping[str, str]) -> Guess:
    """Guess from the texts of a NIfTI (``descrip``, ``intent_name``, ...), NRRD or MetaImage header.

    DICOM attributes among the keys are used as such; so is "TE=12;TR=450", as dcm2nii writes it. Synthetic images of
    Disentangle say so there, which counts more than any name.
    """
    attributes: dict[str, Any] = dicom_attributes(meta)
    texts = [_text(meta.get(k)) for k in ("descrip", "aux_file", "intent_name", "db_name", "NRRD_content", "Comment")]
    if any(_SIGNED.search(text) for text in texts):
        return Guess(None, _SIGNED_CONFIDENCE, "its header says that it is synthetic, made by Disentangle")
    for text in texts:
        for key, value in re.findall(r"\b(TE|TR|TI)\s*=\s*([0-9.]+)", text):
            name = {"TE": "EchoTime", "TR": "RepetitionTime", "TI": "InversionTime"}[key]
            attributes.setdefault(name, value.rstrip("."))
    guess = guess_from_dicom(attributes) if attributes else _NOTHING
    for text in texts:
        named = _guess_words(_words(re.sub(r"\b(?:TE|TR|TI|Time)\s*=\S+", " ", text))) if text else _NOTHING
        if named.confidence > 0:
            named = Guess(named.sequence, min(named.confidence, 0.85), f"its header says {text!r}")
            return _agree(named, guess)
    return guess


def guess_sequence(
    name: str | None = None, header: Mapping[str, str] | None = None, dicom: Mapping[str, Any] | None = None
) -> Guess:
    """The best guess from everything that is known; the name speaks first, the rest confirms or contradicts it."""
    guess = guess_from_name(name) if name else _NOTHING
    for other in (guess_from_dicom(dicom) if dicom else _NOTHING, guess_from_header(header) if header else _NOTHING):
        combined = _agree(guess, other)
        if guess.sequence == "T1" and other.sequence == "T1Gd":
            combined = Guess("T1Gd", 0.6, f"{guess.reason}, but {other.reason}")
        guess = combined
    return guess
