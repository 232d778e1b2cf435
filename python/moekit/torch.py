# SPDX-License-Identifier: Apache-2.0
"""The drop-in nn.Module. Importing this file imports torch; `import moekit` does not.

How a call is computed:
  - under torch.compile and torch.export: as one custom op, `moekit::moe`, with a fake implementation and an autograd
    formula;
  - in eager mode, when grad is enabled and x or a parameter requires it: in torch, so that training works;
  - in eager mode otherwise: by moekit, past the torch dispatcher. Packed weights are kept until a parameter changes.
What moekit cannot take (other devices, meta tensors, other dtypes, autocast, functorch transforms, subclasses of
Tensor) is computed in torch, with torch's own results and errors. `MoE.explain()` says which way and why.
"""
from __future__ import annotations

from typing import Optional

import torch
from torch import nn
from torch.autograd import forward_ad

from . import _core, _torch_op

__all__ = ["MoE"]

# Looked up once: attribute chains would be a tenth of a small call.
_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_has_any_global_hook = nn.modules.module._has_any_global_hook
_is_tracing = torch._C._get_tracing_state
_is_autocast = getattr(torch._C, "_is_any_autocast_enabled", None) or (lambda: torch.is_autocast_enabled("cpu"))
_PLAIN = frozenset((torch.Tensor, nn.Parameter))


