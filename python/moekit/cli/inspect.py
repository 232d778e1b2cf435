# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds: family, routing, layers, sizes, and whether its experts fit in this machine's memory.
Weights are not read."""
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
    config, size = _core.block_config(args.path, layers[0]), _core.block_bytes(args.path, layers[0])
    total = len(layers) * (size["routed"] + size["shared"])
    return {**facts, "routing": _core.describe(config), "config": config, "dtype": size["dtype"],
            "expert_bytes": size["expert"], "layer_bytes": size["routed"] + size["shared"], "experts_bytes": total,
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


def render(f) -> str:
    lines = [f"family    {f['family']}", f"layers    {f['num_layers']}, with experts: {ranges(f['moe_layers']) or 'none'}"]
    if not f["moe_layers"]:
        return "\n".join(lines)
    router, expert, shared = f["config"]["router"], f["config"]["expert"], f["config"]["shared"]
    lines += [
        f"routing   {f['routing']}",
        f"experts   {router['num_experts']} of {expert['input']} -> {expert['intermediate']} -> {expert['output']}, "
        f"{expert['act']}" + (f", and {shared['count']} shared" if shared["count"] else ""),
        f"weights   {f['dtype']}, {amount(f['expert_bytes'])} an expert, {amount(f['layer_bytes'])} a layer, "
        f"{amount(f['experts_bytes'])} in all",
        f"memory    {'fits' if f['fits'] else 'does NOT fit'}: {amount(f['available_bytes'])} available",
    ]
    return "\n".join(lines)
