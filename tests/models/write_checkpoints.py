# SPDX-License-Identifier: Apache-2.0
"""Tiny random checkpoints written by transformers, with what its blocks compute: the material of the parity tests.

    python tests/models/write_checkpoints.py FOLDER [family ...]

For each family, FOLDER/<family>/<variant>/ holds config.json and safetensors files as save_pretrained writes them
("single", "sharded"), re-keyed to stacked experts or to one tensor an expert ("stacked", "split") and as the language
model of a multimodal checkpoint ("nested") or in the published dialect ("published"), and
FOLDER/<family>/block<N>.safetensors the block's input x [T, H], output y [T, H] and chosen experts ids [T, k] (in the
router's order) and weights [T, k].
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

from family_cases import FAMILIES, MODEL_CLASSES, MODEL_TYPES
from published_layouts import publish

TOKENS = 29


def text_config_class(prefix: str):
    """The configuration of the text model: a class of its own in multimodal families."""
    return getattr(transformers, prefix + "TextConfig", None) or getattr(transformers, prefix + "Config")


def model_class(prefix: str):
    """The text model, with a head where transformers has one."""
    names = [MODEL_CLASSES.get(prefix), prefix + "ForCausalLM", prefix + "Model"]
    return next(getattr(transformers, name) for name in names if name is not None and hasattr(transformers, name))


def make_model(family: str, dtype: torch.dtype) -> torch.nn.Module:
    prefix, fields = FAMILIES[family]
    torch.manual_seed(sum(map(ord, family)))
    config = text_config_class(prefix)(**{name: value for name, value in fields.items() if value is not None
                                          or name in ("n_group", "topk_group")})
    # The plain loop: the other implementations want sizes that are multiples of 16 bytes.
    config._experts_implementation = "eager"
    model = model_class(prefix)(config).eval()
    with torch.no_grad():
        # Initialisers leave routers and biases at zero or tiny, where every choice would be a tie.
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 0:
                tensor.normal_(std=0.5 if tensor.ndim > 1 else 0.2)
                if "norm" in name or name.endswith("scale"):
                    tensor.add_(1.0)
            elif name.endswith("tid2eid"):
                tensor.copy_(torch.rand(len(tensor), config.n_routed_experts).argsort()[:, : tensor.shape[1]])
    return model.to(dtype)


def moe_blocks(model: torch.nn.Module) -> dict[int, torch.nn.Module]:
    """Layer index to the block that holds both a router and experts."""
    blocks = {}
    for name, module in model.named_modules():
        children = {child for child, _ in module.named_children()}
        found = re.search(r"(?:layers|blocks)\.(\d+)", name)
        if found and "attn" not in name and "attention" not in name:
            if "experts" in children or {"input_linear", "router"} <= children:
                blocks.setdefault(int(found.group(1)), module)
    return blocks


def run_block(model: torch.nn.Module, block: torch.nn.Module, x: torch.Tensor, extra: dict) -> torch.Tensor:
    """What moekit calls the block: with a shared expert of the layer, without a norm of the layer."""
    if hasattr(block, "pre_feedforward_layernorm_2"):  # Gemma 4: the decoder layer itself
        residual, x = x, block.pre_feedforward_layernorm_2(x)
        extra["x"] = x[0].contiguous()
        _, weights, ids = block.router(residual[0])
        return block.experts(x[0], ids, weights)
    if hasattr(block, "gate") and hasattr(block.gate, "tid2eid"):
        extra["token_ids"] = torch.randint(0, len(block.gate.tid2eid), (TOKENS,))
        return block(x, extra["token_ids"][None])
    if hasattr(block, "post_mlp_layernorm"):  # A.X-K1: the norm is the layer's
        seen = []
        handle = block.post_mlp_layernorm.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
        block(x)
        handle.remove()
        return seen[0]
    y = block(x)
    y = y[0] if isinstance(y, tuple) else y
    for layer in model.modules():
        if getattr(layer, "block_sparse_moe", None) is block and getattr(layer, "shared_mlp", None) is not None:
            y = y + layer.shared_mlp(x)
        if getattr(layer, "text_moe", None) is block:  # ERNIE 4.5 VL: shared by both sets
            y = y.view_as(x) + layer.shared_experts(x)
    return y


def record(model: torch.nn.Module, block: torch.nn.Module, hidden: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Runs the block and keeps what the experts were called with."""
    seen, extra = {}, {}

    def keep(_module, args, kwargs):
        for value in [*args[1:], *(kwargs[name] for name in ("top_k_index", "top_k_weights") if name in kwargs)]:
            seen["weights" if value.is_floating_point() else "ids"] = value

    experts = getattr(block, "experts", None)
    handle = experts.register_forward_pre_hook(keep, with_kwargs=True) if experts is not None else None
    x = torch.randn(1, TOKENS, hidden).to(dtype)
    with torch.no_grad():
        y = run_block(model, block, x, extra)
        if handle is not None:
            handle.remove()
        if type(experts).__name__ == "OpenAIPrivacyFilterExperts":  # the block multiplies its sum by top_k again
            seen["weights"] = seen["weights"] * block.router.top_k
        if type(block).__name__ == "InklingMoE":  # the shared experts stand behind the routed ones
            _, weights, ids, gammas = block.gate(x)
            joint = torch.arange(gammas.shape[1]) + block.gate.num_experts
            seen["ids"] = torch.cat([ids, joint.expand(gammas.shape)], dim=1)
            seen["weights"] = torch.cat([weights, gammas], dim=1)
        if not seen and experts is not None:  # Llama 4: scores of the others are 0
            seen["weights"], seen["ids"] = block.router(x[0])[0].topk(block.top_k)
        elif not seen:  # JetMoE
            logits, seen["ids"] = block.router(x[0])[-1].topk(block.router.top_k)
            seen["weights"] = logits.softmax(-1)
    return {
        "x": x[0].contiguous(),
        "y": y.reshape(TOKENS, hidden).contiguous(),
        "ids": seen["ids"].to(torch.int32).contiguous(),
        "weights": seen["weights"].float().contiguous(),
        **extra,
    }


