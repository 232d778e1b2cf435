# SPDX-License-Identifier: Apache-2.0
"""The experts implementation "moekit": transformers routes, moekit computes the experts, plain or quantised."""
from __future__ import annotations

import inspect

import torch
from torch import nn

from .. import CheckpointError, UnsupportedError
from ..layer import MoeLayer
from . import _activation, _calls, _conditions, _moved, _quantised
from ._layout import Layout


class Declined(Exception):
    """The experts are not moekit's to compute; the text says why."""


def pack_experts(experts: nn.Module, top_k: int) -> _moved.Moved:
    """Packs the weights of an experts module and moves them there. Raises Declined; then nothing has changed."""
    with _moved.lock:
        moved = _moved.moved_of(experts)
        if moved is not None:
            if moved.intact():
                return moved
            moved.restore()  # somebody put a new parameter in place of a packed one
        layout = Layout.of(experts)
        parameters = {name: experts._parameters[name] for name in layout.names}
        if name := _moved.shared(parameters):
            raise Declined(f"{name} is a parameter of another module as well")
        quantised = {name for name in layout.names if _quantised.is_quantised(experts, name)}
        if reason := _conditions.why_not_parameters(parameters, quantised):
            raise Declined(reason)
        if quantised and layout.transposed:
            raise Declined("quantised weights are transposed")
        if getattr(experts, "has_post_expert_norm", False):
            raise Declined("a norm follows each expert")
        activation = _activation.recognise(experts)
        if activation is None:
            raise Declined(f"the activation of {type(experts).__name__} is not one of moekit's")
        try:
            count, hidden, inner = layout.sizes(parameters)
        except CheckpointError as error:
            raise Declined(str(error)) from error
        config = {"router": {"source": "external", "num_experts": count, "top_k": min(top_k, count)},
                  "expert": {"input": hidden, "intermediate": inner, "output": hidden, "up_bias": layout.bias,
                             "down_bias": layout.bias, **activation}}
        try:
            layer = MoeLayer.from_arrays(config, expert_tensors(experts, layout, count))
        except UnsupportedError as error:
            raise Declined(str(error)) from error
        slots = {name: _moved.Slot(experts, name) for name in layout.names}
        return _moved.Moved(layer, slots, Parts(layout, count))


def expert_tensors(experts: nn.Module, layout: Layout, count: int) -> dict:
    """The weights of an experts module, named as in `MoeLayer.from_arrays`. Raises CheckpointError."""
    plain = {name: p for name, p in experts._parameters.items() if not _quantised.is_quantised(experts, name)}
    tensors = {f"experts.{e}.{part}": view.detach() for e in range(count)
               for part, view in layout.expert(plain, e).items()}
    if _quantised.is_quantised(experts, "down_proj"):
        tensors.update(_quantised.expert_tensors(experts, layout))
    return tensors


class Parts:
    """The parts of every expert in stacked tensors, in the form that `Moved` asks for."""

    def __init__(self, layout: Layout, count: int):
        self.layout, self.count = layout, count

    def __call__(self, tensors: dict):
        for e in range(self.count):
            yield False, e, self.layout.expert(tensors, e)


def eager(experts: nn.Module, hidden_states, top_k_index, top_k_weights, reason: str):
    """transformers' own loop, on the module's own parameters. Raises UnsupportedError where it cannot run: for
    quantised weights without the kernels that it loads."""
    if (moved := _moved.moved_of(experts)) is not None:
        moved.restore()
    _calls.fall_back(type(experts).__name__, reason)
    try:
        return inspect.unwrap(type(experts).forward)(experts, hidden_states, top_k_index, top_k_weights)
    except ImportError as error:
        raise UnsupportedError(f"[moekit.hf] {type(experts).__name__} is left to transformers ({reason}), which cannot "
                               f"compute it here: {error}") from error


@torch.compiler.disable(reason="moekit computes outside the graph")
def experts_forward(self: nn.Module, hidden_states: torch.Tensor, top_k_index: torch.Tensor,
                    top_k_weights: torch.Tensor) -> torch.Tensor:
    """hidden_states [T, H], top_k_index [T, k] integers, top_k_weights [T, k], to [T, H] of the dtype of hidden_states.

    Under expert parallelism ids >= the number of local experts are skipped; otherwise they are a ValueError.
    """
    def leave(reason):
        return eager(self, hidden_states, top_k_index, top_k_weights, reason)

    if reason := _conditions.why_not_tensors(self, hidden_states, top_k_weights):
        return leave(reason)
    moved = _moved.moved_of(self)
    top_k = top_k_index.shape[-1]
    if moved is None or not moved.intact():
        try:
            moved = pack_experts(self, top_k)
        except Declined as declined:
            return leave(str(declined))
    ids, weights = top_k_index, top_k_weights
    if self._is_expert_parallel:
        count = moved.router["num_experts"]
        if top_k > count:  # at most `count` of a row are local: those first, and no more columns than that
            ids, order = ids.sort(dim=-1)
            ids, weights = ids[..., :count], weights.gather(-1, order)[..., :count]
        ids = ids.masked_fill(ids >= count, -1)
    if ids.shape[-1] != moved.router["top_k"]:
        return leave(f"{top_k} experts a token after {moved.router['top_k']} in the first call")
    _calls.count(_calls.EXPERTS)
    return moved.layer(hidden_states, expert_ids=ids, weights=weights)
