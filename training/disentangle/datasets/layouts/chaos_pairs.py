"""Which T1 and T2 slices of CHAOS show the same place, by an expert, and the published splits (method-spec,
appendix B: facts from the data loader of DAFNet, Chartsias et al., IEEE TMI 2021)."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InputError

EXPERT_PAIRS: Mapping[int, tuple[str, str]] = {
    1: ("0..4, 7..9, 13..16, 18..25", "5..24"),
    2: ("4..6, 8..15, 17..22", "3..13, 15..20"),
    3: ("11..13, 15..25", "9..22"),
    5: ("4, 8..14, 16..23", "2..7, 11..12, 14..21"),
    8: ("7..12, 14..28", "6..26"),
    10: ("14..21, 26..31, 33..37", "5..23"),
    13: ("4..28", "3..27"),
    15: ("0..21", "0..21"),
    19: ("8..26", "5..23"),
    20: ("2..20", "2..20"),
    21: ("3..18", "5..20"),
    22: ("8..16, 18..25", "3..11, 15..22"),
    31: ("7..22", "5..11, 13..21"),
    32: ("5..31", "3..29"),
    33: ("7..-6", "3..11, 15..-3"),
    34: ("1, 3, 5, 7..17, 19, 21, 23..25", "2..20"),
    36: ("8..24", "4..5, 7..21"),
    37: ("9..22, 24..-2", "4..5, 7..20, 22..-8"),
    38: ("9..23", "9..23"),
    39: ("3..21", "3..21"),
}
"""Volume -> slices of T1 and of T2, partners at the same place in the lists; ranges include their ends, negative
numbers count from the end. Slices are numbered from 0 after sorting the files in *descending* order of the number
after the last "-" of their names."""

_TESTED = (((31, 36, 13), (10, 22, 34)), ((13, 3, 20), (5, 15, 39)), ((37, 13, 33), (1, 19, 32)))


def published_splits() -> list[dict[str, list[str]]]:
    """Fold -> part -> volumes, as DAFNet used them. Volume 13 is in the validation part of all three."""
    folds = []
    for validation, test in _TESTED:
        rest = [v for v in EXPERT_PAIRS if v not in validation + test]
        parts = {"training": rest, "validation": validation, "test": test}
        folds.append({part: [str(v) for v in volumes] for part, volumes in parts.items()})
    return folds


def expert_pairs(volume: int, t1_slices: int, t2_slices: int) -> tuple[list[int], list[int]] | None:
    """The paired slices of a volume; None for a volume that is not in the table.

    Args:
        volume: number of the subject.
        t1_slices, t2_slices: how many files there are of each.

    Raises:
        InputError: the lists differ in length or name a slice that is not there: files are missing, or not those that
            the table is about.
    """
    if volume not in EXPERT_PAIRS:
        return None
    lists = [_numbers(text, count) for text, count in zip(EXPERT_PAIRS[volume], (t1_slices, t2_slices), strict=True)]
    outside = any(min(n) < 0 or max(n) >= c for n, c in zip(lists, (t1_slices, t2_slices), strict=True))
    if outside or len(lists[0]) != len(lists[1]):
        raise InputError(
            f"The expert pairs of CHAOS volume {volume} do not fit its {t1_slices} T1 and {t2_slices} T2 slices; "
            "check that its DICOM files are complete, or set data.dataset.pairs=position."
        )
    return lists[0], lists[1]


def _numbers(text: str, count: int) -> list[int]:
    """The numbers that a list of ranges such as "4, 8..14, 22..-8" names among ``count`` slices."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("..")
        start, end = (n + count if n < 0 else n for n in (int(first), int(last or first)))
        numbers += range(start, end + 1)
    return numbers
