# SPDX-License-Identifier: Apache-2.0
"""Machine code of the kernels as cuobjdump prints it: instructions with their guards and modifiers."""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Tuple

TARGET = re.compile(r"^\s*\.target\s+sm_(\w+)|^\s*code for sm_(\w+)")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
# /*0010*/   @!P0 LDG.E.128.CONSTANT R4, [R2.64] ;   /* 0x... */
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")


def find_cuobjdump(bin_folder: str, extra: List[str]) -> Optional[str]:
    """On PATH, in the toolkit, or in a `triton` wheel, whose copy reads what newer and older compilers wrote."""
    places = [shutil.which("cuobjdump"), str(Path(bin_folder) / "cuobjdump")]
    for site in extra:
        places += [str(p) for p in sorted(Path(site).glob("triton/backends/nvidia/bin/cuobjdump"))]
    for place in places:
        if place and Path(place).is_file():
            return place
    return None


def parse(text: str) -> Dict[Tuple[str, str], List[str]]:
    """(kernel, architecture) -> opcodes with modifiers, in order."""
    code: Dict[Tuple[str, str], List[str]] = {}
    arch, current = "", None
    for line in text.splitlines():
        if match := TARGET.search(line):
            arch = match[1] or match[2]
        elif match := FUNCTION.search(line):
            current = code.setdefault((match[1], arch), [])
        elif current is not None and (match := INSTRUCTION.search(line)):
            current.append(match[1])
    return code


def disassemble(cuobjdump: str, path: Path) -> Dict[Tuple[str, str], List[str]]:
    result = subprocess.run([cuobjdump, "-sass", str(path)], capture_output=True, text=True, check=True)
    return parse(result.stdout)
