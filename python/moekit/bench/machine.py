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


def limits(quick: bool) -> dict:
    """Best rates now. quick: over too little memory and time to mean anything."""
    return _core.measure_limits(1 << 24, 0.01) if quick else _core.measure_limits(0, 1.0)


def better(a: dict, b: dict) -> dict:
    """The best rates of two measurements: a limit is what the machine reached at any time of the run."""
    peaks = [{"isa": p["isa"], "fp32": max(p["fp32"], q["fp32"]), "bf16": max(p["bf16"], q["bf16"])}
             for p, q in zip(a["peaks"], b["peaks"])]
    return {**a, **{rate: max(a[rate], b[rate]) for rate in ("dram", "fp32", "bf16")}, "peaks": peaks}


def peak_of(dtype: str, limits: Mapping[str, Any]) -> float:
    """Multiply-adds that weights of `dtype` are judged by, flop/s."""
    return limits["fp32"] if dtype == "float32" else max(limits["fp32"], limits["bf16"])
