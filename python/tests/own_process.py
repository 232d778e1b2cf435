# SPDX-License-Identifier: Apache-2.0
"""Code in a process of its own, for libraries that a process opens once."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = f"""
import sys
import numpy as np, moekit
sys.path.insert(0, {str(Path(__file__).parent)!r})
path = {str(ROOT / "examples" / "models" / "qwen3_moe_bytes")!r}
"""


def built(path: str):
    """The folder of a library that the C++ tests built, or None. Not of a build with sanitizers, which Python cannot
    open."""
    found = [file for preset in ("release", "dev") if (file := ROOT / "build" / preset / path).exists()]
    return found[0].parent if found else None


def run(code: str, **environment) -> None:
    """The code after the prelude, which must end well."""
    env = dict(os.environ, **{name: str(value) for name, value in environment.items()})
    done = subprocess.run([sys.executable, "-c", PRELUDE + code], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
