# SPDX-License-Identifier: Apache-2.0
"""Tiny random checkpoints written by transformers, with what its blocks compute: the material of the parity tests.

    python tests/models/write_checkpoints.py FOLDER [family ...]

For each family, FOLDER/<family>/<variant>/ holds config.json and safetensors files as save_pretrained writes them
("single", "sharded") or re-keyed to the stacked layout ("stacked"), and FOLDER/<family>/<variant>.block<N>.safetensors
the block's input x [T, H], output y [T, H] and chosen experts ids [T, k] (in the router's order) and weights [T, k].
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

# Sizes are odd on purpose. Attention is as small as each class allows.
ATTENTION = dict(num_attention_heads=2, num_key_value_heads=2, head_dim=8, vocab_size=37, max_position_embeddings=64)
QWEN = dict(ATTENTION, hidden_size=19, intermediate_size=23, moe_intermediate_size=11, num_experts=7)
DEEPSEEK = dict(
    ATTENTION, hidden_size=19, intermediate_size=23, moe_intermediate_size=11, n_routed_experts=12,
    num_experts_per_tok=3, n_group=4, topk_group=2, routed_scaling_factor=2.5, q_lora_rank=5, kv_lora_rank=6,
    qk_rope_head_dim=4, qk_nope_head_dim=5, v_head_dim=7,
)

SIGMOID = dict(DEEPSEEK, num_hidden_layers=2, first_k_dense_replace=1, n_shared_experts=1, norm_topk_prob=True)
GROUPLESS = dict(SIGMOID, n_group=1, topk_group=1)
SHARED = dict(QWEN, num_hidden_layers=2, num_experts_per_tok=3, norm_topk_prob=True, shared_expert_intermediate_size=9)
MIXTRAL = dict(ATTENTION, hidden_size=17, intermediate_size=13, num_local_experts=5, num_experts_per_tok=2,
               num_hidden_layers=2)
INDEXER = dict(index_topk=4, index_n_heads=2, index_head_dim=8)

# case: (class prefix, config fields). The name of a case is the family's, with a suffix for a second form of it.
FAMILIES = {
    "qwen3_moe": ("Qwen3Moe", dict(QWEN, num_hidden_layers=4, num_experts_per_tok=3, norm_topk_prob=True,
                                   decoder_sparse_step=2, mlp_only_layers=[1])),
    "qwen3_moe_plain": ("Qwen3Moe", dict(QWEN, num_hidden_layers=1, num_experts_per_tok=1, norm_topk_prob=False)),
    "mixtral": ("Mixtral", MIXTRAL),
    "deepseek_v3": ("DeepseekV3", dict(SIGMOID, num_hidden_layers=3)),
    "deepseek_v3_two_shared": ("DeepseekV3", dict(GROUPLESS, num_hidden_layers=1, first_k_dense_replace=0,
                                                  n_shared_experts=2, norm_topk_prob=False)),
    "afmoe": ("Afmoe", dict(QWEN, num_hidden_layers=2, num_dense_layers=1, num_experts_per_tok=3, route_scale=1.7,
                            num_shared_experts=2)),
    "deepseek_v2": ("DeepseekV2", dict(DEEPSEEK, hidden_size=18, num_hidden_layers=2, first_k_dense_replace=1, n_shared_experts=2,
                                       topk_method="group_limited_greedy")),
    "deepseek_v2_greedy": ("DeepseekV2", dict(DEEPSEEK, hidden_size=18, num_hidden_layers=1, first_k_dense_replace=0,
                                              n_shared_experts=1, topk_method="greedy", n_group=None,
                                              topk_group=None)),
    "deepseek_v32": ("DeepseekV32", dict(SIGMOID, **INDEXER)),
    "dots1": ("Dots1", GROUPLESS),
    "ernie4_5_moe": ("Ernie4_5_Moe", dict(ATTENTION, hidden_size=19, intermediate_size=23, moe_intermediate_size=11,
                                          moe_num_experts=7, moe_k=3, moe_num_shared_experts=2, num_hidden_layers=3,
                                          moe_layer_start_index=1, moe_layer_end_index=1)),
    "exaone_moe": ("ExaoneMoe", dict(QWEN, num_hidden_layers=2, num_experts=8, num_experts_per_tok=2, n_group=2,
                                     topk_group=1, num_shared_experts=1, sliding_window=8,
                                     layer_types=["full_attention"] * 2)),
    "flex_olmo": ("FlexOlmo", dict(ATTENTION, hidden_size=18, intermediate_size=11, num_experts=7,
                                   num_experts_per_tok=3, num_hidden_layers=1, pad_token_id=1)),
    "glm4_moe": ("Glm4Moe", dict(SIGMOID, use_qk_norm=False)),
    "glm_moe_dsa": ("GlmMoeDsa", dict(GROUPLESS, **INDEXER)),
    "gpt_oss": ("GptOss", dict(MIXTRAL, layer_types=["full_attention"] * 2)),
    "granitemoe": ("GraniteMoe", dict(MIXTRAL, hidden_size=16)),
    "hy_v3": ("HYV3", dict(QWEN, num_hidden_layers=2, num_experts_per_tok=3)),
    "jamba": ("Jamba", dict(ATTENTION, hidden_size=16, intermediate_size=13, num_experts=5, num_hidden_layers=2,
                            use_mamba_kernels=False, mamba_dt_rank=2)),
    "mellum": ("Mellum", dict(QWEN, num_hidden_layers=2, num_experts_per_tok=3, sliding_window=8,
                              mlp_layer_types=["dense", "sparse"], layer_types=["full_attention"] * 2)),
    "minimax": ("MiniMax", MIXTRAL),
    "minimax_m2": ("MiniMaxM2", MIXTRAL),
    "olmoe": ("Olmoe", dict(ATTENTION, hidden_size=18, intermediate_size=11, num_experts=7, num_experts_per_tok=3,
                            num_hidden_layers=1, norm_topk_prob=True)),
    "phimoe": ("Phimoe", dict(MIXTRAL, hidden_size=16)),
    "qwen2_moe": ("Qwen2Moe", SHARED),
    "qwen3_5_moe": ("Qwen3_5Moe", dict(SHARED, layer_types=["full_attention"] * 2)),
    "qwen3_next": ("Qwen3Next", dict(SHARED, layer_types=["full_attention"] * 2)),
    "solar_open": ("SolarOpen", GROUPLESS),
}
TOKENS = 29


def text_config_class(prefix: str):
    """The configuration of the text model: a class of its own in multimodal families."""
    return getattr(transformers, prefix + "TextConfig", None) or getattr(transformers, prefix + "Config")


def make_model(family: str, dtype: torch.dtype) -> torch.nn.Module:
    prefix, fields = FAMILIES[family]
    torch.manual_seed(sum(map(ord, family)))
    config = text_config_class(prefix)(**fields)
    # The plain loop: the other implementations want sizes that are multiples of 16 bytes.
    config._experts_implementation = "eager"
    model = getattr(transformers, prefix + "ForCausalLM")(config).eval()
    with torch.no_grad():
        # Initialisers leave routers and biases at zero or tiny, where every choice would be a tie.
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.normal_(std=0.5 if tensor.ndim > 1 else 0.2)
    return model.to(dtype)


def moe_blocks(model: torch.nn.Module) -> dict[int, torch.nn.Module]:
    """Layer index to the block that holds both a router and experts."""
    blocks = {}
    for name, module in model.named_modules():
        if any(child == "experts" for child, _ in module.named_children()):
            layer = int(re.search(r"layers\.(\d+)\.", name).group(1))
            blocks.setdefault(layer, module)
    return blocks


def record(block: torch.nn.Module, hidden: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Runs the block and keeps what the experts were called with."""
    seen = {}

    def keep(_module, args, kwargs):
        values = list(args) + [kwargs[name] for name in ("top_k_index", "top_k_weights") if name in kwargs]
        seen["ids"], seen["weights"] = values[1], values[2]

    handle = block.experts.register_forward_pre_hook(keep, with_kwargs=True)
    x = torch.randn(1, TOKENS, hidden).to(dtype)
    with torch.no_grad():
        y = block(x)
    handle.remove()
    y = y[0] if isinstance(y, tuple) else y
    return {
        "x": x[0].contiguous(),
        "y": y.reshape(TOKENS, hidden).contiguous(),
        "ids": seen["ids"].to(torch.int32).contiguous(),
        "weights": seen["weights"].float().contiguous(),
    }


