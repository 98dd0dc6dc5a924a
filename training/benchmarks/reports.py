"""Reports of protocols written anew from their own scores: ``python training/benchmarks/reports.py FOLDER...``.

For a report whose form or statistics have changed since it was made: every folder's ``report.json`` and ``report.md``
are written again from the scores in the former; nothing is computed anew, and figures stay as they are. Run it in the
folder that the report's own command names its protocol file from.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from disentangle.learning.protocols import create
from disentangle.learning.protocols.report import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reports of the given folders anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of reports")
    for folder in parser.parse_args(arguments).folders:
        renew(folder)
        print(folder)
    return 0


def renew(folder: Path) -> None:
    """Write report.json and report.md of a folder anew, by the protocol file and the changes of its command."""
    about = Report.about_of(folder)
    file = next(word for word in shlex.split(about["command"]) if word.endswith((".yaml", ".yml")))
    Report.read(create(file, about["overrides"]), folder).write(folder, draw=False)


if __name__ == "__main__":
    sys.exit(main())
