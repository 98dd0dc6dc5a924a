"""Reads the few CMake commands that say which files of a Slicer extension are installed where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"()#]+)|(\()|(\))|(#[^\n]*)')
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
SLICER_LIB = "lib/Slicer-5.13/qt-scripted-modules"
_IGNORED = {
    "cmake_minimum_required", "project", "find_package", "include", "message", "option", "mark_as_advanced",
    "slicer_add_python_unittest", "enable_testing", "cmake_policy", "list_end", "set_property", "math",
}  # fmt: skip
_KEYWORDS = {
    "TARGET_NAME", "NAME", "SCRIPTS", "RESOURCES", "SOURCE_DIR", "DESTINATION_DIR", "INSTALL_DIR",
    "NO_INSTALL_SUBDIR", "GLOBAL_TARGET", "WITH_GENERIC_TESTS", "WITH_SUBDIR", "VERBOSE",
    "FILES", "DIRECTORY", "DESTINATION", "COMPONENT", "USE_SOURCE_PERMISSIONS", "PROGRAMS",
}  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """One file: where it is and where in the install tree it goes; ``script`` ones are byte-compiled."""

    source: Path
    target: str
    script: bool


class CMakeLists:
    """Evaluates CMakeLists.txt files, starting with the top one.

    Args:
        root: the folder of the top-level CMakeLists.txt.

    Raises:
        NotImplementedError: a command that this reader does not understand.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.installed: list[Installed] = []
        self.variables: dict[str, str] = {
            "CMAKE_SOURCE_DIR": str(root),
            "CMAKE_BINARY_DIR": "/build",
            "Slicer_QTSCRIPTEDMODULES_LIB_DIR": SLICER_LIB,
            "Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR": SLICER_LIB,
            "Slicer_INSTALL_ROOT": "",
            "Slicer_BUILD_DIR": "/slicer",
        }
        self._run_folder(root)
        self.project = self.variables.get("PROJECT_NAME", "")

    def _run_folder(self, folder: Path) -> None:
        outer = dict(self.variables)
        self.variables["CMAKE_CURRENT_SOURCE_DIR"] = str(folder)
        self.variables["CMAKE_CURRENT_LIST_DIR"] = str(folder)
        self.variables["CMAKE_CURRENT_BINARY_DIR"] = "/build/" + folder.relative_to(self.root).as_posix()
        self._run(_commands((folder / "CMakeLists.txt").read_text(encoding="utf-8")))
        top = folder == self.root
        self.variables = self.variables if top else outer

    def _run(self, commands: list[tuple[str, list[tuple[str, bool]]]]) -> None:
        index = 0
        while index < len(commands):
            name, raw = commands[index]
            if name in ("if", "foreach"):
                end = _matching(commands, index)
                body = commands[index + 1 : end]
                if name == "foreach":
                    self._foreach([value for value, _ in raw], body)
                elif not any(value == "BUILD_TESTING" for value, _ in raw):
                    self._run([item for item in body if item[0] not in ("else", "elseif")])
                index = end
            else:
                self._command(name, self._expand(raw), raw)
            index += 1

    def _foreach(self, words: list[str], body: list[tuple[str, list[tuple[str, bool]]]]) -> None:
        if words[1:3] == ["IN", "LISTS"]:
            items = [item for name in words[3:] for item in self.variables.get(name, "").split(";") if item]
        else:
            items = self._expand([(word, False) for word in words[1:] if word not in ("IN", "ITEMS")])
        for item in items:
            self.variables[words[0]] = item
            self._run(body)

    def _substitute(self, text: str) -> str:
        while _VARIABLE.search(text):
            text = _VARIABLE.sub(lambda match: self.variables.get(match.group(1), ""), text)
        return text

    def _expand(self, raw: list[tuple[str, bool]]) -> list[str]:
        values: list[str] = []
        for text, quoted in raw:
            value = self._substitute(text)
            values += [value] if quoted else [part for part in value.split(";") if part]
        return values

    def _command(self, name: str, values: list[str], raw: list[tuple[str, bool]]) -> None:
        if name == "project":
            self.variables["PROJECT_NAME"] = values[0]
            self.variables[f"{values[0]}_SOURCE_DIR"] = self.variables["PROJECT_SOURCE_DIR"] = str(self.root)
        elif name == "set":
            self.variables[values[0]] = ";".join(values[1:])
        elif name == "list":
            self._list(values)
        elif name == "file" and values[0].startswith("GLOB"):
            self._glob(values)
        elif name == "get_filename_component":
            path = Path(values[1])
            kinds = {"DIRECTORY": path.parent, "PATH": path.parent, "NAME": path.name}
            self.variables[values[0]] = str(kinds.get(values[2], path.resolve()))
        elif name == "add_subdirectory":
            folder = Path(self.variables["CMAKE_CURRENT_SOURCE_DIR"]) / values[0]
            if (folder / "CMakeLists.txt").is_file():
                self._run_folder(folder)
            elif "Testing" not in values[0]:
                raise FileNotFoundError(f"add_subdirectory({values[0]}): no CMakeLists.txt there")
        elif name in ("slicermacrobuildscriptedmodule", "ctkmacrocompilepythonscript"):
            self._compile(values)
        elif name == "configure_file":
            self._copy(values)
        elif name == "install":
            self._install(values)
        elif name not in _IGNORED:
            raise NotImplementedError(f"CMake command {name}({' '.join(value for value, _ in raw)})")

    def _list(self, values: list[str]) -> None:
        kept = [item for item in self.variables.get(values[1], "").split(";") if item]
        if values[0] == "APPEND":
            kept += values[2:]
        elif values[0] == "REMOVE_ITEM":
            kept = [item for item in kept if item not in values[2:]]
        elif values[0] == "FILTER" and values[3] == "REGEX":
            keep = values[2] == "INCLUDE"
            kept = [item for item in kept if bool(re.search(values[4], item)) == keep]
        elif values[0] != "SORT":
            raise NotImplementedError(f"list({values[0]})")
        self.variables[values[1]] = ";".join(kept)

    def _glob(self, values: list[str]) -> None:
        rest = [value for value in values[2:] if value != "CONFIGURE_DEPENDS"]
        base = Path(self.variables["CMAKE_CURRENT_SOURCE_DIR"])
        relative = None
        if rest[0] == "RELATIVE":
            relative, rest = Path(rest[1]), rest[2:]
        found: list[str] = []
        for pattern in rest:
            path = Path(pattern) if Path(pattern).is_absolute() else base / pattern
            search = path.parent.rglob if values[0] == "GLOB_RECURSE" else path.parent.glob
            for hit in sorted(search(path.name)):
                found.append(hit.relative_to(relative).as_posix() if relative else hit.as_posix())
        self.variables[values[1]] = ";".join(found)

    def _compile(self, values: list[str]) -> None:
        """Scripts and resources go to the same relative path below the destination, then all is installed."""
        named = _named([part for value in values for part in value.split(";") if part])
        source = Path((named.get("SOURCE_DIR") or [self.variables["CMAKE_CURRENT_SOURCE_DIR"]])[0])
        place = SLICER_LIB
        if "DESTINATION_DIR" in named:
            destination = named["DESTINATION_DIR"][0]
            if not destination.startswith("/build/"):
                raise ValueError(f"DESTINATION_DIR {destination} is not below CMAKE_BINARY_DIR")
            place = named["INSTALL_DIR"][0]
            if "NO_INSTALL_SUBDIR" not in named:
                place = f"{place}/{Path(destination).name}"
        for entry in named.get("SCRIPTS", []):
            entry = entry if entry.endswith(".py") else f"{entry}.py"
            self._add(source, entry, place, script=True)
        for entry in named.get("RESOURCES", []):
            self._add(source, entry, place, script=False)

    def _put(self, item: Installed) -> None:
        """Data files are often named twice, for the build tree and for the installed one: that is one file."""
        if item not in self.installed:
            self.installed.append(item)

    def _copy(self, values: list[str]) -> None:
        """A file put into the folder of the build tree that CTK installs as a whole."""
        if values[2:] != ["COPYONLY"] or not values[1].startswith(f"/build/{SLICER_LIB}/"):
            raise NotImplementedError(f"configure_file({' '.join(values)})")
        self._put(Installed(Path(values[0]).resolve(), values[1].removeprefix("/build/"), script=False))

    def _add(self, source: Path, entry: str, place: str, script: bool) -> None:
        if Path(entry).is_absolute() or ".." in Path(entry).parts:
            raise ValueError(f"{entry}: CTK would install this outside of {place}; give a path below SOURCE_DIR")
        self.installed.append(Installed(source / entry, f"{place}/{entry}", script))

    def _install(self, values: list[str]) -> None:
        named = _named(values)
        base = Path(self.variables["CMAKE_CURRENT_SOURCE_DIR"])
        place = named["DESTINATION"][0]
        for entry in named.get("FILES", []) + named.get("PROGRAMS", []):
            path = Path(entry) if Path(entry).is_absolute() else base / entry
            self._put(Installed(path.resolve(), f"{place}/{path.name}", script=False))
        for entry in named.get("DIRECTORY", []):
            path = Path(entry) if Path(entry).is_absolute() else base / entry
            prefix = place if entry.endswith("/") else f"{place}/{path.name}"
            for file in sorted(item for item in path.rglob("*") if item.is_file()):
                target = f"{prefix}/{file.relative_to(path).as_posix()}"
                self._put(Installed(file, target, script=False))


