#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, checked: arrows between rooms, licence headers, file lengths, compiler flags.

Usage: house_check.py [--root FOLDER] [includes] [spdx] [length] [flags]      (no name: all of them)
Prints one line a violation, "path:line: what, the limit", and exits 1 if there is any. Standard library only.
"""
from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Iterator, List, Optional

FOLDERS = (".ci", "benchmarks", "cmake", "examples", "include", "python", "scripts", "src", "tests")
SOURCE_SUFFIXES = {".c", ".cpp", ".cu", ".cuh", ".h", ".py", ".cmake", ".sh"}
CXX_SUFFIXES = {".c", ".cpp", ".cu", ".cuh", ".h"}

# An arrow goes from a lower rank to a higher one only; rooms of equal rank do not know each other.
RANKS = {"core": 0, "formats": 1, "routing": 1, "backend": 2, "backends": 3, "checkpoint": 4, "layer": 5, "models": 6,
         "parallel": 7, "python": 8}
# Which room a public header belongs to. layer.h stands with the backend interface, which speaks in its configurations.
PUBLIC_ROOMS = {"core.h": "core", "device.h": "core", "error.h": "core", "tensor.h": "core", "router.h": "routing",
                "weight_format.h": "core", "quantised.h": "core",
                "permutation.h": "routing", "layer.h": "backend", "checkpoint.h": "checkpoint", "moe.h": "layer",
                "model.h": "models", "convert.h": "models", "parallel.h": "parallel", "moekit.h": "python"}
MAX_LINES = 300
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<(moekit/[^>]+)>)')
# Flags that change what floating-point code means, or that tie the library to the machine that built it.
BAD_FLAGS = re.compile(r"fast-math|-Ofast|-funsafe-math|-fassociative-math|-ffinite-math|-freciprocal-math|=native\b")


def files(root: Path) -> Iterator[Path]:
    """Files of the tree that people wrote: the known folders, without caches, and the top level."""
    for path in sorted(root.iterdir()):
        if path.is_file():
            yield path
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def is_source(path: Path) -> bool:
    return path.suffix in SOURCE_SUFFIXES or path.name == "CMakeLists.txt" or path.parent.name == ".ci"


def lines_of(path: Path) -> List[str]:
    return path.read_text(encoding="utf-8").splitlines()


def room_of(path: Path) -> Optional[str]:
    """The room of a path relative to the root: "core", "backends/cpu"; None where no order is asked."""
    parts = path.parts
    if parts[0] == "include":
        return PUBLIC_ROOMS.get(path.name, "?")
    if parts[:2] == ("python", "src"):
        return "python"
    if parts[0] == "src":
        return "/".join(parts[1:3]) if parts[1] == "backends" else parts[1]
    return None


def check_include(root: Path, path: Path, name: str) -> Optional[str]:
    """What is wrong with `#include name` in `path` (relative to the root), or None."""
    room = room_of(path)
    if ".." in Path(name).parts:
        return f'"{name}" hides its room: name it from src/ or include/'
    if name.endswith(".inc"):  # a list that CMake writes
        return None
    if name.startswith("moekit/"):
        target = Path("include") / name
    elif (root / path.parent / name).is_file():
        target = path.parent / name
    else:
        target = Path("src") / name
    if path.parts[0] in ("include", "examples") and target.parts[0] == "src":
        return f'"{name}" is not public'
    if not (root / target).is_file():
        return f'"{name}" is found neither in include/ nor in src/ nor beside the file'
    if room is None or room == room_of(target):
        return None
    target_room = room_of(target) or "?"
    for unknown in (room, target_room):
        if unknown.split("/")[0] not in RANKS:
            return f"room '{unknown}' has no place in the order: add it to RANKS or PUBLIC_ROOMS"
    if RANKS[target_room.split("/")[0]] >= RANKS[room.split("/")[0]]:
        return f'"{name}" is an arrow from {room} to {target_room}, against the order'
    return None


def check_includes(root: Path) -> Iterator[str]:
    for path in files(root):
        relative = path.relative_to(root)
        if path.suffix not in CXX_SUFFIXES or relative.parts[0] not in ("include", "src", "python", "examples"):
            continue
        for number, line in enumerate(lines_of(path), 1):
            match = INCLUDE.match(line)
            problem = check_include(root, relative, match.group(1) or match.group(2)) if match else None
            if problem:
                yield f"{relative}:{number}: {problem}"


def check_spdx(root: Path) -> Iterator[str]:
    for path in files(root):
        if is_source(path) and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines_of(path)[:3]):
            yield f"{path.relative_to(root)}:1: no 'SPDX-License-Identifier: Apache-2.0' in the first 3 lines"


def check_length(root: Path) -> Iterator[str]:
    for path in files(root):
        count = len(lines_of(path)) if is_source(path) else 0
        if count > MAX_LINES:
            yield f"{path.relative_to(root)}:{count}: {count} lines, the limit is {MAX_LINES}"


def check_flags(root: Path) -> Iterator[str]:
    for path in files(root):
        if not (path.suffix in (".cmake", ".sh", ".toml") or path.name in ("CMakeLists.txt", "CMakePresets.json")):
            continue
        for number, line in enumerate(lines_of(path), 1):
            match = BAD_FLAGS.search(line.split("#")[0])
            if match:
                yield f"{path.relative_to(root)}:{number}: '{match.group()}' is not allowed"


CHECKS = {"includes": check_includes, "spdx": check_spdx, "length": check_length, "flags": check_flags}


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help=" | ".join(CHECKS))
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    options = parser.parse_args(arguments)
    unknown = set(options.checks) - set(CHECKS)
    if unknown:
        parser.error(f"unknown check: {', '.join(sorted(unknown))}")
    problems = [line for name in options.checks or CHECKS for line in CHECKS[name](options.root)]
    for line in problems:
        print(line)
    print(f"house check: {len(problems)} violations in {', '.join(options.checks or CHECKS)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
