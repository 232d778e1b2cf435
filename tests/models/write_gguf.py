# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of transformers written again as GGUF, with the gguf package: names, pairs and orders as llama.cpp's
converters have them (conversion/*.py), float32 tensors, blocks of the MoE layers only."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

ROUTER = re.compile(r"(?:gate|router)(?:\.layer|\.gate|\.wg)?\.(weight|bias)")
SELECTION = re.compile(r"(?:.*\.)?(?:e_score_correction_bias|expert_bias)")
EXPERT = re.compile(r"experts\.(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.weight")
SHARED = re.compile(r"(?:shared_experts?|shared_mlp)\.(gate|up|down)_proj\.weight")
PROJECTION = {"gate_proj": "gate", "w1": "gate", "up_proj": "up", "w3": "up", "down_proj": "down", "w2": "down"}


def both(tensor: np.ndarray, interleaved: bool, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Gate and up of a tensor that holds both along `axis`."""
    rows = np.moveaxis(tensor, axis, 0)
    half = len(rows) // 2
    gate, up = (rows[::2], rows[1::2]) if interleaved else (rows[:half], rows[half:])
    return np.moveaxis(gate, 0, axis), np.moveaxis(up, 0, axis)


def block_tensors(architecture: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of one layer, by their names below "layers.N.", under the names below "blk.N."."""
    transposed = architecture in ("gpt-oss", "llama4")
    interleaved = architecture == "gpt-oss"
    out: dict[str, np.ndarray] = {}
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for full, tensor in tensors.items():
        block, _, name = full.partition(".")
        if block == "shared_mlp":  # Granite's lies beside the block
            name = full
        elif block not in ("mlp", "block_sparse_moe", "feed_forward"):
            continue
        if found := ROUTER.fullmatch(name):
            out[f"ffn_gate_inp.{found[1]}"] = tensor
        elif SELECTION.fullmatch(name):
            out["exp_probs_b.bias"] = tensor.reshape(-1)
        elif found := EXPERT.fullmatch(name):
            stacks.setdefault(PROJECTION[found[2]], {})[int(found[1])] = tensor
        elif name in ("experts.gate_up_proj", "input_linear.weight"):
            rows = tensor.swapaxes(1, 2) if transposed else tensor
            out["ffn_gate_exps.weight"], out["ffn_up_exps.weight"] = both(rows, interleaved, 1)
        elif name in ("experts.down_proj", "output_linear.weight"):
            out["ffn_down_exps.weight"] = tensor.swapaxes(1, 2) if transposed else tensor
        elif name == "experts.gate_up_proj_bias":
            out["ffn_gate_exps.bias"], out["ffn_up_exps.bias"] = both(tensor, interleaved, 1)
        elif name == "experts.down_proj_bias":
            out["ffn_down_exps.bias"] = tensor
        elif name == "shared_mlp.input_linear.weight":
            out["ffn_gate_shexp.weight"], out["ffn_up_shexp.weight"] = both(tensor, False, 0)
        elif name == "shared_mlp.output_linear.weight":
            out["ffn_down_shexp.weight"] = tensor
        elif name == "shared_expert_gate.weight":
            out["ffn_gate_inp_shexp.weight"] = tensor.reshape(-1)
        elif found := SHARED.fullmatch(name):
            out[f"ffn_{found[1]}_shexp.weight"] = tensor
        elif name.endswith(".weight") and name.split(".")[0] in PROJECTION:
            out[f"ffn_{PROJECTION[name.split('.')[0]]}.weight"] = tensor
        else:
            raise ValueError(f"{architecture}: {full} has no name in GGUF")
    for projection, experts in stacks.items():
        out[f"ffn_{projection}_exps.weight"] = np.stack([experts[i] for i in range(len(experts))])
    return out


def first(config: dict, *names, default=None):
    return next((config[name] for name in names if config.get(name) is not None), default)


def pairs(architecture: str, config: dict) -> dict[str, object]:
    """The pairs of the converters, without the architecture's prefix; None: not written."""
    dense_length = first(config, "intermediate_size_mlp", "intermediate_size")
    expert_length = first(config, "moe_intermediate_size")
    if architecture in ("gpt-oss", "llama4", "minimax-m2"):
        expert_length = config["intermediate_size"]
    score = first(config, "scoring_func", "score_function", "score_func")
    out = {
        "block_count": config["num_hidden_layers"], "embedding_length": config["hidden_size"],
        "feed_forward_length": dense_length, "expert_feed_forward_length": expert_length,
        "expert_count": first(config, "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
        "expert_used_count": first(config, "num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"),
        "expert_group_count": first(config, "n_group", "num_expert_group"),
        "expert_group_used_count": first(config, "topk_group"),
        "expert_gating_func": {"softmax": 1, "sigmoid": 2, None: None}[score],
        "expert_weights_scale": first(config, "routed_scaling_factor", "route_scale"),
        "expert_weights_norm": first(config, "norm_topk_prob", "route_norm", "moe_renormalize"),
        "leading_dense_block_count": first(config, "first_k_dense_replace", "num_dense_layers",
                                           "moe_layer_start_index"),
        "expert_shared_count": first(config, "n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
        "expert_shared_feed_forward_length": first(config, "shared_expert_intermediate_size",
                                                   "shared_intermediate_size"),
    }
    if architecture == "llama4":
        out["interleave_moe_layer_step"] = config["interleave_moe_layer_step"]
    elif architecture == "ernie4_5-moe":
        out["interleave_moe_layer_step"] = config["moe_layer_interval"]
        del out["leading_dense_block_count"]  # the case's last layer is dense, which this format cannot say
    elif architecture == "hunyuan-moe":
        out.update(expert_shared_count=1, expert_shared_feed_forward_length=config["intermediate_size"],
                   expert_feed_forward_length=config["intermediate_size"])
    return {key: value for key, value in out.items() if value is not None}


def open_writer(path: Path, architecture: str, fields: dict[str, object]) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in fields.items():
        key = f"{architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, str(value))
    # What every file has, and no block needs.
    writer.add_array("tokenizer.ggml.tokens", [f"token{i}" for i in range(37)])
    writer.add_chat_template("{{ messages }}" * 200)
    return writer


def close_writer(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(folder: Path, path: Path, architecture: str, **changes) -> dict[str, np.ndarray]:
    """Writes the checkpoint in `folder` as a GGUF file, with pairs changed (None: left out). Gives its tensors."""
    config = json.loads((folder / "config.json").read_text())
    layers: dict[int, dict[str, np.ndarray]] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if found := re.search(r"(?:^|\.)layers\.(\d+)\.(.*)", name):
            layers.setdefault(int(found[1]), {})[found[2]] = tensor
    fields = {**pairs(architecture, config), **changes}
    writer = open_writer(path, architecture, {key: value for key, value in fields.items() if value is not None})
    tensors = {f"blk.{layer}.{name}": np.ascontiguousarray(tensor) for layer, rest in sorted(layers.items())
               for name, tensor in block_tensors(architecture, rest).items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    close_writer(writer)
    return tensors
