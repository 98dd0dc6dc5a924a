"""How slicer.parameterNodeWrapper stores a typed value in a vtkMRMLScriptedModuleNode.

The same keys and texts as in Slicer: numbers and paths by ``str``, bool as True/False, an enum by name, a
node as a reference under the parameter's name, a list as ``name.len`` and ``name.0`` ..., a dict as a list
of pairs, an optional value under ``name.<index of the type>``.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

import slicer


class Default:
    """Annotation: the first value of a parameter."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        """The value, made anew by the generator if there is one."""
        return self._generator() if self._generator is not None else self._value


class Validator:
    """Annotation: refuses values."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for a value that is not allowed."""
        raise NotImplementedError


class WithinRange(Validator):
    """From minimum to maximum, both included."""

    def __init__(self, minimum: Any, maximum: Any) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        """Raise ValueError outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    """Not below."""

    def __init__(self, minimum: Any) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        """Raise ValueError below."""
        if value < self.minimum:
            raise ValueError(f"Value must not be below {self.minimum}, is {value}")


class Maximum(Validator):
    """Not above."""

    def __init__(self, maximum: Any) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        """Raise ValueError above."""
        if value > self.maximum:
            raise ValueError(f"Value must not be above {self.maximum}, is {value}")


class Choice(Validator):
    """One of a list."""

    def __init__(self, choices: list[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        """Raise ValueError for anything else."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


