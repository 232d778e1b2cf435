# SPDX-License-Identifier: Apache-2.0
"""moekit in transformers: one import and one argument.

    python examples/transformers_generate.py [FOLDER] [--tokens 128] [--prompt "The os module "] [--dtype int8]

Generates greedily in float32 with transformers' own experts, with moekit's experts, and with whole blocks of moekit,
and prints the tokens per second of each; with --dtype once more with experts in that weight format. The trained models
of examples/models read and write bytes.
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, logging

import moekit.hf  # registers experts_implementation="moekit"

MODEL = Path(__file__).parent / "models" / "qwen3_moe_bytes"


def generate(model, prompt: torch.Tensor, count: int) -> tuple[bytes, float]:
    """The text and the tokens per second, of the second run: weights are packed in the first."""
    model.generate(prompt, max_new_tokens=1, do_sample=False)
    begin = time.perf_counter()
    text = model.generate(prompt, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return bytes(text[0].tolist()), count / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", default=MODEL)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt", default="The os module ")
    parser.add_argument("--dtype", help="a weight format for whole blocks: int8, int4, fp8, mxfp4, bfloat16")
    args = parser.parse_args()
    logging.set_verbosity_error()
    prompt = torch.tensor([list(args.prompt.encode())])

    def load(experts: str):
        return AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32, experts_implementation=experts)

    texts = {}
    for name in ("eager", "grouped_mm", "moekit"):
        texts[name], speed = generate(load(name), prompt, args.tokens)
        print(f"{speed:8.1f} tokens/s  experts_implementation={name!r}")
    model = load("eager")
    moekit.hf.replace_moe(model)
    texts["blocks"], speed = generate(model, prompt, args.tokens)
    print(f"{speed:8.1f} tokens/s  moekit.hf.replace_moe(model)")
    if args.dtype:
        model = load("eager")
        layers = moekit.hf.replace_moe(model, dtype=args.dtype)
        short, speed = generate(model, prompt, args.tokens)
        size = sum(layer.nbytes for layer in layers.values())
        print(f"{speed:8.1f} tokens/s  moekit.hf.replace_moe(model, dtype={args.dtype!r}), {size / 2**20:.1f} MiB")
    print("calls:", moekit.hf.calls())
    print("same text:", len(set(texts.values())) == 1)
    print(texts["moekit"].decode("utf-8", "replace"))
    if args.dtype:
        print(f"--- {args.dtype}\n" + short.decode("utf-8", "replace"))


if __name__ == "__main__":
    main()
