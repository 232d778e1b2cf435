# SPDX-License-Identifier: Apache-2.0
"""Packs every Mixture-of-Experts layer of a checkpoint once, into a folder that loads in milliseconds and whose pages
processes share. `moekit inspect`, `moekit verify` and moekit.load_layer take the folder like a checkpoint.

One file a layer and moekit.json, which is put into place last: whatever ends the command before, the folder holds what
it held."""
from __future__ import annotations

import sys
import time

from .. import convert
from .inspect import amount, ranges

HELP = "packed files of a checkpoint's layers, to be mapped from then on"


def add_arguments(parser) -> None:
    parser.add_argument("path", help="the checkpoint")
    parser.add_argument("out", help="folder to write: new or empty, or with --force a converted model to replace")
    parser.add_argument("--dtype", default="auto", help="weight format (default auto: as in the checkpoint)")
    parser.add_argument("--force", action="store_true", help="replace the converted model in OUT")


def run(args):
    begin, terminal = time.monotonic(), sys.stderr.isatty()

    def progress(done, total):
        if terminal:
            print(f"\rlayer {done} of {total}", end="", file=sys.stderr, flush=True)

    model = convert(args.path, args.out, args.dtype, force=args.force, progress=progress)
    if terminal:
        print("\r" + " " * 30 + "\r", end="", file=sys.stderr)
    return {"path": args.path, "out": args.out, **model, "bytes": sum(layer["bytes"] for layer in model["layers"]),
            "seconds": time.monotonic() - begin}, 0


def render(f) -> str:
    formats = sorted({layer["format"] for layer in f["layers"]})
    return (f"{f['family']}: layers {ranges([layer['layer'] for layer in f['layers']])}, {'; '.join(formats)}, "
            f"{amount(f['bytes'])} in {f['seconds']:.1f} s\n{f['out']}")
