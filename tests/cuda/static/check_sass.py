#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Machine code of the kernels, held against rules: what the hot ones must contain and what none may.

Usage: check_sass.py FATBIN_FOLDER RULES TOOLKIT_BIN
A line of RULES is "KERNEL_PATTERN MARK REGEX   # reason": + the kernel has such an instruction on every architecture,
- it has none. Patterns are those of fnmatch; a pattern that fits no kernel is an error, so that a renamed kernel does not
slip away. Exits 77 (skipped) where there is no cuobjdump.
"""
from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from sass import disassemble, find_cuobjdump

SKIPPED = 77


class Rule(NamedTuple):
    pattern: str
    wanted: bool
    regex: str


def read_rules(text: str) -> List[Rule]:
    """Raises ValueError for a line that is none."""
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[1] not in "+-":
            raise ValueError(f"rules, line {number}: '{line}' is not KERNEL_PATTERN + or - REGEX")
        rules.append(Rule(words[0], words[1] == "+", words[2]))
    return rules


def violations(code: Dict[Tuple[str, str], List[str]], rules: List[Rule]) -> List[str]:
    found = []
    for rule in rules:
        chosen = [key for key in code if fnmatch.fnmatchcase(key[0], rule.pattern)]
        if not chosen:
            found.append(f"{rule.pattern}: no kernel has such a name")
        for name, arch in sorted(chosen):
            hits = sum(1 for op in code[name, arch] if re.fullmatch(rule.regex, op))
            if rule.wanted and hits == 0:
                found.append(f"{name} on sm_{arch}: no {rule.regex} among its {len(code[name, arch])} instructions")
            if not rule.wanted and hits > 0:
                found.append(f"{name} on sm_{arch}: {hits} of {rule.regex}, which it may not have")
    return found


def main(arguments: List[str]) -> int:
    folder, rules_path, toolkit = arguments
    rules = read_rules(Path(rules_path).read_text(encoding="utf-8"))
    cuobjdump = find_cuobjdump(toolkit, sys.path)
    if cuobjdump is None:
        print("not tested: machine code (no cuobjdump on PATH, in the toolkit or in a triton wheel)")
        return SKIPPED
    code: Dict[Tuple[str, str], List[str]] = {}
    for path in sorted(Path(folder).glob("*.fatbin")):
        code.update(disassemble(cuobjdump, path))
    empty = [key for key, instructions in code.items() if not instructions]
    found = violations(code, rules) + [f"{name} on sm_{arch}: no instruction was read" for name, arch in empty]
    if not code:
        found.append(f"{cuobjdump} printed no kernel of {folder}")
    for line in found:
        print(line)
    print(f"machine code: {len(code)} kernels and architectures, {len(rules)} rules: {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
