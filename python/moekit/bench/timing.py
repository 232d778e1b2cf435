# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: A B C A B C ..., so that what disturbs the machine disturbs all competitors alike."""
from __future__ import annotations

import itertools
import statistics
import time
from typing import Any, Callable, NamedTuple, Sequence


class Competitor(NamedTuple):
    """f(x) for x of `inputs` in turn. All competitors of a case get the same values, each in its own kind of array."""

    name: str
    f: Callable[[Any], Any]
    inputs: Sequence[Any]


# Waiting threads of OpenMP spin for a few milliseconds before they sleep.
_SPIN_SECONDS = 0.01


def _turn(f, stream, calls: int) -> float:
    """Mean seconds of `calls` calls."""
    inputs = list(itertools.islice(stream, calls))
    start = time.perf_counter()
    for x in inputs:
        f(x)
    return (time.perf_counter() - start) / calls


def interleaved(competitors: Sequence[Competitor], seconds: float, rounds: int = 5, turn: float = 0.02) -> dict[str, dict]:
    """Seconds a call, by competitor: median, quartiles, least, and the number of samples.

    A turn lasts about `turn` seconds (one call at least) and is one sample. Before it the threads of the previous
    competitor get time to stop spinning, and where a call is short one more is not timed: it wakes the own threads. At least `rounds` rounds, and until `seconds` have passed.
    """
    streams = [itertools.cycle(c.inputs) for c in competitors]
    calls = []
    for c, stream in zip(competitors, streams):
        _turn(c.f, stream, 1)  # memory is allocated, code compiled
        calls.append(max(1, round(turn / max(_turn(c.f, stream, 1), 1e-7))))
    # The first estimate of a short call is mostly start-up; the second is of a whole turn.
    for i, (c, stream) in enumerate(zip(competitors, streams)):
        if calls[i] > 1:
            calls[i] = max(1, round(turn / max(_turn(c.f, stream, calls[i]), 1e-7)))
    samples: list[list[float]] = [[] for _ in competitors]
    start = time.perf_counter()
    while len(samples[0]) < rounds or time.perf_counter() - start < seconds:
        for i, (c, stream) in enumerate(zip(competitors, streams)):
            time.sleep(_SPIN_SECONDS)
            if calls[i] > 1:
                _turn(c.f, stream, 1)
            samples[i].append(_turn(c.f, stream, calls[i]))
    return {c.name: summary(s) for c, s in zip(competitors, samples)}


def summary(samples: Sequence[float]) -> dict:
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    return {"median_s": middle, "q1_s": low, "q3_s": high, "least_s": min(samples), "samples": len(samples)}
