#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the support table, as the built library answers, between the markers of README.md.

Usage: readme_table.py PROGRAM [--check]
PROGRAM is the built support_table (build/release/tests/house/support_table). With --check nothing is written; the exit
status is 1 when the README says something else than the library.
"""
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- support table: scripts/readme_table.py -->\n", "<!-- end of the support table -->\n"


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    table = subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout
    text = README.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    old, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{README.name} lacks the marker lines of the support table")
    if old == table:
        return 0
    if "--check" in sys.argv:
        print(f"{README.name} says\n{old}but the library answers\n{table}run scripts/readme_table.py")
        return 1
    README.write_text(head + begin + table + end + tail, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
