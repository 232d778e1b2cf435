# SPDX-License-Identifier: Apache-2.0
"""Records where a model's tokens go, and says whether a cache of experts would help.

  moekit trace run.routes                       what a file of moekit.trace.record() says
  moekit trace MODEL --out run.routes           records transformers' generate with moekit's layers first

Hit rates are shares of the experts that calls needed and found in a cache of so many slots a layer: of LRU, of the
optimal policy (which knows the future and bounds every other), and of tokens that went to experts at random. The first
use of an expert is a miss for all of them. memory_budget is what replace_moe takes to give each layer so many slots, for
weights in the form that ran: with --path, in that of the converted model."""
from __future__ import annotations

from pathlib import Path

from .. import budget, cache, trace

HELP = "record routing, and whether caching experts would help"

# LRU must find this many times as much as with random routing, at half of the experts or fewer, to be called a help:
# a smaller gain is eaten by the calls that wait for what is missing.
_WORTHWHILE = 1.2
_PROMPT = "The router sends each token to a few of its experts, and "


def add_arguments(parser) -> None:
    parser.add_argument("source", help="a file of routes, or the folder of a model that transformers loads")
    parser.add_argument("--out", metavar="FILE", help="where the routes of a model go (required for one)")
    parser.add_argument("--path", metavar="FOLDER", help="run the layers that moekit convert wrote of the model")
    parser.add_argument("--prompt", default=_PROMPT, help="what the model goes on from (bytes where it has no tokenizer)")
    parser.add_argument("--new", type=int, default=128, metavar="N", help="tokens that it makes (default 128)")
    parser.add_argument("--slots", metavar="LIST", help="slots a layer, separated by commas (default: eighths of the experts)")


def _generate(folder: str, converted: str | None, prompt: str, new: int, out: str) -> None:
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging

        from .. import hf
    except ImportError as error:
        raise ValueError(f"[trace] recording a model needs torch and transformers: {error}") from None
    logging.set_verbosity_error()
    if any(Path(folder).glob("tokenizer*")):
        ids = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt").input_ids
    else:
        ids = torch.tensor([list(prompt.encode())])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    layers = hf.replace_moe(model, path=converted)
    with trace.record(out, names=layers):
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, min_new_tokens=new)


def _slots(text, experts: int) -> list:
    if text is None:
        return sorted({max(1, experts * i // 8) for i in range(1, 9)})
    try:
        slots = sorted({int(part) for part in text.split(",")})
    except ValueError:
        slots = [0]
    if slots[0] < 1:
        raise ValueError(f"[trace] --slots is {text!r}, expected numbers from 1 separated by commas")
    return slots


def _random_hits(sequence, experts: int, slots: int) -> float:
    """Expected hits where every access goes to any of the experts with the same odds: a cache that is full holds
    slots / experts of them, and filling it up misses."""
    held, hits = 0.0, 0.0
    for _ in sequence:
        share = min(held, slots) / experts
        hits += share
        held += 1.0 - share
    return hits


def analyse(run: trace.Trace, text=None) -> dict:
    """Hit rates of every layer and of all, against slots a layer."""
    if not run.calls:
        raise ValueError("[trace] no calls are in the file")
    experts = max(layer.experts for layer in run.layers)
    slots = _slots(text, experts)
    sequences = [cache.needed(rows for number, rows in run.calls if number == i) for i in range(len(run.layers))]
    total = sum(map(len, sequences))
    per_layer = []
    for layer, sequence in zip(run.layers, sequences):
        per_layer.append({"name": layer.name, "experts": layer.experts, "needed": len(sequence), "different": len(set(sequence)),
                          "lru": cache.lru_hits(sequence, slots), "optimal": [cache.optimal_hits(sequence, n) for n in slots],
                          "random": [_random_hits(sequence, layer.experts, n) for n in slots]})
    needs = [layer.needs for layer in run.layers]
    rates = [{"slots": n, "memory_budget": budget.for_slots(needs, n),
              **{policy: sum(layer[policy][i] for layer in per_layer) / max(total, 1) for policy in ("lru", "optimal", "random")}}
             for i, n in enumerate(slots)]
    return {"calls": len(run.calls), "tokens": sum(len(rows) for _, rows in run.calls), "needed": total, "experts": experts,
            "rates": rates, "layers": per_layer, "verdict": _verdict(rates, experts)}


def _verdict(rates, experts: int) -> str:
    small = [r for r in rates if r["slots"] <= experts // 2 and r["random"] > 0]
    if not small:
        return "no cache of half the experts or fewer was asked for"
    best = max(small, key=lambda r: r["lru"] / r["random"])
    bound = max(small, key=lambda r: r["optimal"] / r["random"])
    facts = f"{best['slots']} slots of {experts}: LRU {best['lru']:.0%}, random routing {best['random']:.0%}"
    if best["lru"] >= _WORTHWHILE * best["random"]:
        return f"a cache helps ({facts})"
    if bound["optimal"] >= _WORTHWHILE * bound["random"]:
        return (f"LRU does not help ({facts}); knowing what comes next would ({bound['slots']} slots: optimal "
                f"{bound['optimal']:.0%}, random routing {bound['random']:.0%})")
    return f"no cache helps: routing is as good as random ({facts})"


def run(args):
    source = args.source
    if Path(source).is_dir():
        if not args.out:
            raise ValueError("[trace] a model needs --out FILE for its routes")
        if args.new < 1:
            raise ValueError(f"[trace] --new is {args.new}, expected >= 1")
        _generate(source, args.path, args.prompt, args.new, args.out)
        source = args.out
    elif args.path:
        raise ValueError(f"[trace] --path goes with a model, {source} is a file of routes")
    return {"path": source, **analyse(trace.load(source), args.slots)}, 0


def render(f) -> str:
    from ..bench.report import table
    from .inspect import amount

    lines = [f"{f['path']}: {len(f['layers'])} layers, {f['calls']} calls, {f['tokens']} tokens, experts needed {f['needed']} times"]
    lines += table([["slots a layer", "memory_budget", "", "LRU", "optimal", "random routing"],
                    *([str(r["slots"]), str(r["memory_budget"]), amount(r["memory_budget"]), f"{r['lru']:.1%}", f"{r['optimal']:.1%}", f"{r['random']:.1%}"]
                      for r in f["rates"])])
    lines += [f["verdict"], "budgets: moekit.hf.replace_moe(model, path=FOLDER of moekit convert, memory_budget=BYTES)"]
    return "\n".join(lines)
