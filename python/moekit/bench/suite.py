# SPDX-License-Identifier: Apache-2.0
"""One case of a suite: competitors are checked against a reference, then timed together."""
from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from .timing import Competitor, interleaved

# Squared error over squared reference (float64) that a competitor may have. float32: sums of a few thousand products at
# 2^-24 each; bfloat16: inputs, intermediates and outputs rounded at 2^-9, a few times 2^-18, and a router logit between 8
# and 16 that rounds the other way changes one of eight weights by 6 %: 4e-4 of a row. One wrong expert would be 0.2.
LARGEST_ERROR = {"float32": 1e-10, "bfloat16": 1e-3}


class Case(NamedTuple):
    suite: str
    shape: Mapping[str, Any]  # what identifies the case, with "dtype"
    competitors: Sequence[Competitor]
    reference: np.ndarray  # float64, the first rows of the output for the first input
    to_numpy: Callable[[Any], np.ndarray]  # output to float64 [rows, columns]
    weight_bytes: float  # read by one call, mean over the inputs
    flops: float
    not_measured: Mapping[str, str]  # competitor -> reason


def error_of(y: np.ndarray, reference: np.ndarray) -> float:
    y = y[: len(reference)]
    if y.shape != reference.shape or not np.isfinite(y).all():
        return float("inf")
    return float(np.square(y - reference).sum() / max(np.square(reference).sum(), 1e-300))


def run(case: Case, seconds: float) -> dict:
    """The case's row: times, errors, ratios of medians over the first competitor of moekit, work."""
    timed, errors, missing = [], {}, dict(case.not_measured)
    for competitor in case.competitors:
        try:
            errors[competitor.name] = error_of(case.to_numpy(competitor.f(competitor.inputs[0])), case.reference)
        except Exception as error:  # a peer's failure is a line of the report, whatever it is
            if competitor.name.startswith("moekit"):
                raise
            missing[competitor.name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if errors[competitor.name] > LARGEST_ERROR[case.shape["dtype"]]:
            missing[competitor.name] = f"wrong result, squared error {errors[competitor.name]:.2g}"
        else:
            timed.append(competitor)
    times = interleaved(timed, seconds) if timed else {}
    ours = next((name for name in times if name.startswith("moekit")), None)
    ratios = {name: t["median_s"] / times[ours]["median_s"] for name, t in times.items() if name != ours} if ours else {}
    return {"suite": case.suite, "shape": dict(case.shape), "times": times, "ratio_over": ours, "ratios": ratios,
            "errors": errors, "not_measured": missing, "weight_bytes": case.weight_bytes, "flops": case.flops}


def wrong(row: Mapping[str, Any]) -> bool:
    """Whether moekit itself gave a wrong result."""
    return any(name.startswith("moekit") for name in row["not_measured"] if name in row["errors"])
