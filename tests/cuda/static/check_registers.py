#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Registers and spills of every kernel, held against a checked-in budget.

Usage: check_registers.py FATBIN_FOLDER BUDGET NVCC_RELEASE [--update]
The budget has one line a kernel and the nvcc release it was written for: another compiler gives other numbers, with which
only what holds for every compiler is checked (no spill, no stack). "-" stands for a number not taken yet. --update writes
the budget anew from all that was compiled.
"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, List, Tuple

from ptxas_report import Kernel, read_folder

Numbers = Dict[Tuple[str, str], int]


def read_budget(text: str) -> Tuple[str, Numbers]:
    """The release, and (kernel, architecture) -> registers."""
    release, architectures, budget = "", [], {}
    for line in text.splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0] == "nvcc":
            release = words[1]
        elif words[0] == "kernel":
            architectures = words[1:]
        else:
            budget.update({(words[0], arch): int(n) for arch, n in zip(architectures, words[1:]) if n != "-"})
    return release, budget


def write_budget(release: str, kernels: Dict[Tuple[str, str], Kernel]) -> str:
    architectures = sorted({arch for _, arch in kernels}, key=int)
    names = sorted({name for name, _ in kernels})
    width = max(len(name) for name in names + ["kernel"])
    lines = ["# Registers a thread as nvcc gives them, by compute capability. Written by check_registers.py --update:",
             "# a change is looked at before it is taken over.", f"nvcc {release}",
             f"{'kernel':<{width}}" + "".join(f" {arch:>4}" for arch in architectures)]
    for name in names:
        row = [kernels[name, arch].registers if (name, arch) in kernels else "-" for arch in architectures]
        lines.append(f"{name:<{width}}" + "".join(f" {n:>4}" for n in row))
    return "\n".join(lines) + "\n"


def violations(kernels: Dict[Tuple[str, str], Kernel], budget: Numbers, same_release: bool) -> List[str]:
    found = []
    for (name, arch), kernel in sorted(kernels.items()):
        where = f"{name} on sm_{arch}"
        if kernel.spill_stores or kernel.spill_loads:
            found.append(f"{where}: spills {kernel.spill_stores} bytes out and {kernel.spill_loads} in")
        if kernel.stack:
            found.append(f"{where}: {kernel.stack} bytes of stack, an array that is indexed at run time")
        if same_release and name not in {known for known, _ in budget}:
            found.append(f"{where}: not in the budget")
        elif same_release and kernel.registers != budget.get((name, arch), kernel.registers):
            found.append(f"{where}: {kernel.registers} registers, the budget says {budget[name, arch]}")
    if same_release:
        built = {arch for _, arch in kernels}
        found += [f"{name} on sm_{arch}: in the budget, but not compiled" for name, arch in sorted(budget)
                  if arch in built and (name, arch) not in kernels]
    return found


def main(arguments: List[str]) -> int:
    update = "--update" in arguments
    folder, path, release = [a for a in arguments if a != "--update"]
    kernels = read_folder(Path(folder))
    if update:
        Path(path).write_text(write_budget(release, kernels), encoding="utf-8")
        print(f"{path}: {len(kernels)} numbers of nvcc {release}")
        return 0
    written_for, budget = read_budget(Path(path).read_text(encoding="utf-8"))
    if written_for != release:
        print(f"not tested: the register budget, which is of nvcc {written_for} and not of {release}")
    missing = [key for key in kernels if written_for == release and key not in budget]
    if missing:
        print(f"not tested: the register budget of {len(missing)} of {len(kernels)} kernels and architectures")
    found = violations(kernels, budget, written_for == release)
    for line in found:
        print(line)
    architectures = sorted({arch for _, arch in kernels}, key=int)
    print(f"registers: {len({n for n, _ in kernels})} kernels, sm_{', sm_'.join(architectures)}: {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
