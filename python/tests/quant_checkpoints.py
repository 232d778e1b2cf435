# SPDX-License-Identifier: Apache-2.0
"""Tiny quantised checkpoints of real families, and what their blocks compute in float64 NumPy on dequantised weights."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


@dataclass
class Sizes:
    hidden: int = 64
    inner: int = 48
    experts: int = 5
    top_k: int = 2
    shared: int = 0  # width of the shared expert


@dataclass
class Block:
    """A written checkpoint: where, and the float32 weights that its tensors stand for."""

    folder: Path
    layer: int
    router: np.ndarray
    bias: np.ndarray | None  # of the router (gpt_oss) or for selection
    experts: list[dict[str, np.ndarray]] = field(default_factory=list)
    shared: dict[str, np.ndarray] | None = None


FAMILIES = {
    "qwen3_moe": dict(prefix="model.layers.0.mlp.", names=("gate_proj", "up_proj", "down_proj"), score="softmax",
                      config=dict(norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])),
    "deepseek_v3": dict(prefix="model.layers.0.mlp.", names=("gate_proj", "up_proj", "down_proj"), score="sigmoid",
                        config=dict(n_group=1, topk_group=1, first_k_dense_replace=0, norm_topk_prob=True,
                                    routed_scaling_factor=2.5, scoring_func="sigmoid", topk_method="noaux_tc")),
    "kimi_k2": dict(prefix="model.layers.0.mlp.", names=("gate_proj", "up_proj", "down_proj"), score="sigmoid",
                    config=dict(n_group=1, topk_group=1, first_k_dense_replace=0, norm_topk_prob=True,
                                routed_scaling_factor=2.827, scoring_func="sigmoid", topk_method="noaux_tc")),
    "minimax_m2": dict(prefix="model.layers.0.block_sparse_moe.", names=("w1", "w3", "w2"), score="sigmoid",
                       config=dict(scoring_func="sigmoid", use_routing_bias=True), bias="e_score_correction_bias"),
    "deepseek_v4": dict(prefix="layers.0.ffn.", names=("w1", "w3", "w2"), score="sqrtsoftplus", limit=10.0,
                        config=dict(num_hash_layers=0, routed_scaling_factor=1.5, scoring_func="sqrtsoftplus",
                                    topk_method="noaux_tc", norm_topk_prob=True, expert_dtype="fp4"),
                        bias="gate.bias"),
}
SCALE = {"deepseek_v3": 2.5, "kimi_k2": 2.827, "deepseek_v4": 1.5}


def config_of(family: str, sizes: Sizes) -> dict:
    inner = "intermediate_size" if family == "minimax_m2" else "moe_intermediate_size"
    return dict(model_type=family, hidden_size=sizes.hidden, **{inner: sizes.inner}, num_hidden_layers=1, vocab_size=8, num_experts_per_tok=sizes.top_k,
                hidden_act="silu", **{"num_experts" if family == "qwen3_moe" else
                                      "num_local_experts" if family == "minimax_m2" else "n_routed_experts":
                                      sizes.experts},
                **({"n_shared_experts": sizes.shared // sizes.inner} if family in SCALE else {}),
                **FAMILIES[family]["config"])


def weight(rng: np.random.Generator, rows: int, cols: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(np.sqrt(cols)))


def write(folder: Path, family: str, scheme, sizes: Sizes = Sizes(), quantization: dict | None = None,
          shared_scheme=None, seed: int = 0, schemes: dict | None = None) -> Block:
    """schemes: by projection, where it is not `scheme`."""
    rng, facts = np.random.default_rng(seed), FAMILIES[family]
    prefix, config = facts["prefix"], config_of(family, sizes)
    if quantization is not None:
        config["quantization_config"] = quantization
    tensors = {prefix + "gate.weight": weight(rng, sizes.experts, sizes.hidden) * 3}
    block = Block(folder, 0, tensors[prefix + "gate.weight"].numpy().copy(), None)
    if facts["score"] != "softmax":
        bias = torch.from_numpy(0.1 * rng.standard_normal(sizes.experts).astype(np.float32))
        tensors[prefix + facts.get("bias", "gate.e_score_correction_bias")] = bias
        block.bias = bias.numpy().copy()

    def expert(name: str, inner: int, how) -> dict[str, np.ndarray]:
        shapes = dict(zip(("gate", "up", "down"), ((inner, sizes.hidden), (inner, sizes.hidden), (sizes.hidden, inner))))
        weights = {}
        for key, module in zip(shapes, facts["names"]):
            suffixes, weights[key] = (schemes or {}).get(key, how)(weight(rng, *shapes[key]))
            tensors.update({f"{prefix}{name}.{module}.{suffix}": value for suffix, value in suffixes.items()})
        return weights

    block.experts = [expert(f"experts.{e}", sizes.inner, scheme) for e in range(sizes.experts)]
    if sizes.shared:
        block.shared = expert("shared_experts", sizes.shared, shared_scheme or scheme)
    save(folder, config, tensors)
    return block


def save(folder: Path, config: dict, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


# ---- the same in float64 --------------------------------------------------------------------------------------------

def softmax(z: np.ndarray) -> np.ndarray:
    exps = np.exp(z - z.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def route(family: str, block: Block, x: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Chosen experts by rising id, and their weights."""
    z = x.astype(np.float64) @ block.router.astype(np.float64).T
    rule = FAMILIES[family]["score"]
    scores = (softmax(z) if rule == "softmax" else 1 / (1 + np.exp(-z)) if rule == "sigmoid"
              else np.sqrt(np.log1p(np.exp(z))))
    choice = scores if block.bias is None else scores + block.bias
    ids = np.sort(np.argsort(-choice, axis=1, kind="stable")[:, :top_k], axis=1)
    chosen = np.take_along_axis(scores, ids, axis=1)
    return ids, SCALE.get(family, 1.0) * chosen / chosen.sum(axis=1, keepdims=True)


def silu(v: np.ndarray) -> np.ndarray:
    return v / (1 + np.exp(-v))


def mlp(weights: dict[str, np.ndarray], x: np.ndarray, limit: float | None = None) -> np.ndarray:
    gate, up = (x @ weights[name].astype(np.float64).T for name in ("gate", "up"))
    if limit is not None:
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    return (silu(gate) * up) @ weights["down"].astype(np.float64).T


def forward(family: str, block: Block, x: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    x, limit = x.astype(np.float64), FAMILIES[family].get("limit")
    y = np.zeros((len(x), block.experts[0]["down"].shape[0]))
    for e, expert in enumerate(block.experts):
        token, slot = np.nonzero(ids == e)
        if len(token):
            y[token] += weights[token, slot][:, None] * mlp(expert, x[token], limit)
    return y if block.shared is None else y + mlp(block.shared, x, limit)


def tokens(count: int, hidden: int, seed: int = 1) -> np.ndarray:
    """Values that bfloat16 holds."""
    x = np.random.default_rng(seed).standard_normal((count, hidden), dtype=np.float32)
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
