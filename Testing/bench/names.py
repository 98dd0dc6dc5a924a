"""Which names a class of Slicer's Python offers, from the tables dumped out of Slicer 5.13."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

API = Path(__file__).resolve().parent / "api"
LIVE = {"slicer.qSlicerApplication": "slicer.app", "slicer.qSlicerLayoutManager": "slicer.app.layoutManager()"}
"""Classes of which the application has one object; what that object offers is more exact than its class."""


@cache
def _table(name: str) -> dict[str, Any]:
    return json.loads((API / name).read_text(encoding="utf-8"))


def offers(full_name: str) -> bool:
    """Whether the bench knows the class ``full_name``, for example ``qt.QLabel``."""
    return full_name in LIVE or full_name in _table("pythonqt-names.json")["classes"]


@cache
def names_of(full_name: str) -> frozenset[str]:
    """Every attribute of a class, ``qt.QLabel`` or ``slicer.qMRMLWidget``, included classes too."""
    if full_name in LIVE:
        return object_names(LIVE[full_name])
    entry = _table("pythonqt-names.json")["classes"][full_name]
    names = set(entry["names"])
    if entry.get("includes"):
        names |= names_of(entry["includes"])
    if listed_without_properties(full_name):
        for table in qt_api_chain(full_name.split(".")[1]):
            names |= set(table["properties"]) | set(table["signals"]) | set(table["slots"]) | set(table["invokables"])
    return frozenset(names)


def listed_without_properties(full_name: str) -> bool:
    """Some classes could not be instantiated for the dump: their entry lacks the Qt properties."""
    return full_name not in LIVE and _table("pythonqt-names.json")["classes"][full_name].get("from") == "class"


@cache
def object_names(live_object: str) -> frozenset[str]:
    """Every attribute of a live object: ``slicer.app``, ``slicer.app.layoutManager()``, ``sliceWidget``, ..."""
    return frozenset(_table("pythonqt-names.json")["objects"][live_object])


@cache
def qt_api_chain(class_name: str) -> tuple[dict[str, Any], ...]:
    """The QObject tables of a qMRML*, qSlicer* or ctk* class and of its bases, itself first; empty for Qt's own."""
    table = _table("slicer-ctk-qt-api.json").get(class_name)
    return () if table is None else (table, *qt_api_chain(table["base"]))


@cache
def qt_properties(class_name: str) -> dict[str, dict[str, Any]]:
    """Qt properties of a custom class, inherited ones too: name -> {type, writable, notify?}."""
    found: dict[str, dict[str, Any]] = {}
    for table in reversed(qt_api_chain(class_name)):
        found.update(table["properties"])
    return found


@cache
def qt_signals(class_name: str) -> dict[str, list[list[str]]]:
    """Signals of a custom class, inherited ones too: name -> argument lists, one for each overload."""
    found: dict[str, list[list[str]]] = {}
    for table in reversed(qt_api_chain(class_name)):
        found.update(table["signals"])
    return found


@cache
def qt_methods(class_name: str) -> dict[str, list[list[str]]]:
    """Slots and invokables of a custom class, inherited ones too: name -> argument lists of the overloads."""
    found: dict[str, list[list[str]]] = {}
    for table in reversed(qt_api_chain(class_name)):
        for kind in ("slots", "invokables"):
            for name, overloads in table[kind].items():
                found.setdefault(name, []).extend(overload["args"] for overload in overloads)
    return found
