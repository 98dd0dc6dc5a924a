"""All tests, from a bare machine: ``python3 Testing/run.py [pytest arguments]``.

Makes or reuses ``.venv``, installs what is missing, then runs ruff, the import rules and pytest. Arguments go to
pytest (``python3 Testing/run.py -k phantom``); with arguments, ruff and the import rules are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "training"))

from bootstrap import enter  # noqa: E402


def main(arguments: list[str]) -> int:
    enter(("train", "test"))
    stages = {
        "ruff (style and errors)": [sys.executable, "-m", "ruff", "check", "."],
        "import rules (design.md, section 2)": [
            sys.executable, "-c", "from importlinter.cli import lint_imports_command as m; m()",
        ],
    }  # fmt: skip
    if arguments:
        stages = {}
    # One file per process at a time, one thread each: twice as fast on two cores as tests that share them.
    parallel = [] if arguments else ["-n", str(min(os.cpu_count() or 1, 8)), "--dist", "loadfile", "--durations=20"]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    stages["tests"] = [sys.executable, "-m", "pytest", *parallel, *arguments]
    failed = []
    for name, command in stages.items():
        print(f"== {name}", flush=True)
        began = time.monotonic()
        if subprocess.call(command, cwd=REPOSITORY, env=environment) != 0:
            failed.append(name)
        print(f"== {name}: {'failed' if name in failed else 'passed'} in {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
