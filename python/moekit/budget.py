# SPDX-License-Identifier: Apache-2.0
"""A memory budget for the experts of several layers.

What every call of a layer may need (shared experts, biases) comes first. The rest is divided in proportion to the bytes
of the layers' routed experts, so that each layer has the same share of its experts in memory: calls come to the layers
in turn, and none has more use for a slot than another. Sizes are `MoeLayer.memory_needs`."""
from __future__ import annotations

from typing import Sequence

from .layer import MemoryNeeds


def _routed(needs: Sequence[MemoryNeeds]) -> int:
    return sum(n.experts * n.expert for n in needs)


def for_slots(needs: Sequence[MemoryNeeds], slots: int) -> int:
    """The smallest budget, in bytes, that leaves each layer room for so many experts, or for all that it has."""
    routed = _routed(needs)
    shares = (-(-min(slots, n.experts) * routed // n.experts) for n in needs)  # rounded up
    return sum(n.always for n in needs) + max(shares, default=0)


def divide(needs: Sequence[MemoryNeeds], budget: int) -> list[int]:
    """The budget of each layer. Raises ValueError where one would have no room for an expert, naming the smallest
    budget that will do."""
    if budget < (least := for_slots(needs, 1)):
        raise ValueError(f"[memory_budget] {budget} bytes for {len(needs)} layers, they need at least {least} (one expert "
                         f"a layer, and {sum(n.always for n in needs)} for what all calls need)")
    routed, rest = _routed(needs), budget - sum(n.always for n in needs)
    return [n.always + rest * n.experts * n.expert // routed for n in needs]
