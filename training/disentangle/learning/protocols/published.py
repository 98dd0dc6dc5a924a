"""The numbers that the five papers print, to stand beside those measured here (method-spec 1f, 2f, 3f, 4, 5f).

Columns are named "<data set of the paper> <column of the protocol>", so that a protocol that is compared with "BraTS"
finds its column "T1 PSNR" as "BraTS T1 PSNR". The papers' data sets are not the ones at hand unless a report says so:
the numbers show the order of magnitude and of the methods, no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A printed table.

    Attributes:
        title: paper and table.
        columns: names of the columns.
        rows: method -> cells as printed ("82±3", "25.603"; "-" where there is none), in the order of the columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]

    def cell(self, method: str, column: str) -> str | None:
        """The printed cell, None where the paper has none."""
        if method not in self.rows or column not in self.columns:
            return None
        text = self.rows[method][self.columns.index(column)]
        return None if text == "-" else text

    def numbers(self, method: str, column: str) -> tuple[float, float | None] | None:
        """Mean and standard deviation (None where not printed) of a cell."""
        found = re.fullmatch(r"([\d.]+)(?:±([\d.]+))?", self.cell(method, column) or "")
        return None if found is None else (float(found[1]), float(found[2]) if found[2] else None)


def table(name: str) -> Table | None:
    """The printed table of a protocol ("E000-1"); None where the paper prints none."""
    return TABLES.get(name)


def _columns(groups: str, conditions: str) -> tuple[str, ...]:
    """Every condition of every group: "A, B" and "x, y" give "A x", "A y", "B x", "B y"."""
    return tuple(f"{g.strip()} {c.strip()}" for g in groups.split(",") for c in conditions.split(","))


def _table(title: str, columns: tuple[str, ...], text: str) -> Table:
    """Rows are "method: cell cell ..."; bars, for the reader, separate groups."""
    rows = {}
    for line in text.strip().splitlines():
        method, _, cells = line.strip().partition(": ")
        rows[method] = tuple(cells.replace("|", " ").split())
        if len(rows[method]) != len(columns):
            raise ValueError(f"{title}: the row {method} has {len(rows[method])} cells, not {len(columns)}")
    return Table(title, columns, rows)


_E001_DATA = "ERI LGE, ERI cine, BOLD BOLD, BOLD cine, CHAOS T2SPIR, CHAOS T1in"

TABLES: dict[str, Table] = {
    "E000-1": _table(
        "Ouyang et al. 2021, table 1: cross-reconstruction (PSNR in dB, SSIM)",
        _columns("ZeroDose T1, ZeroDose FLAIR, NCANDA T1, NCANDA T2", "PSNR, SSIM")
        + _columns("BraTS T1, BraTS T1Gd, BraTS T2, BraTS FLAIR", "PSNR, SSIM"),
        """
        Conv+NA: 25.603 .682 24.435 .612 | 29.719 .849 28.077 .808 | 27.304 .717 24.897 .638 25.148 .621 25.166 .617
        Conv+Adv: 27.131 .742 25.846 .674 | 30.421 .866 27.950 .807 | 27.485 .717 25.385 .656 25.951 .658 26.135 .642
        Conv+Sim: 27.222 .735 25.970 .667 | 30.266 .863 28.367 .825 | 27.892 .756 26.114 .723 26.479 .744 26.588 .692
        CondConv+Sim: 27.231 .742 25.978 .681 30.331 .865 28.451 .832 | 27.916 .752 26.221 .731 26.445 .735 26.489 .687
        """,
    ),
    "E000-3": _table(
        "Ouyang et al. 2021, table 2: missing input (ZeroDose: PSNR in dB, SSIM; BraTS: mean Dice of ET, ED, NCR/NET)",
        _columns("ZeroDose all, ZeroDose -T1, ZeroDose -FLAIR", "PSNR, SSIM")
        + _columns("BraTS", "all Dice, -T1 Dice, -T1Gd Dice, -T2 Dice, -FLAIR Dice"),
        """
        Standard+Zero: 25.475 .739 18.122 .436 18.886 .435 | .826 .364 .240 .616 .298
        Standard+Avg: 25.475 .739 24.425 .676 23.137 .631 | .826 .724 .279 .733 .452
        Fused anatomies: 25.386 .729 24.610 .682 24.193 .674 | .821 .782 .779 .758 .772
        """,
    ),
    "E001-I": _table(
        "Chartsias et al. 2021 (DAFNet), table I: joint Dice in %, masks of the target for all or no subjects",
        _columns(_E001_DATA, "100 %") + _columns(_E001_DATA, "0 %"),
        """
        copy: 67±06 67±06 80±01 80±01 71±10 71±10 | 67±06 67±06 80±01 80±01 71±10 71±10
        register: 68±07 67±05 81±04 84±05 70±07 73±05 | 68±07 67±05 81±04 84±05 70±07 73±05
        AC: 66±15 66±13 68±02 72±05 65±22 65±22 | 66±15 66±13 68±02 72±05 65±22 65±22
        UNet-single: 78±04 85±08 91±01 89±01 85±17 86±05 | - - - - - -
        SDNet-single: 80±03 84±09 89±03 88±04 83±16 85±08 | - - - - - -
        UNet-multi: 81±03 83±08 89±03 88±02 85±15 88±03 | 38±23 68±12 68±23 85±05 - -
        SDNet-multi: 80±05 86±05 89±02 87±03 85±11 88±01 | 61±18 73±07 80±03 85±03 51±09 63±13
        DualStream: 80±06 86±09 89±09 88±02 85±16 85±09 | 38±23 68±12 68±23 85±05 - -
        Translation: 79±06 84±05 83±06 88±02 83±09 87±06 | 37±23 61±13 61±10 74±07 - 45±11
        DADR: 79±05 83±06 88±04 86±02 84±16 72±22 | 46±19 63±13 68±11 85±01 - 49±17
        DAFNet, single input: 82±03 86±02 88±01 91±02 83±17 88±01 | 72±06 78±05 78±02 82±03 72±12 71±06
        DAFNet, multi input: 82±03 84±02 91±01 91±01 85±05 87±01 | 74±04 76±04 85±03 86±02 74±03 71±06
        """,
    ),
    "E001-II": _table(
        "Chartsias et al. 2021 (DAFNet), table II: joint Dice in %, masks of some subjects of the target",
        _columns("ERI LGE, BOLD BOLD, CHAOS T2SPIR", "50 %, 25 %, 12.5 %"),
        """
        UNet-single: 76±12 66±14 51±21 | 79±17 59±27 49±29 | 80±17 76±15 72±17
        SDNet-single: 76±04 69±09 54±18 | 84±03 68±17 64±14 | 82±14 77±16 75±14
        UNet-multi: 76±08 67±11 50±19 | 87±03 75±17 72±13 | 84±15 79±16 75±16
        SDNet-multi: 76±04 73±07 64±19 | 86±07 85±03 80±03 | 84±11 80±13 78±09
        DualStream: 76±03 61±13 44±23 | 86±01 58±26 49±28 | 81±19 78±16 75±16
        Translation: 75±07 67±14 62±14 | 84±02 79±06 47±26 | 81±07 75±11 70±10
        DADR: 77±05 66±11 57±19 | 87±02 79±01 71±15 | 84±11 77±14 74±11
        DAFNet, multi input: 78±04 70±05 74±05 | 87±01 86±03 85±03 | 84±05 82±03 79±05
        """,
    ),
    "E001-III": _table(
        "Chartsias et al. 2021 (DAFNet), table III: joint Dice in % of LGE by the way slices are paired",
        _columns("ERI LGE", "copy, 0 %, 100 %"),
        """
        expert pairs: 67±06 74±04 82±03
        learned pairs: - 71±06 80±03
        random pairs: 44±16 65±08 77±06
        """,
    ),
    "E001-IV": _table(
        "Chartsias et al. 2021 (DAFNet), table IV and section VI: joint Dice in % of LGE without parts of the method",
        _columns("ERI LGE", "0 %, 100 %"),
        """
        only L_adv^M: 66±07 81±03
        without L_adv^M: 72±02 80±03
        without L_adv^I: 65±05 71±17
        without L_rec^z: 71±04 81±03
        without STN: 71±06 75±06
        SPADE decoder: 73±04 82±03
        all: 74±04 82±03
        """,
    ),
    "E001-sizes": _table(
        "Chartsias et al. 2021 (DAFNet), section VI: joint Dice in % by the channels of the anatomy factor",
        ("ERI LGE", "CHAOS T2SPIR"),
        """
        C = 4: 82±02 74±12
        C = 8: - 85±05
        C = 16: 82±02 85±05
        """,
    ),
    "E002-1": _table(
        "Liu et al. 2021, table 1: 12 translations (L1 most plausibly summed over 128 x 128 pixels in [-1, 1])",
        _columns("BraTS", "L1, SSIM, PSNR"),
        """
        12 x Pix2Pix: 171.3±0.4 .9206±.0013 24.12±.02
        UCD without L_disen: 159.8±0.3 .9594±.0016 25.21±.02
        UCD: 157.2±0.2 .9625±.0012 25.92±.01
        """,
    ),
    "E002-2": _table(
        "Liu et al. 2021, table 2: whole-tumour Dice from one real and three synthetic sequences",
        _columns("BraTS", "Dice"),
        """
        12 x Pix2Pix completed: .7436±.0017
        4 x TC-MGAN completed: .7673±.0014
        UCD without L_disen completed: .7791±.0013
        UCD completed: .7862±.0015
        four real sequences: .8142±.0012
        T2 only: .7404
        """,
    ),
    "E003": _table(
        "Chartsias et al. 2019 (MMSDNet), table 1: Dice in % of LGE (avg is the joint Dice)",
        _columns("ERI LGE MYO, ERI LGE LV, ERI LGE avg", "100 %, 50 %, 25 %, 0 %"),
        """
        copy: 50±05 50±05 50±05 50±05 | 81±06 81±06 81±06 81±06 | 67±06 67±06 67±06 67±06
        register: 51±08 51±08 51±08 51±08 | 80±07 80±07 80±07 80±07 | 68±07 68±07 68±07 68±07
        UNet-single: 66±07 64±11 51±10 - | 87±03 83±13 75±15 - | 78±04 76±12 66±14 -
        UNet-multi: 69±02 64±10 56±09 27±17 | 89±02 84±08 79±12 44±27 | 81±03 76±08 71±10 38±23
        DualStream: 65±01 64±05 48±08 27±17 | 86±03 84±04 69±17 44±27 | 80±06 76±03 61±13 38±23
        MMSDNet, single input: 69±02 64±08 61±07 56±07 | 86±04 81±10 84±06 83±04 | 80±04 75±08 75±06 72±06
        MMSDNet, multi input: 69±03 65±04 63±03 59±05 | 89±02 85±04 87±03 84±03 | 81±02 77±04 77±03 74±04
        """,
    ),
    "E004-1": _table(
        "Yang et al. (DALACE), table 1: liver Dice, CT to pre-contrast MR",
        _columns("LiTS", "MR Dice"),
        """
        lower bound: .260±.072
        upper bound: .869±.044
        CycleGAN: .721±.049
        TD-GAN: .793±.066
        DADR: .806±.035
        DALACE: .847±.041
        """,
    ),
    "E004-2": _table(
        "Yang et al. (DALACE), table 2: liver Dice, CT to three phases of MR at once",
        _columns("LiTS", "MR Dice"),
        """
        lower bound: .228±.130
        upper bound: .823±.057
        CycleGAN: .522±.064
        TD-GAN: .719±.089
        DADR: .742±.045
        DALACE: .794±.044
        """,
    ),
    "E004-3": _table(
        "Yang et al. (DALACE), table 3: joint learning, liver Dice",
        _columns("LiTS", "CT Dice, MR Dice"),
        """
        CT U-Net: .901±.020 .260±.072
        MR U-Net: .134±.091 .869±.044
        CT+MR U-Net: .835±.035 .590±.098
        joint CycleGAN: .870±.023 .846±.048
        joint TD-GAN: .880±.018 .863±.029
        joint DADR: .912±.012 .891±.040
        joint DALACE: .911±.013 .907±.049
        """,
    ),
    "E004-4": _table(
        "Yang et al. (DALACE), table 4: ablation, liver Dice",
        _columns("LiTS", "MR Dice DA, MR Dice DAL"),
        """
        no disentanglement (TD-GAN): .793±.066 .719±.089
        no DAM: .776±.078 .702±.132
        no APM (DADR): .806±.035 .742±.041
        DALACE: .847±.041 .794±.044
        """,
    ),
}  # fmt: skip
