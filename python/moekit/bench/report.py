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
    return f"{s['dtype']} T = {s['T']}"


def _milliseconds(t: Mapping[str, float]) -> str:
    spread = 50.0 * (t["q3_s"] - t["q1_s"]) / t["median_s"]
    return f"{1e3 * t['median_s']:.4g} ms ±{spread:.0f}%"


def _cell(row: Mapping[str, Any], name: str) -> str:
    """Time, and how many times moekit's it is."""
    if name not in row["times"]:
        return "-"
    ratio = f" {row['ratios'][name]:6.2f}x" if name in row["ratios"] else ""
    return _milliseconds(row["times"][name]) + ratio


def table(rows) -> list[str]:
    """Columns as wide as their widest cell, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
            for row in rows]


def suite_lines(suite: str, rows, limits) -> list[str]:
    rows = [r for r in rows if r["suite"] == suite]
    names = list(dict.fromkeys(name for r in rows for name in r["times"]))
    lines = [["case", *names, "GB/s", "of DRAM", "TF/s", "of peak"]]
    for r in rows:
        ours = r["times"].get(r["ratio_over"])
        work = ["-"] * 4
        if ours:
            read, flops = r["weight_bytes"] / ours["median_s"], r["flops"] / ours["median_s"]
            peak = limits["bf16"] if r["shape"]["dtype"] == "bfloat16" and limits["bf16"] else limits["fp32"]
            work = [f"{read / 1e9:.3g}", f"{read / limits['dram']:.0%}", f"{flops / 1e12:.3g}", f"{flops / peak:.0%}"]
        lines.append([shape_text(r), *(_cell(r, n) for n in names), *work])
    missing: dict[str, list[str]] = {}
    for r in rows:
        for name, reason in r["not_measured"].items():
            missing.setdefault(f"{name} ({reason})", []).append(shape_text(r))
    out = ["", suite, *table(lines)]
    for what, where in missing.items():
        out.append(f"not measured: {what}" + ("" if len(where) == len(rows) else f" at {'; '.join(where)}"))
    return out


def render(facts: Mapping[str, Any]) -> str:
    m, limits = facts["machine"], facts["limits"]
    commit = m["commit"][:12] + (" with uncommitted changes" if m["uncommitted_changes"] else "") if m["commit"] else "no checkout"
    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in m["versions"].items())
    kernels = ", ".join(f"{dtype}: {isa}" for dtype, isa in m["kernels"].items())
    lines = [
        f"{m['cpu']}, {m['threads']} threads, kernels {kernels}",
        f"moekit {m['moekit']} ({commit}), Python {m['python']}, {versions}",
        f"limits of this run: memory {limits['dram'] / 1e9:.1f} GB/s, fp32 {limits['fp32'] / 1e12:.3g} TF/s, "
        f"bf16 {limits['bf16'] / 1e12:.3g} TF/s; load average at the start {m['load_average']:.1f}",
    ]
    if facts["quick"]:
        lines.append("--quick: shapes and times too small to mean anything")
    for suite in dict.fromkeys(r["suite"] for r in facts["rows"]):
        lines += suite_lines(suite, facts["rows"], limits)
    lines += [f"not measured: suite {suite} ({reason})" for suite, reason in facts["not_measured"].items()]
    if "compared" in facts:
        lines += ["", "against the old run: old time / new time"] + table(
            [["case", *dict.fromkeys(n for c in facts["compared"] for n in c["speedup"])]] +
            [[c["case"], *(f"{c['speedup'][n]:.2f}" if n in c["speedup"] else "-"
                           for n in dict.fromkeys(k for d in facts["compared"] for k in d["speedup"]))]
             for c in facts["compared"]])
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