def _commands(text: str) -> list[tuple[str, list[tuple[str, bool]]]]:
    """``set(A b "c d")`` -> ``("set", [("A", False), ("b", False), ("c d", True)])``."""
    commands: list[tuple[str, list[tuple[str, bool]]]] = []
    depth, name, arguments = 0, "", []
    for match in _TOKEN.finditer(text):
        quoted, word, opened, closed, _comment = match.groups()
        if opened:
            depth += 1
            if depth == 1:
                arguments = []
        elif closed:
            depth -= 1
            if depth == 0:
                commands.append((name.lower(), arguments))
        elif quoted is not None:
            arguments.append((quoted, True))
        elif word:
            if depth:
                arguments.append((word, False))
            else:
                name = word
    return commands


def _matching(commands: list[tuple[str, list[tuple[str, bool]]]], start: int) -> int:
    opening = commands[start][0]
    depth = 0
    for index in range(start, len(commands)):
        depth += (commands[index][0] == opening) - (commands[index][0] == f"end{opening}")
        if depth == 0:
            return index
    raise ValueError(f"{opening}() without end{opening}()")


def _named(values: list[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    current = ""
    for value in values:
        if value in _KEYWORDS:
            current = value
            named[current] = []
        elif current:
            named[current].append(value)
    return named
