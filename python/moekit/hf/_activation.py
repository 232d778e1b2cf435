# SPDX-License-Identifier: Apache-2.0
"""Which of moekit's activations a module of transformers computes.

The module is asked: its own gate function runs on a grid of points, and must agree with a formula on all of them. A
class that is not known by name is understood as long as it computes a known formula, and one that changed its formula
is not mistaken for what it was.
"""
from __future__ import annotations

import torch
from torch.nn import functional as F

# Both sides of every bend: near zero, around +-1, and far enough that a clamp at any usual limit shows.
_SIZES = (1e-3, 0.2, 0.7, 1.5, 3.0, 6.0, 20.0, 100.0, 3e3)
_POINTS = (0.0, *_SIZES, *(-size for size in _SIZES))
# float32 arithmetic of a few operations, with cancellation in 1 + erf(g): an error of a few 2^-24 times
# (1 + |g|)(1 + |u|).
# The closest pair of formulas, the two GELUs, differ by 5e-4 near g = 2.
_RTOL, _ATOL = 1e-5, 1e-6


def _numbers(module, *names: str) -> list[float]:
    """Positive numbers that the module has under these names."""
    values = [getattr(module, name, None) for name in names]
    return [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0]


def _gated(limits: list[float], alphas: list[float]):
    """(fields of the expert configuration, formula of gate g and up u) of every gated form."""
    yield {"act": "silu"}, lambda g, u: F.silu(g) * u
    yield {"act": "gelu_tanh"}, lambda g, u: F.gelu(g, approximate="tanh") * u
    yield {"act": "gelu"}, lambda g, u: F.gelu(g) * u
    for limit in limits:
        def clamped(g, u, limit=limit):
            return g.clamp(max=limit), u.clamp(-limit, limit)
        yield ({"act": "silu_clamp", "limit": limit},
               lambda g, u, c=clamped: F.silu(c(g, u)[0]) * c(g, u)[1])
        yield ({"act": "swiglu_step", "limit": limit},
               lambda g, u, limit=limit: F.silu(g).clamp(max=limit) * u.clamp(-limit, limit))
        for alpha in alphas:
            def oai(g, u, c=clamped, alpha=alpha):
                g, u = c(g, u)
                return (u + 1.0) * g * torch.sigmoid(alpha * g)
            yield {"act": "swiglu_oai", "limit": limit, "alpha": alpha, "up_add": 1.0}, oai


_UNGATED = (({"act": "relu"}, F.relu), ({"act": "relu2"}, lambda u: F.relu(u).square()))


def _agrees(got: torch.Tensor, want: torch.Tensor, size: torch.Tensor) -> bool:
    return got.shape == want.shape and bool(((got - want).abs() <= _RTOL * want.abs() + _ATOL * size).all())


@torch.no_grad()
def recognise(module) -> dict | None:
    """Fields of the expert configuration for the activation of an experts module, None when it is none of moekit's."""
    limits = _numbers(module, "limit", "swiglu_limit")
    points = [*_POINTS, *(sign * factor * limit for limit in limits for sign in (-1, 1) for factor in (0.9, 1.1))]
    grid = torch.tensor(points, dtype=torch.float32, device="cpu")
    try:
        if not module.has_gate:
            got, u = module.act_fn(grid).double(), grid.double()
            return next((fields for fields, f in _UNGATED if _agrees(got, f(u), 1 + u.abs())), None)
        g, u = grid.repeat_interleave(len(points)), grid.repeat(len(points))
        row = torch.cat([g, u]) if module.is_concatenated else torch.stack([g, u], dim=1).flatten()
        got = module._apply_gate(row.unsqueeze(0)).squeeze(0).double()
    except Exception:  # noqa: BLE001: whatever foreign code does with these inputs, it is not a formula of this list
        return None
    alphas = [*_numbers(module, "alpha", "swiglu_alpha"), 1.702]
    g, u = g.double(), u.double()
    size = (1 + g.abs()) * (1 + u.abs())
    return next((fields for fields, f in _gated(limits, alphas) if _agrees(got, f(g, u), size)), None)
