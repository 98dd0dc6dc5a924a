"""Where the slice views of a layout lie: from its XML to pixels."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

AREA = (1600, 900)
"""Width and height in pixels of the area that all views share, as on a full-HD screen beside the panel."""
CAPTION = 18
"""Height in pixels of the bar above each slice view."""

Place = tuple[str, float, float, float, float]


def places(layout_node: Any) -> list[Place]:
    """The slice views of the present layout: (layout name, x, y, width, height) as shares of the whole area."""
    found: list[Place] = []
    _collect(ElementTree.fromstring(layout_node.GetCurrentLayoutDescription()), (0.0, 0.0, 1.0, 1.0), found)
    return found


def _collect(element: ElementTree.Element, area: tuple[float, float, float, float], found: list[Place]) -> None:
    x, y, width, height = area
    if element.tag == "view":
        if element.get("class") == "vtkMRMLSliceNode":
            found.append((element.get("singletontag", ""), x, y, width, height))
        return
    items = element.findall("item")
    if element.get("type") == "tab":
        items = items[:1]
    for index, item in enumerate(items):
        share = 1.0 / len(items)
        if element.get("type", "horizontal") == "vertical":
            inner = (x, y + height * share * index, width, height * share)
        else:
            inner = (x + width * share * index, y, width * share, height)
        for child in item:
            if child.tag in ("view", "layout"):
                _collect(child, inner, found)


def pixels(place: Place, width: int, height: int) -> tuple[int, int, int, int]:
    """x, y, width and height in pixels of a slice view without its bar, in an area of the given size."""
    _name, x, y, w, h = place
    left, top = round(x * width), round(y * height)
    return left, top, round((x + w) * width) - left - 2, round((y + h) * height) - top - 2 - CAPTION