def restack(source: Path, target: Path) -> int:
    """The same tensors with experts.gate_up_proj [E, 2I, H] and experts.down_proj [E, H, I]; the blocks changed."""
    target.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", target)
    groups: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    out = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        found = re.fullmatch(r"(.*\.experts\.)(\d+)\.(\w+)\.weight", name)
        if found:
            groups.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = tensor
        else:
            out[name] = tensor
    for prefix, experts in groups.items():
        gate, up, down = ("w1", "w3", "w2") if "w1" in experts[0] else ("gate_proj", "up_proj", "down_proj")
        ordered = [experts[i] for i in range(len(experts))]
        out[prefix + "gate_up_proj"] = torch.stack([torch.cat([e[gate], e[up]]) for e in ordered])
        out[prefix + "down_proj"] = torch.stack([e[down] for e in ordered])
    save_file(out, target / "model.safetensors", metadata={"format": "pt"})
    return len(groups)


def write_family(family: str, folder: Path, dtype: torch.dtype = torch.float32) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(family, dtype)
    model.save_pretrained(folder / "single")
    model.save_pretrained(folder / "sharded", max_shard_size="4KB")
    shards = list((folder / "sharded").glob("*.safetensors"))
    if len(shards) < 2:
        raise RuntimeError(f"{family}: save_pretrained did not shard")
    if restack(folder / "single", folder / "stacked") == 0:
        shutil.rmtree(folder / "stacked")  # the published layout is the stacked one already
    blocks = moe_blocks(model)
    for layer, block in blocks.items():
        save_file(record(block, FAMILIES[family][1]["hidden_size"], dtype), folder / f"block{layer}.safetensors")
    summary = {"layers": sorted(blocks), "shards": len(shards)}
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


def main() -> None:
    out = Path(sys.argv[1])
    for family in sys.argv[2:] or FAMILIES:
        print(family, write_family(family, out / family), flush=True)


if __name__ == "__main__":
    main()
