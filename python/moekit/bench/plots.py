# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run's layers: a roofline for each shape, and time against T with the peers for each format and routing."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from .machine import peak_of

MARKERS = {"float32": "s", "bfloat16": "o", "bf16z": "h", "int8": "^", "fp8": "v", "int4": "D", "mxfp4": "P"}
# Okabe and Ito's colours, which people with any kind of colour vision can tell apart; the black one is moekit's.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")


def check() -> None:
    """Raises ValueError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError("[bench] --plots needs matplotlib, which is not installed: pip install matplotlib") from None


def _figure(title: str, facts: Mapping[str, Any]):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(figsize=(9, 5.6), dpi=130, layout="constrained")
    machine = facts["machine"]
    quick = "   --quick: sizes and times too small to mean anything" if facts["quick"] else ""
    axes.set_title(f"{title}\n", loc="left", fontsize=12, fontweight="bold")
    axes.text(0, 1.015, f"{machine['cpu']}, {machine['threads']} threads, moekit {machine['moekit']}{quick}",
              transform=axes.transAxes, fontsize=8.5, color="#555555")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _colours(rows) -> dict:
    """The same competitor has the same colour in all pictures of a run; moekit comes first."""
    names = list(dict.fromkeys(n for r in rows for n in r["times"]))
    names.sort(key=lambda name: name != "moekit")
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _tokens_axis(axes, tokens) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(tokens, [str(t) for t in tokens])
    axes.minorticks_off()
    axes.set_xlabel("T, tokens of a call")


def _times(rows, facts, colours, path: Path) -> Path:
    shape = rows[0]["shape"]
    figure, axes = _figure(f"{shape['model']}, {shape['experts']} of {shape['of_experts']} experts, {shape['dtype']} weights, "
                           f"{shape['routing']} routing", facts)
    rows = sorted(rows, key=lambda r: r["shape"]["T"])
    limits = facts["limits"]
    peak = peak_of(shape["dtype"], limits)
    tokens = [r["shape"]["T"] for r in rows]
    floor = [1e3 * max(r["weight_bytes"] / limits["dram"], r["flops"] / peak) for r in rows]
    axes.fill_between(tokens, [f * 1e-3 for f in floor], floor, color="#eeeeee", zorder=0)
    axes.plot(tokens, floor, color="#999999", linewidth=1, label="limit of this machine")
    lowest, highest = min(floor), max(floor)
    for name, colour in colours.items():
        points = [(r["shape"]["T"], 1e3 * r["times"][name]["median_s"], 1e3 * r["times"][name]["q1_s"],
                   1e3 * r["times"][name]["q3_s"]) for r in rows if name in r["times"]]
        if not points:
            continue
        t, middle, low, high = zip(*points)
        ours = name == "moekit"
        axes.fill_between(t, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(t, middle, color=colour, marker="o", markersize=5 if ours else 4, linewidth=2.4 if ours else 1.3,
                  label=name, zorder=3 if ours else 2)
        lowest, highest = min(lowest, *middle), max(highest, *middle)
    axes.set_yscale("log")
    axes.set_ylim(lowest / 1.5, highest * 1.5)
    axes.set_ylabel("time of a call, ms (median, band: quartiles)")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _tokens_axis(axes, tokens)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(path)
    return path


def _roofline(rows, facts, colours, path: Path) -> Path:
    shape, limits = rows[0]["shape"], facts["limits"]
    figure, axes = _figure(f"{shape['model']}, {shape['experts']} of {shape['of_experts']} experts: roofline", facts)
    points = [(name, r, r["flops"] / r["bytes_of"][name], r["rates"][name]["flops_per_s"] * 1e-12)
              for r in rows for name in r["times"]]
    left, right = min(p[2] for p in points) / 2, max(p[2] for p in points) * 2
    peaks = {label: limits[key] * 1e-12 for label, key in (("fp32", "fp32"), ("bf16", "bf16")) if limits[key]}
    top = max(peaks.values())
    dram = limits["dram"] * 1e-12
    ridge = min(max(top / dram, left), right)
    axes.plot([left, ridge], [dram * left, dram * ridge], color="#555555", linewidth=1.5)
    for label, peak in peaks.items():
        axes.plot([peak / dram, max(right, 2 * peak / dram)], [peak, peak], color="#555555", linewidth=1.5)
        axes.annotate(f"{label} multiply-adds, {peak:.3g} TF/s", (max(right, 2 * peak / dram), peak), xytext=(0, 4),
                      textcoords="offset points", ha="right", fontsize=8.5, color="#555555")
    middle = (left * ridge) ** 0.5
    axes.annotate(f"memory, {limits['dram'] * 1e-9:.3g} GB/s", (middle, dram * middle), xytext=(-8, 4), ha="right",
                  textcoords="offset points", fontsize=8.5, color="#555555")
    axes.set_xscale("log")
    axes.set_yscale("log")
    formats = list(dict.fromkeys(r["shape"]["dtype"] for r in rows))
    for name, row, x, y in points:
        ours = name == "moekit"
        axes.scatter(x, y, color=colours[name], marker=MARKERS.get(row["shape"]["dtype"], "o"), s=42 if ours else 24,
                     alpha=1.0 if ours else 0.65, linewidth=0, zorder=3 if ours else 2)
    # One label a value of T and format would hide the points: T stands beside moekit's first format only.
    for name, row, x, y in points:
        if name == "moekit" and row["shape"]["dtype"] == formats[0] and row["shape"]["routing"] == rows[0]["shape"]["routing"]:
            axes.annotate(f"T={row['shape']['T']}", (x, y), xytext=(5, -11), textcoords="offset points", fontsize=7.5)
    used = {p[0] for p in points}
    handles = [axes.scatter([], [], color=colour, marker="o", label=name) for name, colour in colours.items() if name in used]
    handles.append(axes.scatter([], [], alpha=0, label=" "))  # apart from the formats
    handles += [axes.scatter([], [], color="#777777", marker=MARKERS.get(f, "o"), label=f) for f in formats]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.set_xlabel("floating-point operations a byte of weights that the call needs")
    axes.set_ylabel("TF/s")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.savefig(path)
    return path


def draw(facts: Mapping[str, Any], folder: str) -> list[str]:
    """Writes the PNG files of a run, whose rows have their rates, and answers their paths. Raises OSError."""
    from matplotlib import pyplot

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    rows = [r for r in facts["rows"] if r["suite"] == "layer" and r["times"]]
    colours, out = _colours(rows), []
    for model in dict.fromkeys(r["shape"]["model"] for r in rows):
        of_model = [r for r in rows if r["shape"]["model"] == model]
        out.append(_roofline(of_model, facts, colours, target / f"roofline-{model}.png"))
        for key in dict.fromkeys((r["shape"]["dtype"], r["shape"]["routing"]) for r in of_model):
            chosen = [r for r in of_model if (r["shape"]["dtype"], r["shape"]["routing"]) == key]
            out.append(_times(chosen, facts, colours, target / f"time-{model}-{key[0]}-{key[1]}.png"))
    pyplot.close("all")
    return [str(path) for path in out]
