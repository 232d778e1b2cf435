# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds: family, routing, layers, formats and sizes of the weights, and whether its experts fit in this
machine's memory. Weights are not read."""
from __future__ import annotations

from .. import _core
from .doctor import memory_bytes

HELP = "family, routing rule, layers and sizes of a checkpoint"


def add_arguments(parser) -> None:
    parser.add_argument("path", help="folder with config.json and safetensors files, or a GGUF file")


def run(args):
    info = _core.inspect_model(args.path)
    layers = info["moe_layers"]
    facts = {"path": args.path, **info, "available_bytes": memory_bytes()["available"]}
    if not layers:
        return {**facts, "experts_bytes": 0, "fits": True}, 0
    names = info["expert_sets"]
    weights = {name: dict(zip(layers, _core.weights_of(args.path, layers, name))) for name in names or [""]}
    sets = [{"experts": name, **_describe(args.path, layers[0], name, of_layers)} for name, of_layers in weights.items()]
    # Files of converted models have the shared experts in each set's, checkpoints have them once.
    with_shared = list(weights.values()) if _core.is_converted(args.path) else [next(iter(weights.values()))]
    total = (sum(w["routed"] for of_layers in weights.values() for w in of_layers.values())
             + sum(w["shared"] for of_layers in with_shared for w in of_layers.values()))
    first = {key: value for key, value in sets[0].items() if key != "experts"}
    return {**facts, **first, **({"sets": sets} if names else {}), "experts_bytes": total,
            "fits": total < facts["available_bytes"]}, 0


def _describe(path, layer: int, experts: str, weights: dict) -> dict:
    """Configuration and weights of the blocks, or of one expert set of theirs. layer: the first."""
    config, first = _core.block_config(path, layer, experts), weights[layer]
    return {"routing": _core.describe(config), "config": config, "dtype": first["dtype"],
            "formats": first["parts"], "bits_per_weight": first["bits_per_weight"], "notes": first["notes"],
            "other_formats": {str(n): w["parts"] for n, w in weights.items() if w["parts"] != first["parts"]},
            "expert_bytes": first["expert"], "layer_bytes": first["routed"] + first["shared"]}


def amount(count: int) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def ranges(numbers) -> str:
    """[3, 4, 5, 7] as "3-5, 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def projections(parts) -> str:
    """"gate, up: int4, groups of 32; down: bfloat16"."""
    names: dict[str, list[str]] = {}
    for part in parts:
        names.setdefault(part["format"], []).append(part["name"])
    return "; ".join(f"{', '.join(of)}: {form}" for form, of in names.items())


def render(f) -> str:
    lines = [f"family    {f['family']}", f"layers    {f['num_layers']}, with experts: {ranges(f['moe_layers']) or 'none'}"]
    if not f["moe_layers"]:
        return "\n".join(lines)
    for each in f.get("sets", [f]):
        router, expert, shared = each["config"]["router"], each["config"]["expert"], each["config"]["shared"]
        lines += [
            *([f"set       {each['experts']}"] if "sets" in f else []),
            f"routing   {each['routing']}",
            f"experts   {router['num_experts']} of {expert['input']} -> {expert['intermediate']} -> {expert['output']}, "
            f"{expert['act']}" + (f", and {shared['count']} shared" if shared["count"] else ""),
            f"weights   {each['dtype']}, {each['bits_per_weight']:.4g} bits each, {amount(each['expert_bytes'])} an "
            f"expert, {amount(each['layer_bytes'])} a layer",
            f"formats   {projections(each['formats'])}",
            *(f"          layer {layer}: {projections(parts)}" for layer, parts in each["other_formats"].items()),
            *(f"note      {note}" for note in each["notes"]),
        ]
    lines.append(f"memory    {'fits' if f['fits'] else 'does NOT fit'}: {amount(f['experts_bytes'])} in all, "
                 f"{amount(f['available_bytes'])} available")
    return "\n".join(lines)
