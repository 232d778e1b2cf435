# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: A B C A B C ..., so that what disturbs the machine disturbs all competitors alike."""
from __future__ import annotations

import itertools
import statistics
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence


class Competitor(NamedTuple):
    """f(x) for x of `inputs` in turn. All competitors of a case get the same values, each in its own kind of array.

    turn: seconds of calling it on these inputs one after the other, for those that run in another process; f is then
    asked for results only."""

    name: str
    f: Callable[[Any], Any]
    inputs: Sequence[Any]
    turn: Optional[Callable[[Sequence[Any]], float]] = None


# Waiting threads of OpenMP spin for a few milliseconds before they sleep; some that other processes start, for longer.
_SPIN_SECONDS, _OTHERS_SPIN_SECONDS = 0.01, 0.06
# Where one call takes this long, three turns must do.
_LONG_SECONDS = 2.0


def _turn(c: Competitor, stream, calls: int) -> float:
    """Mean seconds of `calls` calls."""
    inputs = list(itertools.islice(stream, calls))
    if c.turn is not None:
        return c.turn(inputs) / calls
    start = time.perf_counter()
    for x in inputs:
        c.f(x)
    return (time.perf_counter() - start) / calls


def interleaved(competitors: Sequence[Competitor], seconds: float, rounds: int = 5, turn: float = 0.02,
                failed: Optional[Dict[str, str]] = None, beside: Optional[Callable[[], None]] = None) -> dict[str, dict]:
    """Seconds a call, by competitor: median, quartiles, least, and the number of samples.

    A turn lasts about `turn` seconds (one call at least) and is one sample. Before it the threads of the previous
    competitor get time to stop spinning, and where a call is short one more is not timed: it wakes the own threads. At
    least `rounds` rounds (three where a call takes seconds), and until `seconds` have passed. failed: receives those of
    another process that ended meanwhile, with the reason; without it that is an error. beside: called in every
    round after the first competitor, whose neighbours are then the same.
    """
    streams = {c.name: itertools.cycle(c.inputs) for c in competitors}
    running, calls = list(competitors), {}

    def timed(c: Competitor, count: int) -> Optional[float]:
        try:
            return _turn(c, streams[c.name], count)
        except RuntimeError as error:
            if failed is None or c.turn is None:
                raise
            failed[c.name] = str(error)
            running.remove(c)
            return None

    for c in competitors:
        if timed(c, 1) is None:  # memory is allocated, code compiled
            continue
        each = timed(c, 1)
        if each is not None:
            calls[c.name] = max(1, round(turn / max(each, 1e-7)))
            rounds = 3 if each > _LONG_SECONDS else rounds
    # The first estimate of a short call is mostly start-up; the second is of a whole turn.
    for c in list(running):
        each = timed(c, calls[c.name]) if calls[c.name] > 1 else None
        if each is not None:
            calls[c.name] = max(1, round(turn / max(each, 1e-7)))
    samples: dict[str, list[float]] = {c.name: [] for c in competitors}
    start, done, pause = time.perf_counter(), 0, _OTHERS_SPIN_SECONDS
    while running and (done < rounds or time.perf_counter() - start < seconds):
        for place, c in enumerate(list(running)):
            time.sleep(pause)
            pause = _SPIN_SECONDS if c.turn is None else _OTHERS_SPIN_SECONDS
            if calls[c.name] > 1 and timed(c, 1) is None:
                continue
            each = timed(c, calls[c.name])
            if each is not None:
                samples[c.name].append(each)
            if place == 0 and beside is not None:
                beside()
        done += 1
    return {c.name: summary(samples[c.name]) for c in running}


def summary(samples: Sequence[float]) -> dict:
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    return {"median_s": middle, "q1_s": low, "q3_s": high, "least_s": min(samples), "samples": len(samples)}
