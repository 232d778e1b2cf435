# SPDX-License-Identifier: Apache-2.0
"""Runs every Mixture-of-Experts layer of a checkpoint on random inputs and compares it with the reference backend.

Of a converted model the checksums of all data are compared first; the reference then computes with the weights as they
are unpacked from the file.

NMSE is the sum of squared differences over the sum of squares of the reference. Routing is compared too: a token whose
experts differ is left out of the NMSE and counted, since two scores may tie within rounding."""
from __future__ import annotations

import sys
from itertools import product

import numpy as np

from .. import _core, load_layer
from . import EXIT_DIFFERS, EXIT_OK

HELP = "every layer of a checkpoint against the reference backend"

# The project's accuracy goals against float64.
LIMITS = {"float32": 1e-10, "bfloat16": 1e-5}
MAX_REROUTED = 0.01  # share of tokens


def add_arguments(parser) -> None:
    parser.add_argument("path", help="folder with config.json and safetensors files, or a GGUF file")
    parser.add_argument("--layer", type=int, action="append", help="only this layer (may be repeated)")
    parser.add_argument("--tokens", type=int, default=64, help="rows of random input (default 64)")
    parser.add_argument("--dtype", default="auto", help="weight format (default auto: as in the checkpoint)")
    parser.add_argument("--seed", type=int, default=0)


def compare(layer, reference, x) -> dict:
    """NMSE over the rows routed alike, and the share of rows that are not."""
    # To values that bfloat16 holds: how x is rounded is no matter of the kernels.
    x = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    y, routing = layer(x, return_routing=True)
    expected, own = reference(x, return_routing=True)
    same = (np.sort(routing.expert_ids, axis=1) == np.sort(own.expert_ids, axis=1)).all(axis=1)
    error, power = np.square(y[same].astype(np.float64) - expected[same]).sum(), np.square(expected[same], dtype=float).sum()
    return {"nmse": float(error / power) if power > 0 else float(error), "rerouted": 1.0 - float(np.mean(same))}


def run(args):
    if args.tokens < 1:
        raise ValueError(f"--tokens is {args.tokens}, expected >= 1")
    info = _core.inspect_model(args.path)
    rows, converted = [], _core.is_converted(args.path)
    for index, experts in product(args.layer or info["moe_layers"], info["expert_sets"] or [""]):
        if converted:
            _core.verify_converted(args.path, index, experts)
        layer = load_layer(args.path, index, dtype=args.dtype, experts=experts)
        reference = load_layer(args.path, index, dtype=args.dtype, backend="reference", experts=experts)
        random = np.random.default_rng([args.seed, index])
        x = random.standard_normal((args.tokens, layer.config["expert"]["input"]), dtype=np.float32)
        row = {"layer": index, **({"experts": experts} if experts else {}), "backend": layer.backend,
               "dtype": layer.dtype, **compare(layer, reference, x)}
        row["limit"] = LIMITS.get(layer.dtype, 1e-5)
        row["agrees"] = bool(row["nmse"] <= row["limit"] and row["rerouted"] <= MAX_REROUTED)
        rows.append(row)
        if sys.stderr.isatty():
            print(f"\rlayer {index}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 20 + "\r", end="", file=sys.stderr)
    agrees = all(row["agrees"] for row in rows)
    checksums = {"checksums": "agree"} if converted else {}
    return {"path": args.path, "tokens": args.tokens, **checksums, "layers": rows, "agrees": agrees}, EXIT_OK if agrees else EXIT_DIFFERS


def render(f) -> str:
    lines = [f"{'layer':>5} {'backend':<10} {'dtype':<9} {'NMSE':>9} {'limit':>8} {'rerouted':>9}"]
    for r in f["layers"]:
        lines.append(f"{r['layer']:>5} {r['backend']:<10} {r['dtype']:<9} {r['nmse']:>9.2e} {r['limit']:>8.0e} "
                     f"{r['rerouted']:>8.1%} {r.get('experts', '')}{'' if r['agrees'] else '  DIFFERS'}")
    if "checksums" in f:
        lines.append("checksums of all data agree")
    lines.append("all layers agree with the reference" if f["agrees"] else "layers DIFFER from the reference")
    return "\n".join(lines)
