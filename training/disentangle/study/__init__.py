"""Studies: the sequences of one subject, some of them missing, read from files and written to files."""

from .files import explain_write_error, make_folder, write_atomically
from .geometry import Grid
from .image import Image, check_image, looks_like_ct
from .masks import check_mask
from .reading import IMAGE_SUFFIXES, quiet_itk
from .study import Study

__all__ = [
    "IMAGE_SUFFIXES",
    "Grid",
    "Image",
    "Study",
    "check_image",
    "check_mask",
    "explain_write_error",
    "looks_like_ct",
    "make_folder",
    "quiet_itk",
    "write_atomically",
]