def restack(source: Path, target: Path) -> int:
    """The same tensors with experts.gate_up_proj [E, 2I, H] and experts.down_proj [E, H, I]; the blocks changed."""
    target.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", target)
    groups: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    out = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        found = re.fullmatch(r"(.*\bexperts\.)(\d+)\.(\w+)\.weight", name)
        if found:
            groups.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = tensor
        else:
            out[name] = tensor
    for prefix, experts in groups.items():
        gate, up, down = ("w1", "w3", "w2") if "w1" in experts[0] else ("gate_proj", "up_proj", "down_proj")
        ordered = [experts[i] for i in range(len(experts))]
        if gate in experts[0]:
            out[prefix + "gate_up_proj"] = torch.stack([torch.cat([e[gate], e[up]]) for e in ordered])
        else:
            out[prefix + "up_proj"] = torch.stack([e[up] for e in ordered])
        out[prefix + "down_proj"] = torch.stack([e[down] for e in ordered if down in e])
    save_file(out, target / "model.safetensors", metadata={"format": "pt"})
    return len(groups)


def split(source: Path, target: Path) -> int:
    """The inverse: stacked experts, [E, out, in] or [E, in, out], one by one; the blocks changed."""
    target.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", target)
    tensors = load_file(source / "model.safetensors")
    stacked = [name for name in tensors if name.endswith("experts.gate_up_proj") and name + "_bias" not in tensors]
    for name in stacked:
        prefix = name[: -len("gate_up_proj")]
        both, down = tensors.pop(name), tensors.pop(prefix + "down_proj")
        if both.shape[2] != down.shape[1]:
            both, down = both.transpose(1, 2), down.transpose(1, 2)
        for i in range(len(both)):
            gate, up = both[i].chunk(2)
            for projection, matrix in (("gate", gate), ("up", up), ("down", down[i])):
                tensors[f"{prefix}{i}.{projection}_proj.weight"] = matrix.contiguous()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return len(stacked)


def nest(source: Path, target: Path) -> None:
    """The checkpoint as the language model of a multimodal one."""
    target.mkdir(exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({"model_type": "some_vl", "text_config": config}))
    tensors = load_file(source / "model.safetensors")
    renamed = {re.sub(r"^(model\.|)layers\.", "language_model.model.layers.", name): t for name, t in tensors.items()}
    save_file(renamed, target / "model.safetensors", metadata={"format": "pt"})


def write_family(family: str, folder: Path, dtype: torch.dtype = torch.float32) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(family, dtype)
    model.save_pretrained(folder / "single")
    model.save_pretrained(folder / "sharded", max_shard_size="4KB")
    for variant in ("single", "sharded"):
        if family in MODEL_TYPES:
            path = folder / variant / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": MODEL_TYPES[family]}))
    shards = list((folder / "sharded").glob("*.safetensors"))
    if len(shards) < 2:
        raise RuntimeError(f"{family}: save_pretrained did not shard")
    # The published layout is one of the two.
    for variant, write in (("stacked", restack), ("split", split)):
        if write(folder / "single", folder / variant) == 0:
            shutil.rmtree(folder / variant)
    nest(folder / "single", folder / "nested")
    config = json.loads((folder / "single" / "config.json").read_text())
    published = publish(family, config, load_file(folder / "single" / "model.safetensors"))
    if published is not None:
        (folder / "published").mkdir(exist_ok=True)
        (folder / "published" / "config.json").write_text(json.dumps(published[0]))
        save_file(published[1], folder / "published" / "model.safetensors", metadata={"format": "pt"})
    fields = FAMILIES[family][1]
    blocks = moe_blocks(model)
    if not blocks:
        raise RuntimeError(f"{family}: no layer has experts")
    for layer, block in blocks.items():
        tensors = record(model, block, fields.get("hidden_size", fields.get("d_model")), dtype)
        save_file(tensors, folder / f"block{layer}.safetensors")
    summary = {"layers": sorted(blocks), "shards": len(shards)}
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


def main() -> None:
    out = Path(sys.argv[1])
    for family in sys.argv[2:] or FAMILIES:
        print(family, write_family(family, out / family), flush=True)


if __name__ == "__main__":
    main()
