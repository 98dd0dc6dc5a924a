"""``python -m disentangle.worker``, or this file by its path, which needs no PYTHONPATH to find the package."""

import os
import sys
from pathlib import Path

if not __package__:
    # Run by path: sys.path[0] is this folder, whose modules must not be importable by their bare names.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from disentangle.worker.server import main

if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do, and torch takes seconds over taking itself apart
