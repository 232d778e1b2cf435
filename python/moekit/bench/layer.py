# SPDX-License-Identifier: Apache-2.0
"""One Qwen3-30B-A3B layer in bfloat16: moekit against transformers' block with each of its experts implementations."""
from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np

import moekit

from ..cli.doctor import memory_bytes
from .suite import Case
from .timing import Competitor

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")
REFERENCE_ROWS = 16  # rows do not depend on each other: the first ones are checked


class Sizes(NamedTuple):
    hidden: int
    intermediate: int
    experts: int
    top_k: int
    tokens: tuple


QWEN3_30B = Sizes(2048, 768, 128, 8, (1, 4, 16, 64, 256, 1024))
QUICK = Sizes(64, 32, 16, 2, (1, 4))


def _weights(s: Sizes) -> dict:
    """Random bfloat16 weights, written expert by expert: float32 copies of one expert only."""
    import torch

    torch.manual_seed(0)
    gate_up = torch.empty(s.experts, 2 * s.intermediate, s.hidden, dtype=torch.bfloat16)
    down = torch.empty(s.experts, s.hidden, s.intermediate, dtype=torch.bfloat16)
    for e in range(s.experts):
        gate_up[e] = torch.randn(gate_up.shape[1:]) * s.hidden**-0.5
        down[e] = torch.randn(down.shape[1:]) * s.intermediate**-0.5
    return {"router": (torch.randn(s.experts, s.hidden) * s.hidden**-0.5).bfloat16(), "gate_up": gate_up, "down": down}


def _block(s: Sizes, weights):
    """transformers' block around the given weights."""
    import torch
    from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

    config = Qwen3MoeConfig(hidden_size=s.hidden, moe_intermediate_size=s.intermediate, num_experts=s.experts,
                            num_experts_per_tok=s.top_k, norm_topk_prob=True)
    config._experts_implementation = "eager"
    with torch.device("meta"):
        block = Qwen3MoeSparseMoeBlock(config)
    names = {"gate.weight": "router", "experts.gate_up_proj": "gate_up", "experts.down_proj": "down"}
    block.load_state_dict({name: weights[source] for name, source in names.items()}, assign=True, strict=True)
    return block.eval().requires_grad_(False)


def _layer(s: Sizes, weights) -> moekit.MoeLayer:
    config = {"router": {"num_experts": s.experts, "top_k": s.top_k, "renorm": "add_eps"},
              "expert": {"input": s.hidden, "intermediate": s.intermediate, "output": s.hidden}}
    tensors = {"router.weight": weights["router"]}
    for e in range(s.experts):
        tensors[f"experts.{e}.gate"] = weights["gate_up"][e, : s.intermediate]
        tensors[f"experts.{e}.up"] = weights["gate_up"][e, s.intermediate :]
        tensors[f"experts.{e}.down"] = weights["down"][e]
    return moekit.MoeLayer.from_arrays(config, tensors)


def _wanted(s: Sizes, tokens: int, random) -> list[np.ndarray]:
    """Experts [tokens, k] of each batch of a case. A few tokens rotate through all experts, so that none is met again
    before all others: drawn at random they would meet experts that are still in the cache. More are drawn at random."""
    if tokens * s.top_k <= s.experts // 4:
        deck = random.permutation(s.experts)
        each = tokens * s.top_k
        return [deck[i : i + each].reshape(tokens, s.top_k) for i in range(0, s.experts - each + 1, each)]
    return [np.stack([random.permutation(s.experts)[: s.top_k] for _ in range(tokens)]) for _ in range(8)]


def _steered(s: Sizes, router, wanted):
    """x [1, tokens, hidden]: noise, and the router's rows of the wanted experts, which lift their logits by about 8 over
    noise of deviation 1. Every competitor routes by itself."""
    import torch

    x = torch.randn(len(wanted), s.hidden) + 8.0 * router.float()[torch.from_numpy(wanted)].sum(1)
    return x.bfloat16()[None]


def _reference(s: Sizes, weights, x) -> np.ndarray:
    """The block in float64 on the first rows, with the logits rounded to bfloat16 as the model has them."""
    import torch

    rows = x[0, :REFERENCE_ROWS].double()
    logits = (rows @ weights["router"].double().T).to(x.dtype)
    probabilities = torch.softmax(logits.double(), -1)
    top, ids = probabilities.topk(s.top_k, -1)
    top = top / top.sum(-1, keepdim=True)
    y = torch.zeros_like(rows)
    for t in range(len(rows)):
        for weight, e in zip(top[t], ids[t]):
            gate, up = (weights["gate_up"][e].double() @ rows[t]).chunk(2)
            y[t] += weight * (weights["down"][e].double() @ (torch.nn.functional.silu(gate) * up))
    return y.numpy()


def _peers(block, tokens: int, s: Sizes, inputs):
    """Competitors of one block under each experts implementation, and those that cannot be run here."""
    def switched(implementation):
        def call(x):
            block.experts.config._experts_implementation = implementation
            return block(x)
        return call

    competitors, missing = [], {}
    for implementation in IMPLEMENTATIONS:
        name = f"transformers {implementation}"
        # batched_mm copies the weights of every (token, expert) pair, first gate and up, then down.
        copied = tokens * s.top_k * 2 * s.intermediate * s.hidden * 2
        if implementation == "batched_mm" and copied > memory_bytes()["available"] // 3:
            missing[name] = f"T = {tokens} copies {copied / 1e9:.1f} GB of weights"
        else:
            competitors.append(Competitor(name, switched(implementation), inputs))
    return competitors, missing


def cases(quick: bool) -> Iterator[Case]:
    """Cases one after the other. Raises ImportError without torch."""
    import torch

    s = QUICK if quick else QWEN3_30B
    with torch.no_grad():  # and off while a case runs: the generator waits inside
        weights = _weights(s)
        layer, block, reason = _layer(s, weights), None, ""
        try:
            block = _block(s, weights)
        except (ImportError, AttributeError, RuntimeError, TypeError) as error:  # not installed, or another version's form
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        random = np.random.default_rng(0)
        for tokens in s.tokens:
            inputs = [_steered(s, weights["router"], wanted) for wanted in _wanted(s, tokens, random)]
            competitors = [Competitor("moekit", layer, inputs)]
            missing = {f"transformers {name}": reason for name in IMPLEMENTATIONS}
            if block is not None:
                peers, missing = _peers(block, tokens, s, inputs)
                competitors += peers
            used = [len(torch.unique(layer(x, return_routing=True)[1].expert_ids)) for x in inputs]
            expert = 3 * s.intermediate * s.hidden
            yield Case("layer", {"hidden": s.hidden, "intermediate": s.intermediate, "experts": s.experts,
                                 "top_k": s.top_k, "T": tokens, "dtype": "bfloat16"},
                       competitors, _reference(s, weights, inputs[0]), lambda y: y[0].double().numpy(),
                       float(np.mean(used)) * expert * 2, 2.0 * tokens * s.top_k * expert, missing)
