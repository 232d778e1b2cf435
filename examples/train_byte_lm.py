# SPDX-License-Identifier: Apache-2.0
"""Train the two small byte-level Mixture-of-Experts models of this folder.

    python train_byte_lm.py qwen3_moe      # models/qwen3_moe_bytes
    python train_byte_lm.py deepseek_v3    # models/deepseek_v3_bytes

Needs torch and transformers; one CPU core is enough. There is no tokenizer: a
token is a byte. The corpus is described in byte_corpus.py.

Bits per byte: the text is cut into non-overlapping windows of 256 bytes (a rest
is dropped); in every window bytes 1..255 are predicted, each from the earlier
bytes of the same window; the figure is the mean of -log2 p(byte).
"""
from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from byte_corpus import WINDOW, load_corpus
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

HERE = Path(__file__).resolve().parent
SAMPLE_PROMPT = b".. function:: "
COMMON = dict(
    vocab_size=256, hidden_size=128, intermediate_size=256, num_hidden_layers=4,
    num_attention_heads=4, num_experts_per_tok=4, moe_intermediate_size=64,
    norm_topk_prob=True, max_position_embeddings=4096, initializer_range=0.05,
    tie_word_embeddings=True, bos_token_id=None, eos_token_id=None)


def make_model(kind: str):
    if kind == "qwen3_moe":
        config = transformers.Qwen3MoeConfig(
            **COMMON, num_key_value_heads=2, head_dim=32, num_experts=16,
            output_router_logits=True)
        cls = transformers.Qwen3MoeForCausalLM
    else:
        config = transformers.DeepseekV3Config(
            **COMMON, num_key_value_heads=4, n_routed_experts=16, n_shared_experts=1,
            n_group=4, topk_group=2, routed_scaling_factor=2.5, first_k_dense_replace=1,
            q_lora_rank=64, kv_lora_rank=48, qk_nope_head_dim=32, qk_rope_head_dim=16,
            v_head_dim=32, num_mtp_layers=0)
        cls = transformers.DeepseekV3ForCausalLM
    config._attn_implementation = "sdpa"
    config._experts_implementation = "grouped_mm"
    model = cls(config)
    model.router_aux_loss_coef = 0.0  # train() adds its own balancing
    return model


def routers(model) -> dict[int, torch.nn.Module]:
    """Layer index -> router module, for the layers that are Mixture-of-Experts."""
    return {i: layer.mlp.gate for i, layer in enumerate(model.model.layers)
            if hasattr(layer.mlp, "gate")}


def count_loads(model):
    """Make every router count its choices in a buffer ``load`` (never saved)."""
    def hook(module, _inputs, output):
        one_hot = torch.nn.functional.one_hot(output[2], module.num_experts)
        module.load.add_(one_hot.sum(dim=(0, 1)))
    for router in routers(model).values():
        router.register_buffer("load", torch.zeros(router.num_experts, dtype=torch.int64),
                               persistent=False)
        router.register_forward_hook(hook)


@torch.no_grad()
def balance_by_bias(model, gamma: float):
    """The rule without auxiliary loss: raise the bias of the experts used too little."""
    for router in routers(model).values():
        load = router.load.float()
        router.e_score_correction_bias += gamma * torch.sign(load.mean() - load)
        router.load.zero_()


@torch.no_grad()
def bits_per_byte(model, data: bytes, batch: int = 16) -> float:
    count = len(data) // WINDOW
    windows = torch.from_numpy(np.frombuffer(data, np.uint8)[:count * WINDOW].astype(np.int64))
    nats = 0.0
    for x in windows.view(count, WINDOW).split(batch):
        logits = model(x, use_cache=False).logits[:, :-1].float()
        nats += torch.nn.functional.cross_entropy(
            logits.reshape(-1, 256), x[:, 1:].reshape(-1), reduction="sum").double().item()
    return nats / (count * (WINDOW - 1)) / math.log(2)


@torch.no_grad()
def sample(model, prompt: bytes, n: int, temperature: float, seed: int) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    tokens = list(prompt)
    for _ in range(n):
        logits = model(torch.tensor([tokens[-WINDOW:]]), use_cache=False).logits[0, -1]
        p = torch.softmax(logits.float() / temperature, -1)
        tokens.append(int(torch.multinomial(p, 1, generator=generator)))
    return bytes(tokens)


