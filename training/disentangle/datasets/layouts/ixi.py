"""IXI: IXI<id>-<site>-<number>-<sequence>.nii.gz in one folder or one per sequence; some sequences are missing."""

from __future__ import annotations

from pathlib import Path

from ..cases import Case, ImageFile, Layout, files_named

_SEQUENCES = ("T1", "T2", "PD")
_SITES = {"guys": "Guy's Hospital, Philips 1.5 T", "hh": "Hammersmith Hospital, Philips 3 T"}
_SITES["iop"] = "Institute of Psychiatry, GE 1.5 T"


def find(folder: Path) -> list[Case]:
    """A case per examination; a sequence that is not there was not taken or not published."""
    found: dict[str, dict[str, Path]] = {}
    places: dict[str, tuple[str, str]] = {}
    for path, match in files_named(folder, r"(IXI\d+)-([A-Za-z]+)-(\d+)-(T1|T2|PD)"):
        subject = f"{match[1]}-{match[2]}-{match[3]}"
        found.setdefault(subject, {})[match[4].upper()] = path
        places[subject] = match[1], match[2]
    return [
        Case(
            subject=subject,
            group=places[subject][0],
            images={s: ImageFile(files[s]) for s in _SEQUENCES if s in files},
            about={"site": places[subject][1], "scanner": _SITES.get(places[subject][1].lower(), "unknown")},
        )
        for subject, files in found.items()
    ]


LAYOUTS = {
    "ixi": Layout(
        name="ixi",
        title="IXI",
        sequences=_SEQUENCES,
        find=find,
        registered=True,
        license="CC BY-SA 3.0",
        citation="IXI Dataset, Imperial College London and University College London, EPSRC GR/S21533/02.",
        url="https://brain-development.org/ixi-dataset",
    )
}
