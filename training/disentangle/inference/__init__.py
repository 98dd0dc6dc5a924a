"""Inference: a bundle and a study in; segmentation, factors, cross-reconstructions and synthesised sequences out.

Only running a predictor imports torch; results can be read, shown and written without it.
"""

from .output import check_writable, staged_outputs
from .predictor import Predictor
from .result import Result, SequenceFactors

__all__ = ["Predictor", "Result", "SequenceFactors", "check_writable", "staged_outputs"]