def train(model, data: bytes, args) -> list:
    bytes_all = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
    params = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in params if p.dim() > 1], "weight_decay": args.weight_decay},
         {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98), eps=1e-9, fused=True)
    generator = torch.Generator().manual_seed(args.seed)
    forward = torch.compile(model) if args.compile else model
    span, curve, recent, start = torch.arange(WINDOW), [], [], time.time()
    model.train()
    for step in range(1, args.steps + 1):
        warm = min(1.0, step / args.warmup)
        scale = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * scale
        at = torch.randint(0, len(data) - WINDOW, (args.batch, 1), generator=generator)
        x = bytes_all[at + span].long()
        out = forward(x, labels=x, use_cache=False)
        loss = out.loss
        if args.kind == "qwen3_moe":  # balance every layer, not only the sum over layers
            loss = loss + args.aux * torch.stack([load_balancing_loss_func((g,), 16, 4)
                                                  for g in out.router_logits]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if args.kind == "deepseek_v3":
            balance_by_bias(model, args.gamma * scale)
        recent.append(out.loss.detach())
        if step % args.log_every == 0 or step == args.steps:
            curve.append([step, round(torch.stack(recent).mean().item(), 4)])
            recent = []
            print(f"{args.kind} step {step}/{args.steps} loss {curve[-1][1]:.4f} nats "
                  f"({curve[-1][1] / math.log(2):.3f} bits) {time.time() - start:.0f} s",
                  file=sys.stderr, flush=True)
    return curve


def save(model, folder: Path):
    """bf16 safetensors; the correction bias, rounded with the rest, is stored as float32,
    the type it has in DeepSeek's own files."""
    model.to(torch.bfloat16)
    for router in routers(model).values():
        if hasattr(router, "e_score_correction_bias"):
            router.e_score_correction_bias.data = router.e_score_correction_bias.float()
    model.config.output_router_logits = False
    model.config.dtype = torch.bfloat16
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


README = """\
# {name}: a byte-level example model

A small Mixture-of-Experts language model ({cls} of transformers, {params:,}
parameters, bfloat16) with a vocabulary of the 256 byte values and no tokenizer.
It exists so that moekit's examples and tests have a real trained checkpoint with
real routing; it knows how Python documentation looks, and nothing else.

| figure | value |
|---|---|
| held-out bits per byte, all {heldout_bytes:,} held-out bytes | {bpb:.4f} |
| held-out bits per byte, `heldout.txt` ({excerpt_bytes:,} bytes) | {excerpt_bpb:.4f} |
| least / greatest share of one expert on held-out text (even: {even:.4f}) | {low:.4f} / {high:.4f} |
| training | {steps} steps of {step_bytes} bytes, {minutes:.0f} minutes, one CPU thread |

Bits per byte: non-overlapping windows of 256 bytes, bytes 1..255 of every window
predicted from the earlier bytes of that window, mean of -log2 p. Measured with the
saved checkpoint, loaded again with `from_pretrained(..., dtype=torch.float32)`.

**Data.** {text};
{train_bytes:,} bytes for training. Whole files are held out, by a hash of their
topic (`byte_corpus.py`). The texts are Copyright (c) 2001-2023 Python Software
Foundation, all rights reserved, used under the PSF License Agreement
(https://docs.python.org/3/license.html). `heldout.txt` is an excerpt of them and stays
under that licence; do not reformat it, tests count its bytes.

**Repeat.** `pip install torch transformers`, `apt-get install python3.11-doc`, then
`python examples/train_byte_lm.py {kind} --steps {steps}` with CPython {python}. The seed is
fixed, but another processor or version gives slightly other weights. All settings, the
loss curve and the load of every expert are in `training.json`.

**Licence.** The weights are under Apache-2.0.
"""


def write_readme(folder: Path):
    """README.md, made from config.json and training.json alone."""
    record = json.loads((folder / "training.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    hyper, corpus = record["hyperparameters"], record["corpus"]
    flat = [v for row in record["expert_load_share_heldout"].values() for v in row]
    experts = len(record["expert_load_share_heldout"]["1"])
    (folder / "README.md").write_text(README.format(
        name=f"{config['model_type']}_bytes", kind=config["model_type"],
        cls=config["architectures"][0], params=record["parameters"],
        heldout_bytes=corpus["heldout_bytes"], excerpt_bytes=record["heldout_excerpt_bytes"],
        bpb=record["heldout_bits_per_byte"], excerpt_bpb=record["heldout_excerpt_bits_per_byte"],
        even=1 / experts, low=min(flat), high=max(flat), steps=hyper["steps"],
        step_bytes=hyper["batch"] * WINDOW, minutes=record["wall_seconds"] / 60,
        text=corpus["text"], train_bytes=corpus["train_bytes"],
        python=record["versions"]["python"]))


def report(args, folder: Path, corpus, curve: list, seconds: float):
    """Measure the saved checkpoint, loaded again, and write the texts next to it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    excerpt_bpb = bits_per_byte(model, corpus.excerpt)
    text = sample(model, SAMPLE_PROMPT, 600, 0.7, args.seed)
    count_loads(model)
    bpb = bits_per_byte(model, corpus.heldout)
    shares = {str(i): [round(v, 5) for v in (r.load / r.load.sum()).tolist()]
              for i, r in routers(model).items()}
    flat = [v for row in shares.values() for v in row]
    record = {
        "seed": args.seed,
        "hyperparameters": {k: v for k, v in vars(args).items()
                            if k not in ("kind", "seed", "out", "doc_sources")}
        | {"optimizer": "AdamW, betas 0.9 0.98, gradient norm clipped at 1",
           "schedule": "linear warm-up, cosine to 2 %", "window": WINDOW,
           "bytes_seen": args.steps * args.batch * WINDOW, "dtype": "float32, saved as bfloat16"},
        "corpus": corpus.description,
        "loss_curve": curve, "loss_curve_unit": "[step, mean train loss in nats since last entry]",
        "bits_per_byte_definition": "non-overlapping windows of 256 bytes, rest dropped; bytes "
                                    "1..255 of each window given its earlier bytes; mean -log2 p",
        "heldout_bits_per_byte": bpb, "heldout_excerpt_bits_per_byte": excerpt_bpb,
        "heldout_excerpt_bytes": len(corpus.excerpt),
        "expert_load_share_heldout": shares,
        "parameters": sum(p.numel() for p in model.parameters()),
        "wall_seconds": round(seconds, 1), "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "numpy": np.__version__},
        "sample": {"prompt": SAMPLE_PROMPT.decode(), "temperature": 0.7,
                   "text": text.decode("utf-8", "replace")},
    }
    if args.kind == "deepseek_v3":
        record["e_score_correction_bias"] = {
            str(i): [round(v, 4) for v in r.e_score_correction_bias.tolist()]
            for i, r in routers(model).items()}
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "heldout.txt").write_bytes(corpus.excerpt)
    write_readme(folder)
    print(f"{args.kind}: held-out {bpb:.4f} bits per byte, excerpt {excerpt_bpb:.4f}, "
          f"expert share {min(flat):.4f}..{max(flat):.4f}, {seconds:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["qwen3_moe", "deepseek_v3"])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=8, help="windows of 256 bytes per step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--aux", type=float, default=0.01,
                        help="weight of the balancing loss, mean over layers (qwen3_moe)")
    parser.add_argument("--gamma", type=float, default=1e-3,
                        help="step of the correction bias (deepseek_v3); falls with the rate")
    parser.add_argument("--seed", type=int, default=20240607)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True,
                        help="torch.compile the training step (about a quarter faster)")
    parser.add_argument("--doc-sources", help="folder that holds library/*.rst[.txt]")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint")
    args = parser.parse_args()
    folder = args.out or HERE / "models" / f"{args.kind}_bytes"
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    corpus = load_corpus(args.doc_sources)
    model = make_model(args.kind)
    if args.kind == "deepseek_v3":
        count_loads(model)
    start = time.time()
    curve = train(model, corpus.train, args)
    seconds = time.time() - start
    if folder.exists():
        shutil.rmtree(folder)
    save(model, folder)
    report(args, folder, corpus, curve, seconds)


if __name__ == "__main__":
    main()
