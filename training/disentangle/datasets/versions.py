"""Which code made a cached subject: a fingerprint of the modules that it went through."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path


def _sources() -> dict[str, str]:
    """Module -> its text, for the whole package."""
    root = Path(__file__).resolve().parent.parent
    texts = {}
    for path in root.rglob("*.py"):
        place = path.relative_to(root).with_suffix("")
        module = place.parent if place.name == "__init__" else place
        texts[".".join(module.parts)] = path.read_text(encoding="utf-8")
    return texts


# Read now, 10 ms: whoever edits a phantom while a training runs must not give its old pictures the new code's key.
_SOURCES = _sources()


@cache
def code_version(starts: tuple[str, ...], alone: tuple[str, ...] = ()) -> str:
    """A fingerprint of modules of this package, for the keys of what they make.

    A constant that somebody has to raise by hand was forgotten whenever a phantom changed, and training went on with
    the old pictures. This one follows the code: statements count; comments, docstrings and layout do not, so that a
    better explanation does not cost an hour of phantoms. Only modules that a start imports count: a new heart does not
    throw away brains. (Syntax trees differ a little between versions of Python, which then make their own.)

    Args:
        starts: dotted names below the package ("phantoms.heart"); they count with everything of the package that they
            import, directly or not.
        alone: these count without what they import.

    Raises:
        ValueError: there is no such module.
    """
    return fingerprint(_SOURCES, starts, alone)


def fingerprint(sources: Mapping[str, str], starts: tuple[str, ...], alone: tuple[str, ...] = ()) -> str:
    """:func:`code_version` of the given sources (module -> text)."""
    if unknown := set(starts + alone) - set(sources):
        raise ValueError(f"there is no module {min(unknown)} in this package")
    found, waiting = set(alone), list(starts)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_imports(module, sources))
    digest = hashlib.sha256()
    for module in sorted(found):
        digest.update(f"{module} {_statements(sources[module])}\n".encode())
    return digest.hexdigest()[:16]


def _imports(module: str, sources: Mapping[str, str]) -> Iterator[str]:
    """What a module imports relatively; this package has no imports of its own modules but those."""
    is_package = any(other.startswith(f"{module}.") for other in sources)
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(_tree(sources[module])):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                # A name is a module of a package, or something that a module defines.
                inner = ".".join([*base, alias.name])
                yield inner if inner in sources else ".".join(base)


@cache
def _statements(source: str) -> str:
    """Digest of what a source does, whatever it says about it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [s for s in body if not _is_text(s)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, or text below an attribute."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
