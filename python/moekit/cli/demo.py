# SPDX-License-Identifier: Apache-2.0
"""A small trained language model writes text: attention in NumPy, every Mixture-of-Experts layer in moekit, no torch.
Then: tokens per second, which experts served, and the agreement with the reference backend."""
from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np

from .. import load_layer
from . import EXIT_DIFFERS, EXIT_OK
from .heatmap import heat_map
from .verify import LIMITS, MAX_REROUTED, compare

HELP = "a trained model generates text through moekit's layers"
MODEL = "qwen3_moe_bytes"
PROMPT = "The list type has the following "


def add_arguments(parser) -> None:
    parser.add_argument("--model", default=MODEL, help=f"name under moekit/examples/models, or a folder (default {MODEL})")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("-n", "--bytes", type=int, default=400, help="length of the text in bytes (default 400)")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)


def examples_folder() -> Path:
    return Path(__file__).parent.parent / "examples"


def find_model(name: str) -> Path:
    for path in (examples_folder() / "models" / name, Path(name)):
        if (path / "config.json").is_file():
            return path
    known = sorted(p.parent.name for p in (examples_folder() / "models").glob("*/config.json"))
    raise FileNotFoundError(f"[demo] no model '{name}'; there are: {', '.join(known) or 'none'}")


def numpy_lm():
    """The example's runtime, examples/numpy_lm.py, which is no part of the library."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("moekit_numpy_lm", examples_folder() / "numpy_lm.py")
    if spec is None or spec.loader is None or not Path(spec.origin).is_file():
        raise FileNotFoundError(f"[demo] {examples_folder() / 'numpy_lm.py'} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Recorder:
    """A layer as the runtime calls it, that counts tokens per expert and keeps the inputs of the prompt."""

    def __init__(self, path, index: int):
        self.path, self.index = path, index
        self.layer = load_layer(path, index)
        self.load = np.zeros(self.layer.config["router"]["num_experts"], dtype=np.int64)
        self.first = None

    def __call__(self, x):
        y, routing = self.layer(x, return_routing=True)
        ids = routing.expert_ids
        self.load += np.bincount(ids[(ids >= 0) & (ids < len(self.load))], minlength=len(self.load))
        if self.first is None:
            self.first = x.copy()
        return y


def generate(lm, args, show: bool):
    """Bytes and seconds of the text, and of its first byte (the prompt)."""
    text, begin, first = bytearray(), time.perf_counter(), 0.0
    out = sys.stdout
    if show:
        out.write(args.prompt)
    pending = b""
    for value in lm.stream(args.prompt.encode(), args.bytes, args.temperature, args.seed):
        first = first or time.perf_counter() - begin
        text.append(value)
        if show:  # whole characters only
            pending += bytes([value])
            try:
                out.write(pending.decode())
                pending = b""
            except UnicodeDecodeError:
                if len(pending) >= 4:
                    out.write("\ufffd")
                    pending = b""
            out.flush()
    if show:
        out.write("\n\n")
    return bytes(text), time.perf_counter() - begin, first


def run(args):
    if args.bytes < 1 or not args.prompt:
        raise ValueError("--bytes must be >= 1 and --prompt not empty")
    path, module = find_model(args.model), numpy_lm()
    recorders: dict[int, Recorder] = {}

    def factory(folder, index):
        recorders[index] = Recorder(folder, index)
        return recorders[index]

    lm = module.NumpyLM(path, factory)
    text, seconds, first = generate(lm, args, show=not args.json)
    load = {str(index): recorder.load.tolist() for index, recorder in recorders.items()}

    rows = []
    for index, recorder in recorders.items():
        reference = load_layer(path, index, backend="reference")
        row = {"layer": index, **compare(recorder.layer, reference, recorder.first)}
        row["agrees"] = row["nmse"] <= LIMITS.get(recorder.layer.dtype, 1e-5) and row["rerouted"] <= MAX_REROUTED
        rows.append(row)
    slow = module.NumpyLM(path, lambda folder, index: load_layer(folder, index, backend="reference"))
    count = min(args.bytes, 64)
    greedy = lm.generate(args.prompt.encode(), count, temperature=0)
    same = greedy == slow.generate(args.prompt.encode(), count, temperature=0)
    some = next(iter(recorders.values())).layer
    facts = {
        "model": path.name, "family": some.family, "backend": some.backend, "dtype": some.dtype,
        "layer_bytes": sum(r.layer.nbytes for r in recorders.values()), "explain": some.explain(),
        "prompt": args.prompt, "text": text.decode(errors="replace"), "bytes": len(text), "seconds": seconds,
        "first_byte_seconds": first, "tokens_per_second": (len(text) - 1) / (seconds - first) if len(text) > 1 else None,
        "load": load,
        "agreement": {"layers": rows, "greedy_bytes": count, "greedy_text_agrees": same},
    }
    return facts, EXIT_OK if all(r["agrees"] for r in rows) else EXIT_DIFFERS


def render(f) -> str:
    width = max(20, min(100, shutil.get_terminal_size().columns - 45))
    worst = max(r["nmse"] for r in f["agreement"]["layers"])
    rate = f"{f['tokens_per_second']:.0f} tokens/s" if f["tokens_per_second"] else "one token"
    layers = f["agreement"]["layers"]
    good = sum(r["agrees"] for r in layers)
    return "\n".join([
        f"{f['model']} ({f['family']}), {f['dtype']} on backend {f['backend']}, {f['layer_bytes'] / 2**20:.1f} MiB of experts",
        f"{rate} after {f['first_byte_seconds'] * 1e3:.0f} ms for the prompt (one byte is one token)",
        "", "expert load",
        heat_map(np.array(list(f["load"].values())), list(f["load"]), width, sys.stdout.encoding or "ascii"), "",
        f"agreement with the reference backend: {good} of {len(layers)} layers within the limit, worst NMSE {worst:.1e}",
        f"greedy text of {f['agreement']['greedy_bytes']} bytes: "
        + ("the same" if f["agreement"]["greedy_text_agrees"] else "differs"),
    ])
