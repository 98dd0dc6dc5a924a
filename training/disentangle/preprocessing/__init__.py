"""From a study as it came to volumes that a network reads, and back: every step knows its inverse."""

from .config import PreprocessingConfig
from .masks import head_mask, is_skull_stripped
from .memory import Memory, study_key, surely_same
from .pose import brain_mask
from .prepare import choose_reference, prepare
from .prepared import Box, PreparedStudy, Step
from .registration import Registration, register

__all__ = [
    "Box",
    "Memory",
    "PreparedStudy",
    "PreprocessingConfig",
    "Registration",
    "Step",
    "brain_mask",
    "choose_reference",
    "head_mask",
    "is_skull_stripped",
    "prepare",
    "register",
    "study_key",
    "surely_same",
]
