# SPDX-License-Identifier: Apache-2.0
"""The formula in plain torch, the custom op `moekit::moe`, and the packed weights behind it."""
from __future__ import annotations

from typing import List, Optional

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from . import _core


def plain(x, gate_weight, gate_bias, weights, biases):
    """softmax(x Wg^T + bg) [..., E] times the experts' outputs [..., O, E], summed over E."""
    mix = F.softmax(F.linear(x, gate_weight, gate_bias), dim=-1)
    outputs = torch.stack([F.linear(x, w, b) for w, b in zip(weights, biases)], dim=-1)
    return (outputs * mix.unsqueeze(-2)).sum(-1)


def decline(x, gate_weight, gate_bias, weights, biases) -> Optional[str]:
    """Why these tensors are not moekit's to compute, or None."""
    parameters = [t for t in (gate_weight, gate_bias, *weights, *biases) if t is not None]
    dtype = gate_weight.dtype
    if dtype not in (torch.float32, torch.bfloat16):
        return f"parameters have dtype {dtype}, moekit computes float32 and bfloat16"
    for tensor in (x, *parameters):
        if tensor.device.type != "cpu":
            return f"a tensor is on {tensor.device}, moekit.torch computes on the CPU"
        if tensor.dtype != dtype:
            return f"dtypes {dtype} and {tensor.dtype} are mixed"
        if tensor.layout != torch.strided:
            return f"a tensor has layout {tensor.layout}"
    return None


def pack(gate_weight, gate_bias, weights, biases) -> _core.Layer:
    """A packed layer in the tensors' own dtype, which is packed fastest: they may change afterwards, or go."""
    output_dim, input_dim = weights[0].shape
    detach = lambda t: None if t is None else t.detach()  # noqa: E731: packing asks for no gradients
    return _core.make_moe(detach(gate_weight), detach(gate_bias), [detach(t) for t in weights],
                          [detach(t) for t in biases], input_dim, output_dim, str(weights[0].dtype).removeprefix("torch."),
                          "cpu", "auto", False, False, False)


class _Packed:
    """A layer and the tensors it was packed from, which it does not keep alive: once a storage is gone its address may
    come to mean something else, and the entry is void."""

    def __init__(self, tensors: list, layer: _core.Layer):
        self.layer = layer
        self._stamps = _core.Stamps(tensors)
        self._storages = [StorageWeakRef(t.untyped_storage()) for t in tensors if t is not None]

    def alive(self) -> bool:
        return not any(ref.expired() for ref in self._storages)

    def holds(self, tensors: list) -> bool:
        return self._stamps.matches(tensors) and self.alive()


_packed: dict[int, _Packed] = {}  # by address of the gate's weight: one module, one entry


def _layer_for(gate_weight, gate_bias, weights, biases) -> _core.Layer:
    tensors = [gate_weight, gate_bias, *weights, *biases]
    key = gate_weight.data_ptr()
    entry = _packed.get(key)
    if entry is None or not entry.holds(tensors):
        for dead in [k for k, v in list(_packed.items()) if not v.alive()]:
            _packed.pop(dead, None)
        entry = _packed[key] = _Packed(tensors, pack(gate_weight, gate_bias, weights, biases))
    return entry.layer


@torch.library.custom_op("moekit::moe", mutates_args=())
def _moe(x: Tensor, gate_weight: Tensor, gate_bias: Optional[Tensor], weights: List[Tensor],
         biases: List[Tensor]) -> Tensor:
    expert_biases = biases or [None] * len(weights)
    if decline(x, gate_weight, gate_bias, weights, expert_biases) is not None or x.shape[-1] != gate_weight.shape[1]:
        return plain(x, gate_weight, gate_bias, weights, expert_biases).contiguous()
    return _layer_for(gate_weight, gate_bias, weights, expert_biases).forward(x.detach())


@_moe.register_fake
def _(x, gate_weight, gate_bias, weights, biases):
    return x.new_empty((*x.shape[:-1], weights[0].shape[0]))


def _setup_context(ctx, inputs, output):
    x, gate_weight, gate_bias, weights, biases = inputs
    ctx.count, ctx.has_gate_bias, ctx.has_biases = len(weights), gate_bias is not None, bool(biases)
    ctx.save_for_backward(x, gate_weight, *([gate_bias] if ctx.has_gate_bias else []), *weights, *biases)


def _backward(ctx, dy):
    """With g = softmax(z) and o_e = x We^T + be: dWe = (g_e dy)^T x, dg_e = dy . o_e, dz = g (dg - sum g dg)."""
    x, gate_weight, *rest = ctx.saved_tensors
    gate_bias = rest.pop(0) if ctx.has_gate_bias else None
    weights, biases = rest[:ctx.count], rest[ctx.count:]
    shape, x, dy = x.shape, x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    g = F.softmax(F.linear(x, gate_weight, gate_bias), dim=-1)
    dx, dg, dweights, dbiases = torch.zeros_like(x), [], [], []
    for e, weight in enumerate(weights):
        part = dy * g[:, e:e + 1]
        dx = dx + part @ weight
        dg.append((dy * F.linear(x, weight, biases[e] if biases else None)).sum(-1))
        dweights.append(part.t() @ x)
        dbiases.append(part.sum(0))
    dg = torch.stack(dg, dim=-1)
    dz = g * (dg - (g * dg).sum(-1, keepdim=True))
    dx = (dx + dz @ gate_weight).reshape(shape)
    return dx, dz.t() @ x, dz.sum(0) if ctx.has_gate_bias else None, dweights, dbiases if biases else []


_moe.register_autograd(_backward, setup_context=_setup_context)


def call(x, gate_weight, gate_bias, weights, biases):
    """The op; experts have biases all or none."""
    present = [b for b in biases if b is not None]
    if present and len(present) != len(biases):
        return plain(x, gate_weight, gate_bias, weights, biases)
    return _moe(x, gate_weight, gate_bias, weights, present)
