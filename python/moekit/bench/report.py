# SPDX-License-Identifier: Apache-2.0
"""Rows as tables for people, and against an old run."""
from __future__ import annotations

import json
from typing import Any, Mapping

from .machine import SAME_MACHINE


def shape_text(row: Mapping[str, Any]) -> str:
    s = row["shape"]
    if row["suite"] == "dropin":
        return f"{s['dtype']} ({s['experts']}, {s['input']} -> {s['output']}) batch {s['batch']}"
    if row["suite"] == "generate":
        return f"{s['phase']} {s['tokens']} tokens, {s['dtype']}"
    routing = "" if s["routing"] == "uniform" else f", {s['routing']}"
    return f"{s['model']} {s['dtype']} T = {s['T']}{routing}"


def _milliseconds(t: Mapping[str, float]) -> str:
    spread = 50.0 * (t["q3_s"] - t["q1_s"]) / t["median_s"]
    return f"{1e3 * t['median_s']:.4g} ms ±{spread:.0f}%"


def table(rows) -> list[str]:
    """Columns as wide as their widest cell, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
            for row in rows]


def _reduced(rows) -> list[str]:
    """Where a layer has fewer experts than its model."""
    return list(dict.fromkeys(f"{s['model']}: {s['experts']} of its {s['of_experts']} experts, as memory allows"
                              for s in (r["shape"] for r in rows) if s.get("of_experts", 0) > s.get("experts", 0)))


def _model(rows) -> list[str]:
    """Which model the cases of generate run."""
    return list(dict.fromkeys(
        f"Qwen3-MoE of random weights: {s['layers']} layers of {s['experts']} experts, {s['top_k']} a token, "
        f"{s['hidden']} -> {s['intermediate']} -> {s['hidden']}; a time is that of all tokens of a sequence"
        for s in (r["shape"] for r in rows) if "phase" in s))


def suite_lines(suite: str, rows) -> list[str]:
    """A line a competitor, its case before the first of them."""
    rows = [r for r in rows if r["suite"] == suite]
    lines = [["case", "", "time", "over moekit", "GB/s", "of DRAM", "TF/s", "of peak"]]
    if suite == "generate":
        lines[0].append("tokens/s")
    for r in rows:
        for name, t in r["times"].items():
            rate = r["rates"][name]
            lines.append([shape_text(r) if name == next(iter(r["times"])) else "", name, _milliseconds(t),
                          f"{r['ratios'][name]:.2f}x" if name in r["ratios"] else "",
                          f"{rate['bytes_per_s'] / 1e9:.3g}", f"{rate['of_dram']:.0%}", f"{rate['flops_per_s'] / 1e12:.3g}",
                          f"{rate['of_peak']:.0%}"])
            if suite == "generate":
                lines[-1].append(f"{r['shape']['tokens'] / t['median_s']:.4g}")
    out = ["", suite, *_model(rows), *_reduced(rows), *table(lines)]
    details = dict.fromkeys(f"{name}: {text}" for r in rows for name, text in r["details"].items() if name in r["times"])
    return out + list(details) + _missing_lines(rows)


def _missing_lines(rows) -> list[str]:
    """A line a reason: who did not run for it, and where, if not in all cases (of a dtype)."""
    who: dict[str, dict[str, list]] = {}  # reason -> name -> rows
    for r in rows:
        for name, reason in r["not_measured"].items():
            who.setdefault(reason, {}).setdefault(name, []).append(r)
    groups: dict[tuple, list[str]] = {}
    for reason, names in who.items():
        for name, where in names.items():
            dtypes = dict.fromkeys(r["shape"]["dtype"] for r in where)
            if len(where) == len(rows):
                text = ""
            elif len(where) == sum(r["shape"]["dtype"] in dtypes for r in rows):
                text = f" in {', '.join(dtypes)}"
            else:
                text = f" at {'; '.join(map(shape_text, where))}"
            groups.setdefault((reason, text), []).append(name)
    return [f"not run: {', '.join(names)}{text} ({reason})" for (reason, text), names in groups.items()]


def render(facts: Mapping[str, Any]) -> str:
    m, limits = facts["machine"], facts["limits"]
    commit = m["commit"][:12] + (" with uncommitted changes" if m["uncommitted_changes"] else "") if m["commit"] else "no checkout"
    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in m["versions"].items())
    kernels = ", ".join(f"{dtype}: {isa}" for dtype, isa in m["kernels"].items())
    lines = [
        f"{m['cpu']}, {m['threads']} threads, kernels {kernels}",
        f"moekit {m['moekit']} ({commit}), Python {m['python']}, {versions}",
        f"best rates of this run: memory {limits['dram'] / 1e9:.1f} GB/s, fp32 {limits['fp32'] / 1e12:.3g} TF/s, "
        f"bf16 {limits['bf16'] / 1e12:.3g} TF/s; load average at the start {m['load_average']:.1f}",
    ]
    if facts["quick"]:
        lines.append("--quick: shapes and times too small to mean anything")
    for suite in dict.fromkeys(r["suite"] for r in facts["rows"]):
        lines += suite_lines(suite, facts["rows"])
    lines += [f"not run: suite {suite} ({reason})" for suite, reason in facts["not_measured"].items()]
    if "compared" in facts:
        lines += ["", "against the old run: old time / new time"] + table(
            [["case", *dict.fromkeys(n for c in facts["compared"] for n in c["speedup"])]] +
            [[c["case"], *(f"{c['speedup'][n]:.2f}" if n in c["speedup"] else "-"
                           for n in dict.fromkeys(k for d in facts["compared"] for k in d["speedup"]))]
             for c in facts["compared"]])
    lines += [f"drawn: {path}" for path in facts.get("plots", ())]
    return "\n".join(lines)


def load(path: str) -> dict:
    """An old run. Raises ValueError when the file is none."""
    with open(path, encoding="utf-8") as file:
        old = json.load(file)
    if not isinstance(old, dict) or not isinstance(old.get("rows"), list) or not isinstance(old.get("machine"), dict):
        raise ValueError(f"[bench] {path} is not a run of moekit bench")
    return old


def check_machine(old: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
    """Raises ValueError naming what differs: times of two machines say nothing about the code."""
    differs = [f"{key} {old['machine'].get(key)!r}, now {machine[key]!r}" for key in SAME_MACHINE
               if old["machine"].get(key) != machine[key]]
    if differs:
        raise ValueError("[bench] the old run is of another machine: " + "; ".join(differs) + "; --force compares anyway")


def compare(old: Mapping[str, Any], rows) -> list[dict]:
    """Old over new medians of the cases that both runs have. Peers are the control: they tell how the machine changed."""
    before = {(r["suite"], json.dumps(r["shape"], sort_keys=True)): r for r in old["rows"]}
    out = []
    for r in rows:
        match = before.get((r["suite"], json.dumps(r["shape"], sort_keys=True)))
        if match:
            out.append({"case": f"{r['suite']}: {shape_text(r)}",
                        "speedup": {name: match["times"][name]["median_s"] / t["median_s"]
                                    for name, t in r["times"].items() if name in match["times"]}})
    return out
