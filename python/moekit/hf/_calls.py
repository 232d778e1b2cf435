# SPDX-License-Identifier: Apache-2.0
"""Which implementation computed what, and why: counters, and one warning for each reason."""
from __future__ import annotations

import threading
import warnings
from collections import Counter

EXPERTS = "moekit experts"
BLOCK = "moekit block"
SHARED = "moekit shared experts"

_lock = threading.Lock()
_counts: Counter = Counter()
_warned: set = set()


def count(path: str) -> None:
    with _lock:
        _counts[path] += 1


def fall_back(who: str, reason: str) -> None:
    """Counts a call that torch computes, and says so the first time."""
    with _lock:
        _counts[f"eager: {reason}"] += 1
        first = (who, reason) not in _warned
        _warned.add((who, reason))
    if first:
        warnings.warn(f"[moekit.hf] {who} is computed by transformers' eager code: {reason}", stacklevel=3)


def calls() -> dict[str, int]:
    """Number of calls so far by the way they were computed: "moekit experts" (the experts implementation, plain and FP8
    experts alike), "moekit block" (blocks of `replace_moe`), "moekit shared experts" (those that stand beside their
    blocks), and "eager: <reason>" for each reason why moekit left a
    call to transformers."""
    with _lock:
        return dict(_counts)


def reset_calls() -> None:
    """Sets the counters of `calls` to zero; reasons already warned of stay quiet."""
    with _lock:
        _counts.clear()
