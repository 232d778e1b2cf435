# SPDX-License-Identifier: Apache-2.0
"""What ptxas said about each kernel, read from the x.ptxas files beside the fat binaries."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

ENTRY = re.compile(r"Compiling entry function '([^']+)' for 'sm_(\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class Kernel(NamedTuple):
    """Numbers of one kernel for one architecture; bytes, and registers a thread."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


def read_report(text: str) -> Dict[Tuple[str, str], Kernel]:
    """(kernel, architecture as "90") -> numbers. Raises ValueError when an entry is not followed by its numbers."""
    kernels: Dict[Tuple[str, str], Kernel] = {}
    entry = frame = None
    for line in text.splitlines():
        if match := ENTRY.search(line):
            if entry is not None:
                raise ValueError(f"no numbers for {entry[0]} on sm_{entry[1]}")
            entry, frame = (match[1], match[2]), None
        elif match := FRAME.search(line):
            frame = tuple(int(n) for n in match.groups()) if frame is None else frame
        elif (match := USED.search(line)) and entry is not None:
            shared = SHARED.search(line)
            kernels[entry] = Kernel(int(match[1]), *(frame or (0, 0, 0)), int(shared[1]) if shared else 0)
            entry = None
    if entry is not None:
        raise ValueError(f"no numbers for {entry[0]} on sm_{entry[1]}")
    return kernels


def read_folder(folder: Path) -> Dict[Tuple[str, str], Kernel]:
    """All reports of a folder. Raises ValueError when there is none, or when one holds no kernel."""
    kernels: Dict[Tuple[str, str], Kernel] = {}
    files: List[Path] = sorted(folder.glob("*.ptxas"))
    if not files:
        raise ValueError(f"no .ptxas file in {folder}")
    for path in files:
        report = read_report(path.read_text(encoding="utf-8"))
        if not report:
            raise ValueError(f"{path.name} tells of no kernel")
        kernels.update(report)
    return kernels
