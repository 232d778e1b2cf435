# SPDX-License-Identifier: Apache-2.0
"""transformers' Qwen3-MoE block with each of its experts implementations, in this process."""
from __future__ import annotations

from ..cli.doctor import memory_bytes
from .shapes import Sizes
from .timing import Competitor

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")
NAMES = tuple(f"transformers {name}" for name in IMPLEMENTATIONS)


def block(s: Sizes, weights):
    """The block around the given weights, which it shares, and the reason where it cannot be had."""
    try:
        import torch
        from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
        from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

        config = Qwen3MoeConfig(hidden_size=s.hidden, moe_intermediate_size=s.intermediate, num_experts=s.experts,
                                num_experts_per_tok=s.top_k, norm_topk_prob=True)
        config._experts_implementation = "eager"
        with torch.device("meta"):
            made = Qwen3MoeSparseMoeBlock(config)
        names = {"gate.weight": "router", "experts.gate_up_proj": "gate_up", "experts.down_proj": "down"}
        made.load_state_dict({name: weights[source] for name, source in names.items()}, assign=True, strict=True)
        return made.eval().requires_grad_(False), ""
    except (ImportError, AttributeError, RuntimeError, TypeError) as error:  # not installed, or another version's form
        return None, f"{type(error).__name__}: {error}".splitlines()[0]


def competitors(made, s: Sizes, batches, element: int):
    """Competitors of one block under each experts implementation, and those that cannot be run here. element: bytes of a
    weight."""
    def switched(implementation):
        def call(x):
            made.experts.config._experts_implementation = implementation
            return made(x)[0]
        return call

    tokens = len(batches[0])
    out, missing = [], {}
    for implementation, name in zip(IMPLEMENTATIONS, NAMES):
        # batched_mm copies the weights of every (token, expert) pair, first gate and up, then down.
        copied = tokens * s.top_k * 2 * s.intermediate * s.hidden * element
        if implementation == "batched_mm" and copied > memory_bytes()["available"] // 3:
            missing[name] = f"T = {tokens} copies {copied / 1e9:.1f} GB of weights"
        else:
            out.append(Competitor(name, switched(implementation), [x[None] for x in batches]))
    return out, missing
