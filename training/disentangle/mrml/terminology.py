"""Standard codes of the classes, as Slicer's segments carry them. The codes themselves come from the bundle's card."""

from __future__ import annotations

from collections.abc import Mapping

import slicer

CONTEXT = "Segmentation category and type - DICOM master list"
"""Name of the list in which Slicer's Terminologies module looks the codes up."""

_NOTHING = ("", "", "")


def terminology_entry(codes: Mapping[str, Mapping[str, str]]) -> str:
    """The text that ``vtkSegment.SetTerminology`` takes.

    Args:
        codes: ``category``, ``type`` and where there is one ``modifier`` of :class:`~disentangle.bundles.ClassInfo`,
            each with ``scheme``, ``value`` and ``meaning``.
    """
    parts = [CONTEXT]
    for key in ("category", "type", "modifier"):
        code = codes.get(key)
        parts += _NOTHING if code is None else [code["value"], code["scheme"], code["meaning"]]
    region_context, region, region_modifier = "", _NOTHING, _NOTHING
    parts += [region_context, *region, *region_modifier]
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(*parts)
