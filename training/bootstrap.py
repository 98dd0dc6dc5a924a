"""Makes the repository's virtual environment, with nothing but the standard library.

``training/demo.py`` and ``Testing/run.py`` start with any Python 3.10 to 3.13, call :func:`enter` first and go on
inside ``.venv`` with the pinned packages of ``training/constraints.txt``. The second time nothing is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".venv"
CONSTRAINTS = REPOSITORY / "training" / "constraints.txt"
STAMP = ENVIRONMENT / "disentangle-install.json"
SUPPORTED = ((3, 10), (3, 13))


def environment_python() -> Path:
    """The interpreter of ``.venv``, whatever the platform."""
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def enter(extras: Sequence[str] = ()) -> None:
    """Go on inside ``.venv``, where the package and ``extras`` are installed.

    Returns at once when this process already runs there; otherwise prepares the environment, runs the same
    script again in it and exits with its exit code.

    Raises:
        SystemExit: always outside of ``.venv``; with one sentence if the environment cannot be prepared.
    """
    if Path(sys.prefix).resolve() == ENVIRONMENT.resolve():
        _install_missing(extras)
        return
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        raise SystemExit(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is not supported; run this with Python 3.10 to 3.13."
        )
    if not environment_python().exists():
        print(f"Making the virtual environment {ENVIRONMENT} ...", flush=True)
        try:
            venv.create(ENVIRONMENT, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"The virtual environment {ENVIRONMENT} could not be made: {error}.") from error
    _install_missing(extras)
    raise SystemExit(subprocess.call([str(environment_python()), *sys.argv]))


def _fingerprint() -> str:
    """Changes when the pins, the declared dependencies or the interpreter change."""
    digest = hashlib.sha256()
    for path in (CONSTRAINTS, REPOSITORY / "pyproject.toml"):
        digest.update(path.read_bytes())
    digest.update(str(environment_python()).encode())
    return digest.hexdigest()


def _install_missing(extras: Sequence[str]) -> None:
    fingerprint = _fingerprint()
    installed: set[str] = set()
    if STAMP.exists():
        record = json.loads(STAMP.read_text(encoding="utf-8"))
        if record.get("fingerprint") == fingerprint:
            installed = set(record["extras"])
            if installed.issuperset(extras):
                return
    wanted = sorted(installed.union(extras))
    target = f"{REPOSITORY}[{','.join(wanted)}]" if wanted else str(REPOSITORY)
    command = [
        str(environment_python()), "-m", "pip", "install", "--disable-pip-version-check",
        "--editable", target, "--constraint", str(CONSTRAINTS),
    ]  # fmt: skip
    print("Installing the pinned packages of training/constraints.txt (minutes the first time) ...", flush=True)
    began = time.monotonic()
    if subprocess.call([*command, "--quiet"]) != 0:
        raise SystemExit(f"The packages could not be installed; see pip's messages above. Command: {' '.join(command)}")
    STAMP.write_text(json.dumps({"fingerprint": fingerprint, "extras": wanted}), encoding="utf-8")
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
