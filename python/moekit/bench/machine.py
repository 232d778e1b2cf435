# SPDX-License-Identifier: Apache-2.0
"""What a figure depends on: processor, threads, kernels, commit, versions; and the machine's limits."""
from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Mapping

from .. import __version__, _core, get_num_threads
from ..cli.doctor import cpu_model

# A figure is comparable with an old one only where these agree.
SAME_MACHINE = ("cpu", "threads", "kernels")


def _version(package: str):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*command):
    """Output of a git command on the checkout that this file lies in, None when it lies in none."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "CMakeLists.txt").is_file() or not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def facts() -> dict:
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "cpu": cpu_model(),
        "threads": get_num_threads(),
        "kernels": _core.cpu()["chosen"],
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": None if changed is None else bool(changed),
        "moekit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {package: _version(package) for package in ("numpy", "torch", "transformers")},
    }


class Limits:
    """The machine's limits. quick: over too little memory and time to mean anything."""

    def __init__(self, quick: bool):
        self._meter = _core.LimitMeter(1 << 24 if quick else 0)
        self._seconds, self._beside = (0.01, 0.0) if quick else (1.0, 0.04)
        self.measure()

    def measure(self) -> None:
        """Looks for better rates: a limit of the run is what the machine reached at any time."""
        self._meter.measure(self._seconds)

    @property
    def best(self) -> dict:
        return self._meter.best

    def now(self, dtype: str) -> dict:
        """Memory reads, bytes/s, and the multiply-adds of peak_of, flop/s, over 40 ms each."""
        return {"dram": self._meter.read_rate(self._beside),
                "peak": self._meter.flop_rate(dtype == "float32", self._beside)}


def peak_of(dtype: str, limits: Mapping[str, Any]) -> float:
    """Multiply-adds that weights of `dtype` are judged by, flop/s."""
    return limits["fp32"] if dtype == "float32" else max(limits["fp32"], limits["bf16"])
