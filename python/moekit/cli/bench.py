# SPDX-License-Identifier: Apache-2.0
"""Times moekit against its peers and the machine's limits, all in one run and in turn.

  dropin   moekit.torch.MoE and moekit.MoE against the plain PyTorch module, eager and under torch.compile
  layer    one Qwen3-30B-A3B layer in bfloat16 against transformers' block (needs about 5 GB of memory)

Every competitor's result is checked before it is timed. Times are medians of turns, ± half the distance between the
quartiles; "2x" is the ratio of a median over moekit's (the first column). GB/s (of the weights that a call needs) and
TF/s are moekit's, beside the limits measured in the same run. A peer that is not installed is named as not measured."""
from __future__ import annotations

import importlib
import json
import sys

from .. import _core, set_num_threads

HELP = "time moekit against PyTorch, transformers and the machine's limits"

SUITES = ("dropin", "layer")


def add_arguments(parser) -> None:
    parser.add_argument("suite", nargs="?", choices=SUITES, help="both by default")
    parser.add_argument("--json", metavar="FILE", help="write the run to FILE (- for the terminal instead of the table)")
    parser.add_argument("--compare", metavar="FILE", help="print ratios against an old run's FILE")
    parser.add_argument("--force", action="store_true", help="compare even with a run of another machine")
    parser.add_argument("--seconds", type=float, default=3.0, help="time a case, at least five turns each (default 3)")
    parser.add_argument("--threads", type=int, default=0, help="of moekit and torch (default: the CPUs available)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: shows that everything runs, times mean nothing")


def _use_threads(threads: int) -> None:
    threads = threads if threads > 0 else _core.cpu()["available_cpus"]
    set_num_threads(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)


def _run_suite(name: str, args, rows) -> None:
    from ..bench.report import shape_text
    from ..bench.suite import run as run_case

    for case in importlib.import_module(f"moekit.bench.{name}").cases(args.quick):
        row = run_case(case, 0.0 if args.quick else args.seconds)
        rows.append(row)
        if sys.stderr.isatty():
            print(f"{name}: {shape_text(row)}", file=sys.stderr)


def run(args):
    from ..bench import machine, report
    from ..bench.suite import wrong

    old = report.load(args.compare) if args.compare else None
    _use_threads(args.threads)
    facts = {"machine": machine.facts(), "quick": args.quick, "limits": machine.limits(args.quick), "rows": [],
             "not_measured": {}}
    if old is not None and not args.force:
        report.check_machine(old, facts["machine"])
    for name in [args.suite] if args.suite else SUITES:
        try:
            _run_suite(name, args, facts["rows"])
        except ImportError as error:
            facts["not_measured"][name] = str(error)
    facts["limits"] = machine.better(facts["limits"], machine.limits(args.quick))
    if old is not None:
        facts["compared"] = report.compare(old, facts["rows"])
    if args.json and args.json != "-":
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)
        args.json = None  # the table goes to the terminal
    return facts, int(any(wrong(row) for row in facts["rows"]))


def render(facts) -> str:
    from ..bench.report import render as render_run

    return render_run(facts)
