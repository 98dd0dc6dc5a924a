"""The committed name tables are Slicer's, restricted to the classes the bench offers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import names, pythonqt
from bench.api import in_use, reduce


@pytest.fixture
def full_tables(repository: Path) -> Path:
    folder = repository.parent / "shared" / "slicer-api"
    if not folder.is_dir():
        pytest.skip(f"the full tables are not on this machine ({folder})")
    return folder


@pytest.mark.parametrize(
    ("file", "make"), [(reduce.NAMES, reduce.reduce_names), (reduce.SIGNATURES, reduce.reduce_signatures)]
)
def test_the_committed_copy_agrees_with_the_full_table(full_tables: Path, file: str, make: Any) -> None:
    expected = make(json.loads((full_tables / file).read_text(encoding="utf-8")))
    assert json.loads((reduce.HERE / file).read_text(encoding="utf-8")) == expected


def test_the_bench_can_make_every_class_it_offers_or_says_so(slicer_bench: Any) -> None:
    unknown = []
    for full_name in reduce.offered():
        assert names.offers(full_name)
        try:
            pythonqt.native_class_of(full_name)
        except NotImplementedError:
            unknown.append(full_name)
    assert sorted(unknown) == sorted(NOT_IMITATED)


NOT_IMITATED = [
    "ctk.ctkCheckablePushButton",
    "ctk.ctkColorPickerButton",
    "ctk.ctkDoubleRangeSlider",
    "ctk.ctkDoubleSlider",
    "ctk.ctkDoubleSpinBox",
    "ctk.ctkExpandableWidget",
    "ctk.ctkRangeWidget",
    "ctk.ctkWidgetsUtils",
    "slicer.qMRMLRangeWidget",
    "slicer.qMRMLScreenShotDialog",
    "slicer.qMRMLSliderWidget",
    "slicer.qMRMLSpinBox",
    "slicer.qMRMLSubjectHierarchyComboBox",
    "slicer.qMRMLUtils",
    "slicer.qSlicerAbstractModule",
    "slicer.qSlicerAbstractModuleWidget",
    "slicer.qSlicerIOManager",
    "slicer.qSlicerModuleFactoryManager",
]
"""Classes whose names are known, so that their use is refused with the right reason, but which nothing uses yet."""


def test_stand_ins_offer_no_name_that_the_real_class_lacks(slicer_bench: Any) -> None:
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    for name in ("refresh", "accepts", "accepted_nodes", "nodes"):
        with pytest.raises(AttributeError):
            getattr(combo, name)
    for name in names.names_of("slicer.qMRMLNodeComboBox"):
        try:
            getattr(combo, name)
        except NotImplementedError:
            continue


def test_the_list_of_the_api_in_use_is_true() -> None:
    written = in_use.LIST.read_text(encoding="utf-8")
    command = "run: python Testing/bench/api/in_use.py"
    assert in_use.statements(written) == in_use.statements(in_use.text()), command
    unseen = in_use.classes_named() - set(in_use.recorded())
    assert not unseen, f"no run of the bench has used {unseen}: see bench/api/in_use.py"