class MoE(nn.Module):
    """y = sum_e softmax(gate(x))_e experts[e](x), x [..., input_dim] to y [..., output_dim], float32 or bfloat16.

    Constructor, parameter names (`experts.i.weight`, `experts.i.bias`, `gate.weight`, `gate.bias`) and initial values
    under a seed are those of the plain module with `experts = ModuleList(Linear...)` and `gate = Linear`. Hooks on the
    inner Linear modules do not run when moekit computes. Writes through `parameter.data[...]` that leave its first
    64 bytes alone are not noticed: call `repack()` after them.
    """

    def __init__(self, num_experts: int, input_dim: int, output_dim: int, device=None, dtype=None):
        super().__init__()
        for name, value in (("num_experts", num_experts), ("input_dim", input_dim), ("output_dim", output_dim)):
            if value < 1:
                raise ValueError(f"[MoE] {name} is {value}, expected >= 1")
        factory = {"device": device, "dtype": dtype}
        self.experts = nn.ModuleList([nn.Linear(input_dim, output_dim, **factory) for _ in range(num_experts)])
        self.gate = nn.Linear(input_dim, num_experts, **factory)
        self._cell: Optional[_core.TorchCell] = None

    @classmethod
    def from_torch(cls, module: nn.Module) -> "MoE":
        """Takes over any module with `.experts` (Linear modules of one shape) and `.gate` (Linear): shares its
        Parameters, copies nothing. Raises TypeError or ValueError naming the part that has another form."""
        experts, gate = getattr(module, "experts", None), getattr(module, "gate", None)
        if experts is None or gate is None:
            raise TypeError(f"[MoE] {type(module).__name__} has no .experts and .gate")
        experts = list(experts)
        for name, part in [("gate", gate), *((f"experts.{i}", e) for i, e in enumerate(experts))]:
            if not isinstance(part, nn.Linear) or "weight" not in part._parameters:
                raise TypeError(f"[MoE] {name} is a {type(part).__name__}, expected a plain torch.nn.Linear")
        if not experts or gate.out_features != len(experts):
            raise ValueError(f"[MoE] gate has {gate.out_features} outputs for {len(experts)} experts")
        shape = (experts[0].in_features, experts[0].out_features)
        for i, expert in enumerate(experts):
            if (expert.in_features, expert.out_features) != shape or gate.in_features != shape[0]:
                raise ValueError(f"[MoE] experts.{i} maps {expert.in_features} -> {expert.out_features}, expected "
                                 f"{shape[0]} -> {shape[1]}, and the gate takes {gate.in_features}")
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        # The very ModuleList where there is one, so that what happens to it is seen here too.
        self.experts = module.experts if isinstance(module.experts, nn.ModuleList) else nn.ModuleList(experts)
        self.gate = gate
        self._cell = None
        self.training = module.training
        return self

    @property
    def num_experts(self) -> int:
        return len(self.experts)

    @property
    def input_dim(self) -> int:
        return self.gate.in_features

    @property
    def output_dim(self) -> int:
        return self.experts[0].out_features

    def _tensors(self):
        experts = list(self.experts)
        return self.gate.weight, self.gate.bias, [e.weight for e in experts], [e.bias for e in experts]

    def __call__(self, *args, **kwargs):
        # nn.Module.__call__ costs as much as a small layer; what it adds is hooks, and modules mostly have none.
        if (len(args) == 1 and not kwargs and not _is_compiling() and not _has_any_global_hook()
                and not (self._forward_hooks or self._forward_pre_hooks
                         or self._backward_hooks or self._backward_pre_hooks)):
            y = self._forward_fast(args[0])
            if y is not None:
                return y
        return super().__call__(*args, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _is_compiling():
            return _torch_op.call(x, *self._tensors())
        y = self._forward_fast(x)
        return self._forward_slow(x) if y is None else y

    def _forward_fast(self, x):
        """y, or None when nothing is packed, a parameter changed or x is not the layer's to compute."""
        cell = self._cell
        if (cell is not None and type(x) in _PLAIN
                and not (_is_grad_enabled() and (x.requires_grad or cell.requires_grad()))
                and not _is_autocast() and _is_tracing() is None and forward_ad._current_level < 0):
            return cell.call(x)
        return None

    def _needs_grad(self, x) -> bool:
        return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))

    def _forward_slow(self, x):
        if not self._needs_grad(x) and self._decline(x) is None:
            if self._cell is None or not self._cell.fresh():
                self.repack()
            y = self._cell.call(x)
            if y is not None:
                return y
        return _torch_op.plain(x, *self._tensors())

    def _decline(self, x) -> Optional[str]:
        """Why a call without gradients is left to torch, None when moekit takes it."""
        if type(x) not in _PLAIN:
            return f"x is a {type(x).__name__}"
        if _is_autocast() or _is_tracing() is not None or forward_ad._current_level >= 0:
            return "autocast, torch.jit tracing or forward-mode differentiation is on"
        return _torch_op.decline(x, *self._tensors())

    def repack(self) -> None:
        """Packs the parameters again, whether or not a change was noticed."""
        gate_weight, gate_bias, weights, biases = self._tensors()
        layer = _torch_op.pack(gate_weight, gate_bias, weights, biases)
        experts = self.experts._modules
        links = [(self._modules, "experts"), (self._modules, "gate"), *((experts, name) for name in experts)]
        parameters = [(module._parameters, name) for module in (self.gate, *self.experts) for name in ("weight", "bias")]
        aliases = [t.detach() for t in (gate_weight, gate_bias, *weights, *biases) if t is not None]
        self._cell = _core.TorchCell(layer, links, parameters, [experts], aliases)

    def explain(self, x: Optional[torch.Tensor] = None) -> str:
        """How a call (with x, or with a float input on the parameters' device) would be computed now."""
        x = self.gate.weight.new_empty((1, self.input_dim)) if x is None else x
        if self._needs_grad(x):
            return "torch: gradients are enabled and required (use torch.no_grad() for moekit)"
        if reason := self._decline(x):
            return f"torch: {reason}"
        if self._cell is None or not self._cell.fresh():
            self.repack()
        return self._cell.layer.explain()

    def extra_repr(self) -> str:
        return f"num_experts={self.num_experts}, input_dim={self.input_dim}, output_dim={self.output_dim}"

    def __getstate__(self):
        return {**self.__dict__, "_cell": None}  # packed weights neither travel nor are shared by copies
