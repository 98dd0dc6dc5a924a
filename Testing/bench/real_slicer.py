"""Runs the self-tests of both modules inside a real Slicer (see Testing/README.md); not used by the bench.

Slicer --testing --additional-module-paths DisentangleSeg DisentangleSynth --python-script Testing/bench/real_slicer.py
"""

from __future__ import annotations

import traceback

import slicer

MODULES = ("DisentangleSeg", "DisentangleSynth")


def main() -> int:
    """Exit code: 0 when every self-test passed."""
    failed = []
    for name in MODULES:
        try:
            slicer.selfTests[name]()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {'failed' if name in failed else 'passed'}", flush=True)
    return 1 if failed else 0


slicer.util.exit(main())
