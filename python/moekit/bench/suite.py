# SPDX-License-Identifier: Apache-2.0
"""One case of a suite: competitors are checked against a reference, then timed together."""
from __future__ import annotations

import statistics
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from .machine import Limits
from .timing import Competitor, interleaved

# Squared error over squared reference (float64) that a competitor may have. float32: sums of a few thousand products at
# 2^-24 each; bfloat16: inputs, intermediates and outputs rounded at 2^-9, a few times 2^-18, and a router logit between 8
# and 16 that rounds the other way changes one of eight weights by 6 %: 4e-4 of a row. One wrong expert would be 0.2.
#
# Quantised weights are compared with the weights they came from, whoever quantised them: the bounds are a few times the
# rounding of a weight (int8 by row and in groups, e4m3, int4 and e2m1 in groups of 32), and rows may be int8 as well.
# Those errors are of a few rows, so they scatter; one wrong expert of ten would still be 0.2.
LARGEST_ERROR = {"float32": 1e-10, "bfloat16": 1e-3, "bf16z": 1e-3, "int8": 5e-3, "fp8": 2e-2, "int4": 0.12, "mxfp4": 0.16}


class Options(NamedTuple):
    """What the command line asks of a suite."""

    quick: bool = False
    shapes: Sequence[str] = ("qwen3-30b",)
    formats: Sequence[str] = ("bfloat16",)
    tokens: Sequence[int] = (1, 4, 16, 64, 256, 1024)
    routings: Sequence[str] = ("uniform",)
    memory: int = 0  # bytes that a layer and its copies may take, 0: half of what is available
    peers: Optional[str] = None  # folder of scripts/bench_peers.sh
    threads: int = 1


class Case(NamedTuple):
    suite: str
    shape: Mapping[str, Any]  # what identifies the case, with "dtype"
    competitors: Sequence[Competitor]
    reference: np.ndarray  # float64, the first rows of the output for the first input
    to_numpy: Callable[[Any], np.ndarray]  # output to float64 [rows, columns]
    weight_bytes: float  # read by one call, mean over the inputs
    flops: float
    not_measured: Mapping[str, str]  # competitor -> reason
    # Bytes of weights that a call of a competitor needs where they are not `weight_bytes`, and what it says it runs.
    bytes_of: Mapping[str, float] = {}
    details: Mapping[str, str] = {}
    largest_error: Optional[float] = None  # where LARGEST_ERROR does not hold


def error_of(y: np.ndarray, reference: np.ndarray) -> float:
    y = y[: len(reference)]
    if y.shape != reference.shape or not np.isfinite(y).all():
        return float("inf")
    return float(np.square(y - reference).sum() / max(np.square(reference).sum(), 1e-300))


def run(case: Case, seconds: float, limits: Limits) -> dict:
    """The case's row: times, errors, ratios of medians over the first competitor of moekit, work; the limits, medians
    of the same rounds, and what each time means: GB/s of the weights that the competitor's format needs, TF/s, and
    their fractions of these limits. (A machine that others use, too, gives less at some times than at its best.)"""
    timed, errors, missing = [], {}, dict(case.not_measured)
    for competitor in case.competitors:
        try:
            errors[competitor.name] = error_of(case.to_numpy(competitor.f(competitor.inputs[0])), case.reference)
        except Exception as error:  # a peer's failure is a line of the report, whatever it is
            if competitor.name.startswith("moekit"):
                raise
            missing[competitor.name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if not errors[competitor.name] <= (case.largest_error or LARGEST_ERROR[case.shape["dtype"]]):
            missing[competitor.name] = f"wrong result, squared error {errors[competitor.name]:.2g}"
        else:
            timed.append(competitor)
    measured: list[dict] = []
    times = interleaved(timed, seconds, failed=missing,
                        beside=lambda: measured.append(limits.now(case.shape["dtype"]))) if timed else {}
    ours = next((name for name in times if name.startswith("moekit")), None)
    ratios = {name: t["median_s"] / times[ours]["median_s"] for name, t in times.items() if name != ours} if ours else {}
    then = {name: statistics.median(m[name] for m in measured) for name in ("dram", "peak")} if measured else {}
    bytes_of = {name: case.bytes_of.get(name, case.weight_bytes) for name in times}
    rates = {}
    for name, t in times.items():
        read, flops = bytes_of[name] / t["median_s"], case.flops / t["median_s"]
        rates[name] = {"bytes_per_s": read, "of_dram": read / then["dram"], "flops_per_s": flops,
                       "of_peak": flops / then["peak"]}
    return {"suite": case.suite, "shape": dict(case.shape), "times": times, "ratio_over": ours, "ratios": ratios,
            "errors": errors, "not_measured": missing, "weight_bytes": case.weight_bytes, "flops": case.flops,
            "limits": then, "rates": rates, "bytes_of": bytes_of, "details": dict(case.details)}


def wrong(row: Mapping[str, Any]) -> bool:
    """Whether moekit itself gave a wrong result."""
    return any(name.startswith("moekit") for name in row["not_measured"] if name in row["errors"])
