# SPDX-License-Identifier: Apache-2.0
"""The dense softmax Mixture-of-Experts module of the PyTorch tutorials, on arrays."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from . import _core


_QUANTISED = ("int8", "int4", "fp8", "mxfp4")
_PACKED = _QUANTISED + ("bf16z",)  # the kernels' copy is in it, the parameters are not


def _numpy_dtype(name: str) -> np.dtype:
    if name == "float32" or name in _QUANTISED:
        return np.dtype(np.float32)
    if name not in ("bfloat16", "bf16z"):
        raise ValueError(f"[MoE] dtype is {name!r}, expected 'float32', 'bfloat16', {', '.join(map(repr, _PACKED))}")
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError("[MoE] bfloat16 parameters are ml_dtypes arrays: pip install 'moekit[bfloat16]'") from error
    return np.dtype(ml_dtypes.bfloat16)


class MoE:
    """y = sum_e softmax(x Wg^T + bg)_e (x We^T + be): every expert is a linear map, all of them are mixed.

    num_experts, input_dim, output_dim: sizes >= 1. dtype: "float32" or "bfloat16"; or "int8", "int4", "fp8", "mxfp4":
    the parameters are float32, and the kernels' copy of the expert weights is quantised; or "bf16z": the parameters are
    bfloat16, and the kernels' copy has the same bits in three quarters of the bytes. seed: of the initial
    parameters, uniform in +-1/sqrt(input_dim) as torch.nn.Linear draws them. device: where the module computes, "cpu",
    "cuda[:N]" or "ascend[:N]"; arrays are in host memory all the same. int8_activations: as for `load_layer`, with
    "int8", "int4" or "mxfp4". reproducible, bf16_split: as for `load_layer`.

    Parameters are named as in the PyTorch module: `experts.i.weight` [output_dim, input_dim], `experts.i.bias`
    [output_dim], `gate.weight` [num_experts, input_dim], `gate.bias` [num_experts]. They are held once as arrays and
    once packed for the kernels.
    """

    def __init__(self, num_experts: int, input_dim: int, output_dim: int, *, dtype: str = "float32", seed: int = 0,
                 device: str = "cpu", int8_activations: bool = False, reproducible: bool = False,
                 bf16_split: bool = False):
        for name, value in (("num_experts", num_experts), ("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"[MoE] {name} is {value!r}, expected an integer >= 1")
        self.num_experts, self.input_dim, self.output_dim = int(num_experts), int(input_dim), int(output_dim)
        self._device, self._int8_activations, self._reproducible = device, bool(int8_activations), bool(reproducible)
        self._bf16_split = bool(bf16_split)
        kind, bound = _numpy_dtype(dtype), self.input_dim**-0.5
        self._format = dtype if dtype in _PACKED else "auto"
        random = np.random.default_rng(seed)
        self._install({name: random.uniform(-bound, bound, shape).astype(np.float32).astype(kind)
                       for name, shape in self._shapes().items()})

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(self.num_experts):
            shapes[f"experts.{i}.weight"] = (self.output_dim, self.input_dim)
            shapes[f"experts.{i}.bias"] = (self.output_dim,)
        shapes["gate.weight"] = (self.num_experts, self.input_dim)
        shapes["gate.bias"] = (self.num_experts,)
        return shapes

    def _install(self, parameters: dict[str, Any]) -> None:
        experts = range(self.num_experts)
        layer = _core.make_moe(
            parameters["gate.weight"], parameters["gate.bias"], [parameters[f"experts.{i}.weight"] for i in experts],
            [parameters[f"experts.{i}.bias"] for i in experts], self.input_dim, self.output_dim, self._format, self._device,
            "auto", self._int8_activations, self._reproducible, self._bf16_split)
        self._parameters, self._layer, self._forward = parameters, layer, layer.forward

    def __call__(self, x):
        """x [..., input_dim] float32 or bfloat16, of any array kind, to y [..., output_dim] of the same kind and dtype.

        Raises TypeError (kind, dtype, gradients) and ValueError (shape, device).
        """
        return self._forward(x)

    def state_dict(self) -> dict[str, Any]:
        """Copies of the parameters, by name."""
        return {name: np.array(value) for name, value in self._parameters.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes copies of all parameters: NumPy arrays, torch tensors or DLPack objects, float32 or bfloat16.

        Raises ValueError naming missing, unexpected or differently shaped entries; nothing changes then.
        """
        shapes = self._shapes()
        if missing := [name for name in shapes if name not in state]:
            raise ValueError(f"[MoE] state_dict lacks {', '.join(missing)}")
        if extra := [name for name in state if name not in shapes]:
            raise ValueError(f"[MoE] state_dict has unexpected {', '.join(map(str, extra))}")
        self._install({name: _core.to_numpy(state[name], name) for name in shapes})

    @classmethod
    def from_torch(cls, module, *, device: str = "cpu") -> "MoE":
        """A copy of a torch module with `.experts` (a sequence of Linear) and `.gate` (Linear), on `device`."""
        experts, gate = list(module.experts), module.gate
        state = {"gate.weight": gate.weight.detach(), "gate.bias": _bias(gate)}
        for i, expert in enumerate(experts):
            state[f"experts.{i}.weight"], state[f"experts.{i}.bias"] = expert.weight.detach(), _bias(expert)
        self = cls.__new__(cls)
        self._device, self._int8_activations, self._reproducible, self._bf16_split = device, False, False, False
        self.num_experts = len(experts)
        self.output_dim, self.input_dim = (int(n) for n in experts[0].weight.shape)
        self._format = "auto"
        self.load_state_dict(state)
        return self

    @property
    def dtype(self) -> str:
        """Name of the parameters' dtype, or of the format of the quantised experts."""
        return self._parameters["gate.weight"].dtype.name if self._format == "auto" else self._format

    def explain(self) -> str:
        """What was chosen for this module, and why better candidates declined."""
        return self._layer.explain()

    def __repr__(self) -> str:
        return (f"MoE(num_experts={self.num_experts}, input_dim={self.input_dim}, output_dim={self.output_dim}, "
                f"dtype={self.dtype!r}, backend={self._layer.backend!r})")

    def __reduce__(self):
        return _restore, (self.num_experts, self.input_dim, self.output_dim, self.state_dict(), self._format, self._device,
                          self._int8_activations, self._reproducible, self._bf16_split)


def _bias(linear):
    """The bias of a Linear, zeros when it has none."""
    return linear.weight.new_zeros(linear.weight.shape[0]) if linear.bias is None else linear.bias.detach()


def _restore(num_experts: int, input_dim: int, output_dim: int, state: dict[str, Any], form: str = "auto",
             device: str = "cpu", int8_activations: bool = False, reproducible: bool = False,
             bf16_split: bool = False) -> MoE:
    moe = MoE.__new__(MoE)
    moe._format, moe._device, moe._int8_activations, moe._reproducible = form, device, int8_activations, reproducible
    moe._bf16_split = bf16_split
    moe.num_experts, moe.input_dim, moe.output_dim = num_experts, input_dim, output_dim
    moe.load_state_dict(state)
    return moe
