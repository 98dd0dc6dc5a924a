"""MS-CMRSeg 2019: patient<N>_{C0,T2,LGE}.nii.gz and _manual masks, those of some patients only."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError
from ..cases import Case, ImageFile, Layout, files_named

_NAMES = {"c0": "cine", "t2": "T2", "lge": "LGE"}
_LABELS = {200: "myocardium", 500: "left ventricle", 600: "right ventricle"}


def find(folder: Path) -> list[Case]:
    """A case per patient. Masks lie in c0gt, t2gt, lgegt and, of later releases, in folders of other names; a patient
    or a sequence without one is not annotated."""
    images: dict[int, dict[str, Path]] = {}
    masks: dict[int, dict[str, Path]] = {}
    for path, match in files_named(folder, r"patient(\d+)_(C0|T2|LGE)(_manual)?"):
        files = (masks if match[3] else images).setdefault(int(match[1]), {})
        sequence = _NAMES[match[2].lower()]
        if sequence in files:
            raise InputError(f"{files[sequence]} and {path} are both {path.name}; take one of them away.")
        files[sequence] = path
    cases = []
    for number, files in images.items():
        place = next(iter(files.values())).parent
        absent = [key for key, sequence in _NAMES.items() if sequence not in files]
        known = {s: masks.get(number, {}).get(s) for s in _NAMES.values()}
        cases.append(
            Case(
                subject=f"patient{number}",
                group=f"patient{number}",
                images={s: ImageFile(files[s]) for s in _NAMES.values() if s in files},
                sequence_labels={s: ImageFile(p) for s, p in known.items() if p is not None and s in files},
                label_names=_LABELS,
                missing=tuple(place / f"patient{number}_{key.upper()}.nii.gz" for key in absent),
            )
        )
    return cases


LAYOUTS = {
    "mscmrseg": Layout(
        name="mscmrseg",
        title="MS-CMRSeg 2019",
        sequences=("cine", "T2", "LGE"),
        find=find,
        registered=False,
        license="MS-CMRSeg challenge agreement (research, with citation)",
        citation="Zhuang X et al., Cardiac segmentation on late gadolinium enhancement MRI: a benchmark study from "
        "multi-sequence cardiac MR segmentation challenge, Medical Image Analysis 81:102528, 2022; Zhuang X, "
        "Multivariate mixture model for myocardial segmentation, IEEE TPAMI 41(12), 2019.",
        url="https://zmiclab.github.io/zxh/0/mscmrseg19",
        preprocessing={"normalization": "slice_percentile", "spacing": [1.5625, 1.5625, 1.5625]},
        centre="left ventricle",
    )
}
