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
    config = _core.block_config(args.path, layers[0])
    weights = dict(zip(layers, _core.weights_of(args.path, layers)))
    first = weights[layers[0]]
    total = sum(w["routed"] + w["shared"] for w in weights.values())
    return {**facts, "routing": _core.describe(config), "config": config, "dtype": first["dtype"],
            "formats": first["parts"], "bits_per_weight": first["bits_per_weight"], "notes": first["notes"],
            "other_formats": {str(n): w["parts"] for n, w in weights.items() if w["parts"] != first["parts"]},
            "expert_bytes": first["expert"], "layer_bytes": first["routed"] + first["shared"], "experts_bytes": total,
            "fits": total < facts["available_bytes"]}, 0


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
    router, expert, shared = f["config"]["router"], f["config"]["expert"], f["config"]["shared"]
    lines += [
        f"routing   {f['routing']}",
        f"experts   {router['num_experts']} of {expert['input']} -> {expert['intermediate']} -> {expert['output']}, "
        f"{expert['act']}" + (f", and {shared['count']} shared" if shared["count"] else ""),
        f"weights   {f['dtype']}, {f['bits_per_weight']:.4g} bits each, {amount(f['expert_bytes'])} an expert, "
        f"{amount(f['layer_bytes'])} a layer, {amount(f['experts_bytes'])} in all",
        f"formats   {projections(f['formats'])}",
        *(f"          layer {layer}: {projections(parts)}" for layer, parts in f["other_formats"].items()),
        *(f"note      {note}" for note in f["notes"]),
        f"memory    {'fits' if f['fits'] else 'does NOT fit'}: {amount(f['available_bytes'])} available",
    ]
    return "\n".join(lines)
