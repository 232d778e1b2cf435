# SPDX-License-Identifier: Apache-2.0
"""How often a cache of experts would have held what a run needed.

A cache of a layer has `slots` places for experts. A call needs each expert that it routes a token to once, in ascending
order, as layers read them; what is not there is loaded and takes a place. LRU gives up the expert that was needed
longest ago. The optimal policy gives up the one that is needed again latest or never, which no policy can beat
(L. A. Belady, IBM Systems Journal 5 (1966) 78-101); it knows the future, so it is a bound and not a method."""
from __future__ import annotations

import heapq
from typing import Iterable, Sequence

NEVER = 1 << 62


def needed(calls: Iterable) -> list:
    """The experts that calls [tokens, k] of ids need, one after the other; -1 is none."""
    return [expert for rows in calls for expert in sorted({i for row in rows for i in row if i >= 0})]


def lru_hits(sequence: Sequence[int], slots: Sequence[int]) -> list:
    """Hits of LRU caches, one for each number of slots. An access hits where fewer different experts than slots were
    needed since it was last (Mattson's stack distance): one pass for all sizes."""
    stack: list = []  # last needed first
    at_distance = [0] * (max(slots, default=0) + 1)
    for expert in sequence:
        if expert in stack:
            distance = stack.index(expert)
            del stack[distance]
            if distance < len(at_distance) - 1:
                at_distance[distance + 1] += 1
        stack.insert(0, expert)
    return [sum(at_distance[: n + 1]) for n in slots]


def optimal_hits(sequence: Sequence[int], slots: int) -> int:
    """Hits of the optimal policy with that many slots."""
    if slots < 1:
        return 0
    following, last = [NEVER] * len(sequence), {}
    for i in range(len(sequence) - 1, -1, -1):
        following[i] = last.get(sequence[i], NEVER)
        last[sequence[i]] = i
    held: dict = {}  # expert -> when it is needed next
    latest: list = []  # heap of (-next use, expert), with entries that are out of date
    hits = 0
    for i, expert in enumerate(sequence):
        if expert in held:
            hits += 1
        elif len(held) == slots:
            while True:
                use, victim = heapq.heappop(latest)
                if held.get(victim) == -use:
                    del held[victim]
                    break
        held[expert] = following[i]
        heapq.heappush(latest, (-following[i], expert))
    return hits
