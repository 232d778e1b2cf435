# SPDX-License-Identifier: Apache-2.0
"""The dense softmax module: moekit.torch.MoE and moekit.MoE against the plain PyTorch module, eager and compiled."""
from __future__ import annotations

from typing import Iterator

import numpy as np

import moekit

from .suite import Case, Options
from .timing import Competitor

# experts, input, output, batch
SHAPES = ((4, 10, 5, 32), (8, 512, 512, 1), (8, 512, 512, 64), (8, 512, 512, 1024), (64, 1024, 1024, 256))
QUICK_SHAPES = ((4, 10, 5, 32), (2, 16, 8, 3))


def plain_module(num_experts: int, input_dim: int, output_dim: int):
    """The module as tutorials write it: every expert on every row, stacked, weighted by the softmax, summed."""
    import torch
    from torch import nn

    class PlainMoE(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(input_dim, output_dim) for _ in range(num_experts)])
            self.gate = nn.Linear(input_dim, num_experts)

        def forward(self, x):
            mix = torch.softmax(self.gate(x), dim=-1)
            outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
            return (outputs * mix.unsqueeze(-2)).sum(-1)

    return PlainMoE().eval().requires_grad_(False)


def _numpy_competitor(plain, x, dtype: str):
    """moekit.MoE on NumPy arrays, or why not."""
    if dtype == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            return None, "ml_dtypes is not installed"
        array = x.float().numpy().astype(ml_dtypes.bfloat16)
    else:
        array = x.numpy()
    moe = moekit.MoE(len(plain.experts), plain.gate.in_features, plain.experts[0].out_features, dtype=dtype)
    moe.load_state_dict(plain.state_dict())
    return Competitor("moekit.MoE (NumPy)", moe, [array]), ""


def _case(shape, dtype: str, quick: bool) -> Case:
    import torch

    from ..torch import MoE

    experts, inputs, outputs, batch = shape
    torch.manual_seed(0)
    plain = plain_module(experts, inputs, outputs).to(getattr(torch, dtype))
    x = torch.randn(batch, inputs).to(getattr(torch, dtype))
    reference = plain_module(experts, inputs, outputs).double()
    reference.load_state_dict(plain.state_dict())
    missing = {}
    competitors = [Competitor("moekit.torch.MoE", MoE.from_torch(plain).eval(), [x])]
    by_numpy, reason = _numpy_competitor(plain, x, dtype)
    if by_numpy is None:
        missing["moekit.MoE (NumPy)"] = reason
    else:
        competitors.append(by_numpy)
    competitors.append(Competitor("torch eager", plain, [x]))
    if quick:
        missing["torch.compile"] = "compiling takes too long for --quick"
    else:
        torch._dynamo.reset()
        competitors.append(Competitor("torch.compile", torch.compile(plain), [x]))
    size = experts * inputs * outputs
    return Case(
        "dropin", {"experts": experts, "input": inputs, "output": outputs, "batch": batch, "dtype": dtype}, competitors,
        reference(x.double()).numpy(), _to_numpy, size * (2 if dtype == "bfloat16" else 4), 2.0 * size * batch, missing)


def _to_numpy(y) -> np.ndarray:
    return y.astype(np.float64) if isinstance(y, np.ndarray) else y.detach().double().numpy()


def cases(options: Options) -> Iterator[Case]:
    """Cases one after the other, so that one at a time is in memory. Raises ImportError without torch."""
    import torch

    with torch.no_grad():  # and off while a case runs: the generator waits inside
        for dtype in ("float32", "bfloat16"):
            for shape in QUICK_SHAPES if options.quick else SHAPES:
                yield _case(shape, dtype, options.quick)
