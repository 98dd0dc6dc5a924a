"""What a command is going to write, and that none of it takes the place of anything that it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..study import Study


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse, before anything is computed, outputs that would take the place of an input or of each other.

    Args:
        outputs: files, there or not.
        inputs: files; the JSON beside an image is read with it and counts as well.

    Raises:
        InputError: an output is an input, a DICOM file, another output, or the folder of another output.
    """
    from ..study.dicom import is_dicom

    read = {_identity(file): file for path in inputs for file in _read_with(path)}
    written: set[object] = set()
    outputs = list(outputs)
    folders = {folder for path in outputs for folder in path.absolute().parents}
    for path in outputs:
        key = _identity(path)
        if key in read:
            raise InputError(f"The output {path} would overwrite {read[key]}, which is read as input; name another.")
        if is_dicom(path):  # a folder of them is an input as a whole, and no result is one
            raise InputError(f"The output {path} would overwrite a DICOM file; name another.")
        if key in written or path.absolute() in folders:
            raise InputError(f"Two outputs would be written to {path}; give each a name of its own.")
        written.add(key)


def files_of(study: Study, folder: Path | None = None) -> list[Path]:
    """The files that a study was read from, and those of its folder that describe it."""
    from ..study.folders import CARD
    from ..study.reading import is_image_name

    images = [*study.images.values(), *study.masks.values(), *study.sequence_labels.values()]
    images += [] if study.labels is None else [study.labels]
    card = [] if folder is None else [folder / CARD]
    # Of DICOM series the source is a title, see :func:`check_outputs` for their files.
    return [*(Path(image.source) for image in images if is_image_name(image.source)), *card]


def _read_with(path: Path) -> list[Path]:
    from ..study.reading import is_image_name, stem_of

    return [path, path.with_name(f"{stem_of(path)}.json")] if is_image_name(path) else [path]


def _identity(path: Path) -> object:
    """What tells a file from every other one, by whatever link or spelling it was named."""
    try:
        found = path.stat()
    except OSError:
        return path.resolve()
    return (found.st_dev, found.st_ino) if found.st_ino else path.resolve()  # some network shares number nothing
