"""Where bundles lie on this machine: finding, listing, adding, removing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..resources import resource_path
from ..study import write_atomically
from .bundle import Bundle, verify_bundle
from .card import CARD_FILE, FAST_FILE, WEIGHTS_FILE

MAX_BUNDLE_BYTES = 4 * 1024**3
_FILES = (CARD_FILE, WEIGHTS_FILE, FAST_FILE, "README.md", "LICENSE.txt")


def user_folder() -> Path:
    """The user's folder of Disentangle: $DISENTANGLE_HOME, else the place for data on this system."""
    if home := os.environ.get("DISENTANGLE_HOME"):
        return Path(home)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "Disentangle"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Disentangle"
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "disentangle"


def search_path() -> list[Path]:
    """Folders of bundles, the first to be asked first: $DISENTANGLE_MODELS, the user's, the shipped ones."""
    folders = [Path(p) for p in os.environ.get("DISENTANGLE_MODELS", "").split(os.pathsep) if p]
    folders.append(user_folder() / "Models")
    with contextlib.suppress(FileNotFoundError):  # an installation without shipped models
        folders.append(resource_path("Models"))
    return folders


def scan_bundles() -> tuple[list[Bundle], dict[Path, str]]:
    """The bundles at hand, the first of each name, and the folders that hold a broken one with the reason."""
    found: dict[str, Bundle] = {}
    broken: dict[Path, str] = {}
    for root in search_path():
        if not root.is_dir():
            continue
        for folder in sorted(p for p in root.iterdir() if (p / CARD_FILE).is_file() and not p.name.startswith(".")):
            try:
                bundle = Bundle.load(folder)
            except InputError as error:
                broken[folder] = str(error)
            else:
                found.setdefault(bundle.name, bundle)
    return list(found.values()), broken


def list_bundles() -> list[Bundle]:
    """The bundles at hand, the first of each name along the search path."""
    return scan_bundles()[0]


def nothing_installed() -> str:
    """What somebody without any model should know: one sentence."""
    add = "add a model with 'disentangle models add PATH'"
    try:
        resource_path("Models")
    except FileNotFoundError:  # a wheel
        return (
            "No model is installed, since this installation of Disentangle holds its Python files alone; install it "
            f"from its source tree with 'pip install -e .', or {add}."
        )
    return f"No model is installed; {add}."


def default_bundle_name() -> str:
    """The bundle to use when none is named: the only one, else ``brain-mr``.

    Raises:
        InputError: there is none, or several and no ``brain-mr``.
    """
    names = [bundle.name for bundle in list_bundles()]
    if len(names) == 1 or "brain-mr" in names:
        return names[0] if len(names) == 1 else "brain-mr"
    if not names:
        raise InputError(nothing_installed())
    raise InputError(f"Several models are installed ({', '.join(names)}); choose one with --model.")


def find_bundle(name_or_path: str | os.PathLike[str]) -> Bundle:
    """A bundle by its folder or by its name.

    Raises:
        InputError: there is none of that name, or it is broken.
    """
    name = str(name_or_path)
    found, broken = scan_bundles()
    for bundle in found:
        if bundle.name == name:
            return bundle
    for folder, reason in broken.items():
        if folder.name == name:
            raise InputError(reason)
    if Path(name_or_path).is_dir():
        return Bundle.load(name_or_path)
    names = ", ".join(bundle.name for bundle in found) or "none"
    raise InputError(f"There is no model {name!r} (installed: {names}); name an installed one or a model's folder.")


def add_bundle(source: str | os.PathLike[str]) -> Bundle:
    """Copy a bundle, a folder or a zip of one, into the user's folder after checking everything about it.

    Raises:
        InputError: no sound bundle, a zip that writes outside its folder or is too large, or the name is taken.
    """
    source = Path(source)
    with tempfile.TemporaryDirectory(prefix="disentangle-") as scratch:
        folder = source
        if zipfile.is_zipfile(source):
            folder = Path(scratch)
            _extract(source, folder)
        elif not source.is_dir():
            raise InputError(f"{source} is neither a model's folder nor a zip of one; name one of these.")
        bundle = verify_bundle(folder)
        target = user_folder() / "Models" / bundle.name
        if target.exists():
            raise InputError(f"A model {bundle.name} is installed already; remove it first.")
        for other in list_bundles():
            if other.name == bundle.name:  # the added one would silently run in its place
                raise InputError(
                    f"A model {other.name} is there already, in {other.path}; give the one that you add another name "
                    "in its bundle.json."
                )
        with write_atomically(target) as temporary:
            temporary.mkdir()
            _copy_files(folder, temporary)
    return Bundle.load(target)


def _copy_files(source: Path, target: Path) -> None:
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _extract(archive: Path, target: Path) -> None:
    """Take the known files of the one bundle in a zip; nothing else in it is written anywhere."""
    try:
        with zipfile.ZipFile(archive) as bag:
            members = [m for m in bag.infolist() if not m.is_dir()]
            for member in members:
                path = PurePosixPath(member.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts):
                    raise InputError(f"{archive} holds a file that would be written elsewhere; do not use this zip.")
            cards = [PurePosixPath(m.filename) for m in members if PurePosixPath(m.filename).name == CARD_FILE]
            if len(cards) != 1:
                raise InputError(f"{archive} holds {len(cards)} models; give a zip of one bundle folder.")
            wanted = {str(cards[0].parent / name): name for name in _FILES}
            chosen = [m for m in members if m.filename in wanted]
            if sum(m.file_size for m in chosen) > MAX_BUNDLE_BYTES:
                raise InputError(f"{archive} unpacks to more than {MAX_BUNDLE_BYTES >> 30} GB; it is not a model.")
            for member in chosen:
                with bag.open(member) as stream, (target / wanted[member.filename]).open("wb") as output:
                    shutil.copyfileobj(stream, output)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{archive} is a damaged zip; get it again.") from error


def remove_bundle(name: str) -> None:
    """Delete one of the user's own bundles.

    Raises:
        InputError: there is none, or it does not lie in the user's folder.
    """
    folder = user_folder() / "Models"
    bundle = next((b for b in list_bundles() if b.name == name), None)
    if bundle is None:
        raise InputError(f"There is no model {name!r} to remove; see 'disentangle models list'.")
    if bundle.path.resolve().parent != folder.resolve():
        raise InputError(f"The model {name} in {bundle.path} was not added by you; only added models can be removed.")
    retired = bundle.path.with_name(f".removed-{bundle.path.name}")
    try:
        bundle.path.rename(retired)
        shutil.rmtree(retired)
    except OSError as error:
        raise InputError(f"{bundle.path} cannot be removed ({error.strerror or error}); close what uses it.") from error
