"""The part of the parameter node that both modules have."""

from __future__ import annotations

from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from ..sequences import SEQUENCES

DEVICES = ("auto", "cpu", "cuda", "mps")


def input_parameter(sequence: str) -> str:
    """Name of the parameter that holds the volume of a sequence."""
    return f"input{sequence}"


def make_parameters(name: str, **own: tuple[Any, Any]) -> type:
    """A parameter-node wrapper class with the parameters of both modules and those of one.

    A parameter per sequence of the vocabulary, rather than a dictionary, lets every combo box be connected to one.

    Args:
        name: of the class.
        own: parameter -> (type, first value).
    """
    annotations: dict[str, Any] = {
        "bundle": str,
        "device": Annotated[str, Choice(list(DEVICES))],
        "fast": bool,
        "run": str,
        "summary": str,
    }
    values: dict[str, Any] = {"device": DEVICES[0], "fast": False}
    annotations.update({input_parameter(sequence): vtkMRMLScalarVolumeNode for sequence in SEQUENCES})
    for key, (kind, value) in own.items():
        annotations[key], values[key] = kind, value
    return parameterNodeWrapper(type(name, (), {"__module__": __name__, "__annotations__": annotations, **values}))