def split(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    """``Annotated[int, x]`` -> ``(int, (x,))``."""
    if typing.get_origin(annotated) is typing.Annotated:
        arguments = typing.get_args(annotated)
        return arguments[0], arguments[1:]
    return annotated, ()


class Kind:
    """A type that can be stored: checks, writes, reads."""

    default: Any = None

    def check(self, value: Any) -> None:
        """Raise for a value of another type."""

    def present(self, node: Any, name: str) -> bool:
        """Whether the node has a value."""
        return node.HasParameter(name)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store."""
        raise NotImplementedError

    def read(self, node: Any, name: str) -> Any:
        """Fetch."""
        raise NotImplementedError

    def remove(self, node: Any, name: str) -> None:
        """Forget."""
        node.UnsetParameter(name)


class Plain(Kind):
    """A value with a text form."""

    def __init__(self, accepted: Any, to_text: Callable[[Any], str], from_text: Callable[[str], Any], first: Any):
        self._accepted, self._to_text, self._from_text, self.default = accepted, to_text, from_text, first

    def check(self, value: Any) -> None:
        """None and other types are refused."""
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, self._accepted):
            raise TypeError(f"Value must be of type {self._accepted}, is {type(value)} {value!r}")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store the text."""
        node.SetParameter(name, self._to_text(value))

    def read(self, node: Any, name: str) -> Any:
        """Read the text."""
        return self._from_text(node.GetParameter(name))


class NodeReference(Kind):
    """A MRML node or None."""

    def __init__(self, node_class: type) -> None:
        self._class = node_class

    def check(self, value: Any) -> None:
        """Other node classes are refused."""
        if value is not None and not isinstance(value, self._class):
            raise TypeError(f"Value must be of type {self._class}, is {type(value)} {value!r}")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store a reference; the empty parameter says that there is a value."""
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        """The node referred to."""
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        """Forget the reference too."""
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class ObservedList(list):
    """A list whose changes are written to the node."""

    save: Callable[[], None] = staticmethod(lambda: None)


def _saving(method: str) -> Callable[..., Any]:
    def call(self: Any, *args: Any) -> Any:
        result = getattr(type(self).__mro__[1], method)(self, *args)
        self.save()
        return result

    return call


for _name in (
    "append",
    "extend",
    "insert",
    "remove",
    "pop",
    "clear",
    "sort",
    "reverse",
    "__setitem__",
    "__delitem__",
    "__iadd__",
):
    setattr(ObservedList, _name, _saving(_name))


class ObservedDict(dict):
    """A dict whose changes are written to the node; like Slicer's, ``get`` takes no default, ``pop`` neither."""

    save: Callable[[], None] = staticmethod(lambda: None)

    def get(self, key: Any) -> Any:
        """The value or None."""
        return dict.get(self, key)

    def pop(self, key: Any) -> Any:
        """Remove and return."""
        result = dict.pop(self, key)
        self.save()
        return result

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set many."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value


for _name in ("__setitem__", "__delitem__", "clear", "popitem"):
    setattr(ObservedDict, _name, _saving(_name))


class Sequence(Kind):
    """A list of one type."""

    def __init__(self, element: Kind) -> None:
        self._element = element

    @property
    def default(self) -> list[Any]:
        """An empty list."""
        return []

    def present(self, node: Any, name: str) -> bool:
        """Whether a length is stored."""
        return node.HasParameter(f"{name}.len")

    def check(self, value: Any) -> None:
        """Every element is checked."""
        for item in value:
            self._element.check(item)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store the length and the elements."""
        items = list(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            for index, item in enumerate(items):
                self._element.write(node, f"{name}.{index}", item)
            node.SetParameter(f"{name}.len", str(len(items)))

    def read(self, node: Any, name: str) -> ObservedList:
        """The elements."""
        count = int(node.GetParameter(f"{name}.len")) if self.present(node, name) else 0
        result = ObservedList([self._element.read(node, f"{name}.{index}") for index in range(count)])
        result.save = lambda: (self.check(result), self.write(node, name, result))
        return result

    def remove(self, node: Any, name: str) -> None:
        """Forget length and elements."""
        count = int(node.GetParameter(f"{name}.len")) if self.present(node, name) else 0
        for index in range(count):
            self._element.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class Tuple(Kind):
    """A tuple of given types."""

    def __init__(self, elements: list[Kind]) -> None:
        self._elements = elements
        self.default = tuple(element.default for element in elements)

    def present(self, node: Any, name: str) -> bool:
        """Whether the first element is there."""
        return self._elements[0].present(node, f"{name}.0")

    def check(self, value: Any) -> None:
        """Length and every element are checked."""
        if len(value) != len(self._elements):
            raise ValueError("Unexpected number of tuple values")
        for element, item in zip(self._elements, value, strict=True):
            element.check(item)

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store the elements."""
        with slicer.util.NodeModify(node):
            for index, (element, item) in enumerate(zip(self._elements, value, strict=True)):
                element.write(node, f"{name}.{index}", item)

    def read(self, node: Any, name: str) -> Any:
        """The elements."""
        return tuple(element.read(node, f"{name}.{index}") for index, element in enumerate(self._elements))

    def remove(self, node: Any, name: str) -> None:
        """Forget the elements."""
        for index, element in enumerate(self._elements):
            element.remove(node, f"{name}.{index}")


class Mapping(Kind):
    """A dict, stored as a list of pairs."""

    def __init__(self, key: Kind, value: Kind) -> None:
        self._pairs = Sequence(Tuple([key, value]))

    @property
    def default(self) -> dict[Any, Any]:
        """An empty dict."""
        return {}

    def present(self, node: Any, name: str) -> bool:
        """Whether it is stored."""
        return self._pairs.present(node, name)

    def check(self, value: Any) -> None:
        """Keys and values are checked."""
        self._pairs.check(list(value.items()))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store the pairs."""
        self._pairs.write(node, name, list(value.items()))

    def read(self, node: Any, name: str) -> ObservedDict:
        """The pairs as a dict."""
        result = ObservedDict(list(self._pairs.read(node, name)))
        result.save = lambda: (self.check(result), self.write(node, name, result))
        return result

    def remove(self, node: Any, name: str) -> None:
        """Forget the pairs."""
        self._pairs.remove(node, name)


def kind_of(annotated: Any) -> Kind:
    """The kind of a type annotation.

    Raises:
        Exception: Slicer cannot store that type (or the bench cannot: parameter packs, Any, QColor).
    """
    plain, annotations = split(annotated)
    leftover = [item for item in annotations if not isinstance(item, Default | Validator)]
    if leftover:
        raise Exception(f"Unused annotations: {leftover}")
    validators = [item for item in annotations if isinstance(item, Validator)]
    kind = _plain_kind(plain)
    if validators:
        inner = kind.check

        def check(value: Any) -> None:
            inner(value)
            for validator in validators:
                validator.validate(value)

        kind.check = check  # type: ignore[method-assign]
    return kind


def _plain_kind(kind: Any) -> Kind:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        return Plain(bool, lambda value: "True" if value else "False", lambda text: text == "True", False)
    if kind in (int, float):
        return Plain((int, float) if kind is float else int, str, kind, 0)
    if kind is str:
        return Plain(str, str, str, "")
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return Plain(kind, str, kind, kind())
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Plain(kind, lambda value: value.name, lambda text: kind[text], next(iter(kind)))
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeReference(kind)
    if origin is list:
        return Sequence(kind_of(arguments[0]))
    if origin is dict:
        return Mapping(kind_of(arguments[0]), kind_of(arguments[1]))
    if origin is tuple:
        return Tuple([kind_of(argument) for argument in arguments])
    if origin in (typing.Union, types.UnionType):
        return Either(list(arguments))
    raise Exception(f"Unable to create serializer for type: {kind}")


class Either(Kind):
    """A union such as ``str | None``: the value is stored under the index of its type."""

    def __init__(self, options: list[Any]) -> None:
        self._kinds = [Nothing() if option is type(None) else kind_of(option) for option in options]
        self.default = None if any(isinstance(kind, Nothing) for kind in self._kinds) else self._kinds[0].default

    def _index(self, value: Any) -> int:
        for index, kind in enumerate(self._kinds):
            try:
                kind.check(value)
            except (TypeError, ValueError):
                continue
            return index
        raise ValueError(f"{value!r} fits none of the types")

    def check(self, value: Any) -> None:
        """One of the types must take it."""
        self._index(value)

    def present(self, node: Any, name: str) -> bool:
        """Whether any is stored."""
        return any(kind.present(node, f"{name}.{index}") for index, kind in enumerate(self._kinds))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store under one index only."""
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            index = self._index(value)
            self._kinds[index].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Any:
        """The one that is stored."""
        for index, kind in enumerate(self._kinds):
            if kind.present(node, f"{name}.{index}"):
                return kind.read(node, f"{name}.{index}")
        raise KeyError(name)

    def remove(self, node: Any, name: str) -> None:
        """Forget all."""
        for index, kind in enumerate(self._kinds):
            kind.remove(node, f"{name}.{index}")


class Nothing(Kind):
    """None."""

    def check(self, value: Any) -> None:
        """Only None."""
        if value is not None:
            raise ValueError("Value must be None")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store that it is None."""
        node.SetParameter(name, "None")

    def read(self, node: Any, name: str) -> Any:
        """None."""
        return None
