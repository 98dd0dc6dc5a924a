"""Private brain sets after their pipeline, in template space: NCANDA (T1, T2) and zero-dose PET (T1, FLAIR, PET)."""

from __future__ import annotations

from pathlib import Path

from ...study.reading import stem_of
from ..cases import ALIGNED, Case, ImageFile, Layout, images_in

_ZERODOSE = {"T1": "tpm_T1", "FLAIR": "tpm_r2T1_T2_FLAIR", "PET": "tpm_r2T1_PET"}
_ZERODOSE_EXTRA = {"T1Gd": ("tpm_r2T1_T1c", "tpm_T1c")}
_ZERODOSE_MASKS = ("tpm_mask_new", "tpm_mask")


def find_ncanda(folder: Path) -> list[Case]:
    """A case per name that is in the folder T1 or T2; it should be in both."""
    places = [p for p in (folder / "T1", folder / "T2") if p.is_dir()]
    if len(places) < 2:
        return []
    files = {place.name: {stem_of(p): p for p in reversed(images_in(place))} for place in places}
    cases = []
    for subject in sorted(set(files["T1"]) | set(files["T2"])):
        images = {s: ImageFile(files[s][subject]) for s in ("T1", "T2") if subject in files[s]}
        there = next(iter(images.values())).path.name
        missing = tuple(folder / s / there for s in ("T1", "T2") if s not in images)
        cases.append(Case(subject, subject, images, missing=missing))
    return cases


def find_zerodose(folder: Path) -> list[Case]:
    """A case per folder with tpm_ files. A contrast-enhanced T1 and a mask are taken where there are some."""
    cases = []
    for place in sorted({p.parent for p in images_in(folder, deep=True) if stem_of(p).lower().startswith("tpm_")}):
        files = {stem_of(p).lower(): p for p in reversed(images_in(place))}
        images = {s: ImageFile(files[name.lower()]) for s, name in _ZERODOSE.items() if name.lower() in files}
        for sequence, names in _ZERODOSE_EXTRA.items():
            path = next((files[n.lower()] for n in names if n.lower() in files), None)
            if path is not None:
                images[sequence] = ImageFile(path)
        mask = next((files[n] for n in _ZERODOSE_MASKS if n in files), None)
        cases.append(
            Case(
                subject=place.name,
                group=place.name,
                images=images,
                masks={} if mask is None else {"": ImageFile(mask)},
                missing=tuple(place / f"{name}.nii" for s, name in _ZERODOSE.items() if s not in images),
            )
        )
    return cases


LAYOUTS = {
    "ncanda": Layout(
        name="ncanda",
        title="NCANDA",
        sequences=("T1", "T2"),
        find=find_ncanda,
        registered=True,
        license="NCANDA data use agreement",
        citation="Brown SA et al., The National Consortium on Alcohol and NeuroDevelopment in Adolescence (NCANDA), "
        "Journal of Studies on Alcohol and Drugs 76(6), 2015; doi:10.7303/syn22216457.",
        url="https://www.ncanda.org",
        preprocessing=ALIGNED,
        common_names=True,
    ),
    "zerodose": Layout(
        name="zerodose",
        title="zero-dose PET",
        sequences=("T1", "FLAIR", "PET", "T1Gd"),
        find=find_zerodose,
        registered=True,
        license="private",
        citation="Ouyang J et al., Representation disentanglement for multi-modal brain MRI analysis, IPMI 2021.",
        url="",
        preprocessing=ALIGNED,
        common_names=True,
    ),
}
