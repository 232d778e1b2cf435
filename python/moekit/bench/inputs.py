# SPDX-License-Identifier: Apache-2.0
"""Weights and rows of the layer suite, and the exact result that competitors are checked against."""
from __future__ import annotations

import numpy as np

from .shapes import Sizes

REFERENCE_ROWS = 16  # rows do not depend on each other: the first ones are checked
_POOL = 1 << 24  # normal values that the weights are cut from: more than any second-level cache holds


def weight_shapes(s: Sizes) -> dict:
    return {"router": (s.experts, s.hidden), "gate_up": (s.experts, 2 * s.intermediate, s.hidden),
            "down": (s.experts, s.hidden, s.intermediate)}


def fill_weights(s: Sizes, weights) -> None:
    """Writes bfloat16 tensors of weight_shapes(s) in place: normal values of deviation 1 / sqrt(columns). Every page is
    written (memory that never was is one zero page and reads like a cache). The values of an expert are a stretch of
    one pool from a place of its own: drawing each of a few billion would take minutes."""
    import torch

    torch.manual_seed(0)
    pool = torch.randn(_POOL + 8191)
    for name in ("gate_up", "down"):
        tensor, columns = weights[name], weights[name].shape[-1]
        scaled = (pool * columns**-0.5).bfloat16()
        flat = tensor.view(s.experts, -1)
        for e in range(s.experts):
            start = int(torch.randint(0, 8191, ()))
            for at in range(0, flat.shape[1], _POOL):
                piece = flat[e, at : at + _POOL]
                # Odd strides of the start: two experts never have the same rows.
                first = (start + e * 4099 * 61) % (len(scaled) - len(piece) + 1)
                piece.copy_(scaled[first : first + len(piece)])
    weights["router"].copy_(torch.randn(s.experts, s.hidden) * s.hidden**-0.5)


def wanted_experts(s: Sizes, tokens: int, routing: str, random) -> list[np.ndarray]:
    """Experts [tokens, k] of each batch of a case.

    uniform: a few tokens rotate through all experts, so that none is met again before all others: drawn at random they
        would meet experts that are still in the cache. More are drawn at random.
    zipf: expert of rank r with odds 1 / r, k different ones a token, ranks shuffled once.
    one: all tokens go to the same k experts, other ones in each batch."""
    each = tokens * s.top_k
    if routing == "uniform" and each <= s.experts // 4:
        deck = random.permutation(s.experts)
        return [deck[i : i + each].reshape(tokens, s.top_k) for i in range(0, s.experts - each + 1, each)]
    count = 8 if tokens <= 1024 else 2
    if routing == "uniform":
        return [np.stack([random.permutation(s.experts)[: s.top_k] for _ in range(tokens)]) for _ in range(count)]
    if routing == "zipf":
        # The largest of log p + Gumbel noise are a draw without replacement.
        log_odds = -np.log(np.arange(1, s.experts + 1))[random.permutation(s.experts)]
        return [np.argsort(-(log_odds + random.gumbel(size=(tokens, s.experts))), axis=1)[:, : s.top_k]
                for _ in range(count)]
    deck = random.permutation(s.experts)
    return [np.tile(deck[i : i + s.top_k], (tokens, 1)) for i in range(0, s.experts - s.top_k + 1, s.top_k)][:count]


def steered(s: Sizes, router, wanted):
    """x [tokens, hidden] in bfloat16: noise, and the router's rows of the wanted experts, which lift their logits by
    about 8 over noise of deviation 1. Every competitor routes by itself."""
    import torch

    x = torch.randn(len(wanted), s.hidden)
    rows = router.float()
    for column in torch.from_numpy(np.ascontiguousarray(wanted.T)):
        x += 8.0 * rows[column]
    return x.bfloat16()


def reference(s: Sizes, weights, x) -> np.ndarray:
    """The layer in float64 on the first rows, with the logits rounded to the dtype of x as the models have them."""
    import torch

    rows = x[:REFERENCE_ROWS].double()
    logits = (rows @ weights["router"].double().T).to(x.dtype)
    probabilities = torch.softmax(logits.double(), -1)
    top, ids = probabilities.topk(s.top_k, -1)
    top = top / top.sum(-1, keepdim=True)
    y = torch.zeros_like(rows)
    for e in ids.unique():
        of, slot = (ids == e).nonzero(as_tuple=True)
        gate, up = (rows[of] @ weights["gate_up"][e].double().T).chunk(2, -1)
        y[of] += top[of, slot, None] * ((torch.nn.functional.silu(gate) * up) @ weights["down"][e].double().T)
    return y.numpy()
