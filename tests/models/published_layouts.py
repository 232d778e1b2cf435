# SPDX-License-Identifier: Apache-2.0
"""Dialects of published checkpoints that save_pretrained does not write: the same tensors and fields renamed."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file


def step3p7(config: dict, tensors: dict) -> tuple[dict, dict]:
    """Each projection stacked by itself; the layers with experts as a string."""
    kinds = config.pop("mlp_layer_types")
    config["moe_layers_enum"] = ",".join(str(i) for i, kind in enumerate(kinds) if kind == "sparse")
    config["moe_num_experts"] = config.pop("n_routed_experts")
    config["moe_top_k"] = config.pop("num_experts_per_tok")
    config.update(moe_router_activation="sigmoid", use_moe_router_bias=True, norm_expert_weight=True)
    out = {}
    for name, tensor in tensors.items():
        layer, _, rest = name.partition(".mlp.")
        if rest == "experts.gate_up_proj":
            gate, up = tensor.chunk(2, dim=1)
            out[layer + ".moe.gate_proj.weight"] = gate.contiguous()
            out[layer + ".moe.up_proj.weight"] = up.contiguous()
            continue
        names = {"experts.down_proj": ".moe.down_proj.weight", "gate.weight": ".moe.gate.weight",
                 "gate.e_score_correction_bias": ".moe.router_bias"}
        shared = rest.replace("shared_experts.", ".share_expert.") if rest.startswith("shared_experts.") else None
        renamed = names.get(rest, shared)
        out[layer + renamed if renamed else name] = tensor
    return config, out


def hunyuan_v1_moe(config: dict, tensors: dict) -> tuple[dict, dict]:
    layers = config["num_hidden_layers"]
    config.update(moe_topk=[config["moe_topk"]] * layers, num_experts=config["num_experts"],
                  moe_intermediate_size=[config["intermediate_size"]] * layers, num_shared_expert=[1] * layers,
                  use_mixed_mlp_moe=True, group_limited_greedy=False, n_group=False, routed_scaling_factor=False)
    return config, tensors


def deepseek_v4(config: dict, tensors: dict) -> tuple[dict, dict]:
    config["num_hash_layers"] = config.pop("mlp_layer_types").count("hash_moe")
    config["topk_method"] = "noaux_tc"
    return config, {re.sub(r"^model\.", "", name): tensor for name, tensor in tensors.items()}


def nemotron_h(config: dict, tensors: dict) -> tuple[dict, dict]:
    kinds = config.pop("layers_block_type")
    config["num_hidden_layers"] = len(kinds)
    config["hybrid_override_pattern"] = "".join("E" if kind == "moe" else "*" for kind in kinds)
    return config, tensors


def qwen3_vl_moe(config: dict, tensors: dict) -> tuple[dict, dict]:
    """Stacked as [E, in, out], in a multimodal checkpoint."""
    out = {"model.language_model." + name: tensor.transpose(1, 2).contiguous() if ".experts." in name else tensor
           for name, tensor in tensors.items()}
    return {"model_type": "qwen3_vl_moe", "text_config": {**config, "norm_topk_prob": True}}, out


def qwen3_omni_moe(config: dict, tensors: dict) -> tuple[dict, dict]:
    nested = {"model_type": "qwen3_omni_moe",
              "thinker_config": {"model_type": "qwen3_omni_moe_thinker", "text_config": config},
              "talker_config": {"text_config": {"num_experts": 3}}}
    return nested, {"thinker.model." + name: tensor for name, tensor in tensors.items()}


def qwen3_5_moe(config: dict, tensors: dict) -> tuple[dict, dict]:
    out = {re.sub(r"^model\.", "model.language_model.", name): tensor for name, tensor in tensors.items()}
    return {"model_type": "qwen3_5_moe", "text_config": config}, out


def kimi_k2(config: dict, tensors: dict) -> tuple[dict, dict]:
    """Kimi K2.5."""
    config.update(scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1, first_k_dense_replace=1, ep_size=1)
    config.pop("mlp_layer_types", None)
    return {"model_type": "kimi_k25", "text_config": config}, {"language_model." + n: t for n, t in tensors.items()}


def kimi_linear(config: dict, tensors: dict) -> tuple[dict, dict]:
    config.pop("mlp_layer_types")
    config.pop("n_routed_experts", None)
    config.update(first_k_dense_replace=1, moe_layer_freq=1, moe_router_activation_func="sigmoid",
                  use_grouped_topk=True)
    return config, tensors


def bailing_hybrid(config: dict, tensors: dict) -> tuple[dict, dict]:
    """Ling 2.0."""
    for old, new in (("num_expert_group", "n_group"), ("num_experts_per_token", "num_experts_per_tok"),
                     ("moe_renormalize", "norm_topk_prob")):
        config[new] = config.pop(old)
    for name in ("mlp_layer_types", "n_routed_experts"):
        config.pop(name, None)
    config.update(model_type="bailing_moe_v2", score_function="sigmoid", moe_router_enable_expert_bias=True,
                  router_dtype="fp32")
    return config, tensors


def minimax_m3(config: dict, tensors: dict) -> tuple[dict, dict]:
    """One expert at a time, gate and up of the shared one apart."""
    config["moe_layer_freq"] = [int(kind == "sparse") for kind in config.pop("mlp_layer_types")]
    config.update(scoring_func="sigmoid", use_routing_bias=True, n_shared_experts=1, hidden_act="swigluoai")
    out = {}
    for name, tensor in tensors.items():
        name = name.replace(".mlp.gate.e_score", ".mlp.e_score")
        if "experts." in name and "shared" not in name:
            prefix = name.rpartition("experts.")[0].replace(".mlp.", ".block_sparse_moe.") + "experts."
            for i, matrix in enumerate(tensor):
                parts = {"w2": matrix} if "down" in name else dict(zip(("w1", "w3"), matrix.chunk(2)))
                out.update({f"{prefix}{i}.{key}.weight": part.contiguous() for key, part in parts.items()})
        elif "shared_experts.gate_up_proj" in name:
            for key, part in zip(("gate_proj", "up_proj"), tensor.chunk(2)):
                out[name.replace("gate_up_proj", key).replace(".mlp.", ".block_sparse_moe.")] = part.contiguous()
        else:
            out[name.replace(".1.mlp.", ".1.block_sparse_moe.")] = tensor
    nested = {"model_type": "minimax_m3_vl", "text_config": config}
    return nested, {"language_model.model." + name: tensor for name, tensor in out.items()}


def longcat_flash(config: dict, tensors: dict) -> tuple[dict, dict]:
    """No weights for identity experts."""
    config.update(zero_expert_type="identity", router_bias=False, norm_topk_prob=False)
    return config, {name: tensor for name, tensor in tensors.items() if not re.search(r"experts\.[789]\.", name)}


def inkling(config: dict, tensors: dict) -> tuple[dict, dict]:
    """Names of the multimodal model; gate and up rows alternate."""

    def alternate(gate, up):
        return torch.stack([gate, up], dim=2).flatten(1, 2).contiguous()

    config["dense_mlp_idx"] = config.pop("mlp_layer_types").index("sparse")
    out = {}
    for name, tensor in tensors.items():
        prefix, _, rest = re.sub(r"^model\.", "model.llm.", name).rpartition("mlp.")
        if rest == "experts.gate_up_proj":
            rest, tensor = "experts.w13_weight", alternate(*tensor.chunk(2, dim=1))
        elif rest == "shared_experts.gate_proj":
            rest = "shared_experts.shared_w13_weight"
            tensor = alternate(tensor, tensors[name.replace("gate_proj", "up_proj")])
        elif rest == "shared_experts.up_proj":
            continue
        renamed = {"experts.down_proj": "experts.w2_weight", "shared_experts.down_proj":
                   "shared_experts.shared_w2_weight", "gate.e_score_correction_bias": "gate.bias"}
        out[prefix + ("mlp." if "mlp." in name else "") + renamed.get(rest, rest)] = tensor
    return {"model_type": "inkling_mm_model", "text_config": config}, out


def ernie4_5_vl_moe(config: dict, tensors: dict) -> tuple[dict, dict]:
    """What the multimodal class writes: one list of experts for both sets. The model's other parts are left out."""
    from transformers import Ernie4_5_VLMoeConfig, Ernie4_5_VLMoeForConditionalGeneration

    vision = dict(depth=1, hidden_size=8, num_heads=2, intermediate_size=12, patch_size=2)
    model = Ernie4_5_VLMoeForConditionalGeneration(Ernie4_5_VLMoeConfig(text_config=config, vision_config=vision))
    model.model.language_model.load_state_dict(tensors)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        tensors = load_file(Path(folder) / "model.safetensors")
    return config, {name: tensor for name, tensor in tensors.items() if ".layers." in name}


PUBLISHED = {each.__name__: each for each in (
    bailing_hybrid, deepseek_v4, ernie4_5_vl_moe, hunyuan_v1_moe, inkling, kimi_k2, kimi_linear, longcat_flash,
    minimax_m3, nemotron_h, qwen3_5_moe, qwen3_omni_moe, qwen3_vl_moe, step3p7)}


def publish(family: str, config: dict, tensors: dict[str, torch.Tensor]) -> tuple[dict, dict] | None:
    """config.json and tensors in the published dialect; None when the class writes that already."""
    return PUBLISHED[family](config, tensors) if family in PUBLISHED else None
