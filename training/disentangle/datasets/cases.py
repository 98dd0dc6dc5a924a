"""What lies on disk of one subject of a data set, before any voxel is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..study import Image
from ..study.reading import is_image_name, stem_of


class Source(Protocol):
    """Where an image or a mask comes from."""

    def files(self) -> Sequence[Path]:
        """The files that it consists of."""

    def read(self, sequence: str | None = None) -> Image:
        """The voxels, under the name of a sequence.

        Raises:
            InputError: a file that cannot be read.
        """


@dataclass(frozen=True)
class ImageFile:
    """A volume in a file, or one time point of a 4-D file."""

    path: Path
    time_point: int | None = None

    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, sequence: str | None = None) -> Image:
        return Image.read(self.path, self.time_point, sequence)


@dataclass(frozen=True)
class Case:
    """One examination.

    Attributes:
        subject: its identifier in the data set.
        group: the person; several examinations of one person never come apart in a split.
        images: sequence -> source.
        labels: one mask for all sequences, registered; None without.
        sequence_labels: sequence -> mask on that sequence's own slices, for sequences that are not registered.
        masks: sequence ("" for all) -> brain mask.
        label_names: value of a mask -> name of what it shows.
        pairs: sequence -> slice numbers, partners at the same place in the lists, in the order of the source's files;
            None where nobody has paired them.
        unpaired: why ``pairs`` is None, a sentence.
        missing: files that should be there and are not.
        folder: a study folder that ``Study.from_folder`` reads; then ``images`` are its files' only as a record.
        about: site, grade and the like.
    """

    subject: str
    group: str
    images: Mapping[str, Source]
    labels: Source | None = None
    sequence_labels: Mapping[str, Source] = field(default_factory=dict)
    masks: Mapping[str, Source] = field(default_factory=dict)
    label_names: Mapping[int, str] = field(default_factory=dict)
    pairs: Mapping[str, Sequence[int]] | None = None
    unpaired: str = "nobody has paired its slices; set data.dataset.pairs=position."
    missing: tuple[Path, ...] = ()
    folder: Path | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """Every file of the case, sorted."""
        sources = [*self.images.values(), *self.sequence_labels.values(), *self.masks.values()]
        sources += [self.labels] if self.labels is not None else []
        return sorted({path for source in sources for path in source.files()})

    @property
    def annotated(self) -> bool:
        """Whether it has any mask."""
        return self.labels is not None or bool(self.sequence_labels)


@dataclass(frozen=True)
class Layout:
    """How a published data set lies on disk and what is to be known about it.

    Attributes:
        name: as in ``data.dataset.layout``.
        title: as people call it.
        sequences: what a subject has, canonical names.
        find: folder -> the cases below it, those that miss files included; reads names only.
        registered: the sequences of a subject lie on one grid, or are to be registered; otherwise they become stacks
            of slices that are paired or not.
        preprocessing: fields of ``PreprocessingConfig``: of registered sets those that the set makes unnecessary; of
            the others how published users of the set prepare slices, on top of :data:`.stacks.STACKED`.
        centre: class that training slices are centred on where it was drawn, as published users do; None = the image.
        pairs: how slices of unregistered sets are paired unless the user says, see :data:`.loading.PAIRS`.
        published: fold -> part -> subjects, as a paper has them.
        common_names: subjects have any names, "patient1" say, which in another folder may be those of other people.
        license, citation, url: of the data.
    """

    name: str
    title: str
    sequences: tuple[str, ...]
    find: Callable[[Path], list[Case]]
    registered: bool
    license: str
    citation: str
    url: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    centre: str | None = None
    pairs: str = "position"
    published: Sequence[Mapping[str, Sequence[str]]] = ()
    common_names: bool = False

    def about(self) -> dict[str, str]:
        """For model cards."""
        return {"source": self.title, "license": self.license, "citation": self.citation, "url": self.url}


ALIGNED = {"registration": "none", "pose": "reference"}
"""Preprocessing of sets whose sequences were registered to each other and to a template before publication."""


def folders_named(folder: Path, pattern: str, depth: int = 3) -> list[Path]:
    """Folders whose whole name fits a regular expression, ``folder`` itself or up to ``depth`` levels below it; below
    such a folder none is looked for. Sorted by name."""
    fits = re.compile(pattern, re.IGNORECASE).fullmatch
    found: list[Path] = []

    def visit(place: Path, level: int) -> None:
        if fits(place.name):
            found.append(place)
        elif level < depth:
            for entry in sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")):
                visit(entry, level + 1)

    visit(folder, 0)
    return sorted(found, key=lambda p: natural(p.name))


def files_named(folder: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Image files at any depth whose name without suffix fits a regular expression, with the match; in the order of
    the numbers in their paths. Of a file that is there packed and unpacked, the packed one."""
    fits = re.compile(pattern, re.IGNORECASE).fullmatch
    taken: set[Path] = set()
    for path in images_in(folder, deep=True):
        match, place = fits(stem_of(path)), path.parent / stem_of(path)
        if match and place not in taken:
            taken.add(place)
            yield path, match


def images_in(folder: Path, deep: bool = False) -> list[Path]:
    """Image files in a folder, hidden ones left out, in the order of the numbers in their paths; packed ones before
    unpacked ones of the same name."""
    entries = folder.rglob("*") if deep else folder.iterdir()
    files = [p for p in entries if is_image_name(p) and not p.name.startswith(".") and p.is_file()]
    return sorted(
        files, key=lambda p: (natural(str(p.parent)), natural(stem_of(p)), not p.name.lower().endswith(".gz"))
    )


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that puts "patient2" before "patient10"."""
    parts = re.split(r"(\d+)", text.lower())
    return [(1, int(p)) if p.isdigit() else (0, p) for p in parts if p]
