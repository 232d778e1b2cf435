# SPDX-License-Identifier: Apache-2.0
"""What the packed layers of a model hold, and what became of a memory budget."""
from __future__ import annotations

from typing import NamedTuple

from torch import nn

from . import _moved


class Memory(NamedTuple):
    """Sums over the packed layers of a model."""

    nbytes: int  #: of the packed weights
    resident_nbytes: int  #: of these in memory, or mapped: less than all under a memory budget
    slots: int  #: experts that a budget has room for; 0: all are in memory or mapped, nothing is counted
    hits: int  #: experts that calls needed and found
    loads: int  #: and those that were read from the file


def memory(model: nn.Module) -> Memory:
    """What the layers hold that `replace_moe` or the experts implementation "moekit" made of the model's weights, and
    how often experts were found there or read since."""
    layers = {id(moved.layer): moved.layer for module in model.modules()
              if (moved := _moved.moved_of(module)) is not None}
    each = [(layer.nbytes, layer.resident_nbytes, *layer.cache_counts) for layer in layers.values()]
    return Memory(*(sum(column) for column in zip(*each))) if each else Memory(0, 0, 0, 0, 0)
