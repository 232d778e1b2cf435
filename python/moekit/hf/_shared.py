# SPDX-License-Identifier: Apache-2.0
"""Shared experts that stand beside the blocks that use them: an MLP as a layer of one expert, whose weight is 1."""
from __future__ import annotations

import types
from typing import NamedTuple

import torch
from torch import nn

from .. import CheckpointError
from ..layer import MoeLayer
from . import _calls, _conditions, _moved, _quantised

_PARTS = ("gate", "up", "down")


class _Shared(NamedTuple):
    """What replace_shared was asked to make of an MLP."""
    name: str
    expert: dict
    dtype: str
    int8_activations: bool
    reproducible: bool
    bf16_split: bool


def _parts(tensors: dict):
    """The one expert, in the form that `Moved` asks for."""
    yield False, 0, tensors


def _pack(mlp: nn.Module) -> _moved.Moved:
    """Packs the MLP and moves its weights. Raises CheckpointError, UnsupportedError; then nothing has changed."""
    with _moved.lock:
        if (moved := _moved.moved_of(mlp.down_proj)) is not None:
            moved.restore()
        name, expert, dtype, int8_activations, reproducible, bf16_split = mlp._moekit_shared
        slots = {part: _moved.Slot(mlp.get_submodule(f"{part}_proj"), "weight") for part in _PARTS}
        known = {f"{part}_proj.weight" for part in _PARTS}
        if extra := [key for key, _ in [*mlp.named_parameters(), *mlp.named_buffers()]
                     if key not in known and not _quantised.is_scale(key)]:
            raise CheckpointError(f"[replace_moe] {name}.{extra[0]} is not understood")
        parameters = {f"{name}.{part}_proj": slot.owner.weight for part, slot in slots.items()}
        quantised = [f"{name}.{part}_proj" for part, slot in slots.items() if _quantised.is_quantised(*slot)]
        if reason := _conditions.why_not_parameters(parameters, quantised):
            raise CheckpointError(f"[replace_moe] {reason}")
        for key in quantised:
            _quantised.refuse_dtype(key, parameters[key], dtype)
        config = {"router": {"source": "external", "num_experts": 1, "top_k": 1}, "expert": expert}
        tensors = {f"experts.0.{part}": _quantised.weight_of(slot.owner) for part, slot in slots.items()}
        layer = MoeLayer.from_arrays(config, tensors, dtype=dtype, int8_activations=int8_activations,
                                      reproducible=reproducible, bf16_split=bf16_split)
        return _moved.Moved(layer, slots, _parts, dtype)


def _forward(self: nn.Module, hidden_states: torch.Tensor):
    reason = _conditions.why_not_tensors(self, hidden_states)
    moved = _moved.moved_of(self.down_proj)
    if reason is not None:
        _calls.fall_back(type(self).__name__, reason)
        if moved is not None:
            moved.restore()
        return type(self).forward(self, hidden_states)
    if moved is None or not moved.intact():
        moved = _pack(self)
    _calls.count(_calls.SHARED)
    tokens = hidden_states.numel() // moved.hidden
    return moved.layer(hidden_states, expert_ids=torch.zeros(tokens, 1, dtype=torch.int32),
                       weights=torch.ones(tokens, 1))


def replace_shared(mlp: nn.Module, name: str, expert: dict, dtype: str, int8_activations: bool,
                   reproducible: bool, bf16_split: bool) -> MoeLayer:
    """Lets moekit compute an MLP of gate_proj, up_proj and down_proj, of the configuration `expert`, whose weights move.
    Raises CheckpointError, UnsupportedError."""
    mlp.__dict__["_moekit_shared"] = _Shared(name, expert, dtype, int8_activations, reproducible, bf16_split)
    moved = _pack(mlp)
    mlp.__dict__["forward"] = types.MethodType(_forward, mlp)
    return moved.layer


def restore_shared(mlp: nn.Module) -> None:
    """Undoes replace_shared, apart from the weights."""
    for key in ("forward", "_moekit_shared"):
        mlp.__dict__.pop(key, None)
