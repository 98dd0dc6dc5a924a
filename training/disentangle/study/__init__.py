"""Studies: the sequences of one subject, some of them missing, read from files and written to files."""

from .files import make_folder, write_atomically
from .geometry import Grid
from .image import IMAGE_SUFFIXES, Image
from .study import Study

__all__ = ["IMAGE_SUFFIXES", "Grid", "Image", "Study", "make_folder", "write_atomically"]
