#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times one Qwen3-30B-A3B layer in bfloat16 on an NVIDIA GPU, against what else is installed, all in one run.

Peers: transformers' block (eager, grouped_mm), cuBLAS' grouped product (the two products of the layer alone, sizes known
on the host), vLLM's Triton kernel. Each result is checked before it is timed. moekit is timed as called and as a CUDA
graph. Times are medians of CUDA events over turns that alternate; GB/s counts the weights that a call needs.

Usage: gpu_bench.py [--json FILE] [--seconds S] [--quick]
"""
from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time

import torch

import moekit
from moekit.bench.layer import QUICK, QWEN3_30B, REFERENCE_ROWS, _block, _reference, _steered, _wanted, _weights

DEVICE = "cuda"
NMSE = 1e-4  # of bfloat16 layers against float64: products and the output are rounded


class NotMeasured(Exception):
    """A peer that is not there, or that does not take this shape."""


def moekit_layer(sizes, weights):
    config = {"router": {"num_experts": sizes.experts, "top_k": sizes.top_k, "renorm": "add_eps"},
              "expert": {"input": sizes.hidden, "intermediate": sizes.intermediate, "output": sizes.hidden}}
    tensors = {"router.weight": weights["router"], "experts.gate": weights["gate_up"][:, : sizes.intermediate],
               "experts.up": weights["gate_up"][:, sizes.intermediate :], "experts.down": weights["down"]}
    layer = moekit.MoeLayer.from_arrays(config, tensors, device=DEVICE)
    return lambda x: layer(x[0])


def graph_of(call, x):
    """The call as a CUDA graph on its own copy of x; a call copies x there and replays."""
    held = x.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            call(held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = call(held)

    def replay(values):
        held.copy_(values)
        graph.replay()
        return y

    return replay


def transformers_block(sizes, weights, implementation):
    try:
        block = _block(sizes, weights)
    except ImportError as error:
        raise NotMeasured(str(error)) from error
    block = block.to(DEVICE)
    block.experts.config._experts_implementation = implementation

    def call(x):
        y = block(x)
        return (y[0] if isinstance(y, tuple) else y)[0]

    return call


def vllm_kernel(sizes, weights):
    try:
        from vllm.model_executor.layers.fused_moe import fused_experts
    except ImportError as error:
        raise NotMeasured(str(error)) from error
    gate_up, down, router = (weights[name].to(DEVICE) for name in ("gate_up", "down", "router"))

    def call(x):
        probabilities = torch.softmax((x[0] @ router.T).float(), -1)
        top, ids = probabilities.topk(sizes.top_k, -1)
        return fused_experts(x[0], gate_up, down, top / top.sum(-1, keepdim=True), ids.to(torch.int32))

    return call


def cublas_grouped(sizes, weights):
    """Both products by cublasGemmGroupedBatchedEx with the activation between them; tokens sorted, sizes on the host."""
    try:
        blas = ctypes.CDLL("libcublas.so.13")
        blas.cublasGemmGroupedBatchedEx
    except (OSError, AttributeError) as error:
        raise NotMeasured(str(error)) from error
    handle = ctypes.c_void_p()
    if blas.cublasCreate_v2(ctypes.byref(handle)) != 0:
        raise NotMeasured("cublasCreate failed")
    gate_up, down, router = (weights[name].to(DEVICE) for name in ("gate_up", "down", "router"))
    bf16, compute32f, op_n, op_t = 14, 68, 0, 1

    def product(matrices, rows, counts):
        """rows [R, K], sorted, through matrices [E, N, K]: column-major, C^T [N, rows] = W X^T."""
        n, k = matrices.shape[1:]
        out = torch.empty(len(rows), n, dtype=torch.bfloat16, device=DEVICE)
        used = [(e, c) for e, c in enumerate(counts) if c > 0]
        firsts = [sum(c for _, c in used[:i]) for i in range(len(used))]
        ints = lambda values: (ctypes.c_int * len(values))(*values)
        same = lambda value: ints([value] * len(used))
        floats = lambda value: (ctypes.c_float * len(used))(*[value] * len(used))
        lists = [torch.tensor(pointers, dtype=torch.int64, device=DEVICE) for pointers in (
            [matrices[e].data_ptr() for e, _ in used], [rows.data_ptr() + 2 * k * f for f in firsts],
            [out.data_ptr() + 2 * n * f for f in firsts])]
        a, b, c = (ctypes.c_void_p(t.data_ptr()) for t in lists)
        status = blas.cublasGemmGroupedBatchedEx(
            handle, same(op_t), same(op_n), same(n), ints([c for _, c in used]), same(k), floats(1.0), a, bf16, same(k), b,
            bf16, same(k), floats(0.0), c, bf16, same(n), len(used), same(1), compute32f)
        if status != 0:
            raise NotMeasured(f"cublasGemmGroupedBatchedEx: status {status}")
        return out

    def call(x):
        blas.cublasSetStream_v2(handle, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
        probabilities = torch.softmax((x[0] @ router.T).float(), -1)
        top, ids = probabilities.topk(sizes.top_k, -1)
        top = top / top.sum(-1, keepdim=True)
        order = ids.flatten().argsort(stable=True)
        counts = torch.bincount(ids.flatten(), minlength=sizes.experts).tolist()  # waits for the device
        hidden = product(gate_up, x[0][order // sizes.top_k], counts)
        gate, up = hidden.chunk(2, -1)
        rows = product(down, torch.nn.functional.silu(gate) * up, counts)
        y = torch.zeros(len(x[0]), sizes.hidden, dtype=torch.float32, device=DEVICE)
        y.index_add_(0, order // sizes.top_k, rows.float() * top.flatten()[order, None])
        return y.to(x.dtype)

    return call


def turn(call, inputs, calls):
    """Milliseconds a call, by events around `calls` calls."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for i in range(calls):
        call(inputs[i % len(inputs)])
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


def check(sizes, weights, call, x):
    want = torch.from_numpy(_reference(sizes, weights, x.cpu())).double()
    got = call(x)[:REFERENCE_ROWS].double().cpu()
    error = float(((got - want) ** 2).sum() / (want**2).sum())
    if not error <= NMSE:
        raise NotMeasured(f"wrong result: normalised mean squared error {error:.1e}")


def case(sizes, weights, tokens, seconds, random):
    inputs = [_steered(sizes, weights["router"], wanted).to(DEVICE) for wanted in _wanted(sizes, tokens, random)]
    makers = {"moekit": lambda: moekit_layer(sizes, weights),
              "moekit, graph": lambda: graph_of(moekit_layer(sizes, weights), inputs[0]),
              "transformers eager": lambda: transformers_block(sizes, weights, "eager"),
              "transformers grouped_mm": lambda: transformers_block(sizes, weights, "grouped_mm"),
              "cuBLAS grouped": lambda: cublas_grouped(sizes, weights), "vLLM Triton": lambda: vllm_kernel(sizes, weights)}
    calls, row = {}, {"tokens": tokens, "ms": {}, "not_measured": {}}
    for name, make in makers.items():
        try:
            call = make()
            check(sizes, weights, call, inputs[0])
            calls[name] = call
        except Exception as error:  # one peer's trouble is told and leaves the others alone
            row["not_measured"][name] = f"{type(error).__name__}: {error}"
    samples = {name: [] for name in calls}
    deadline = time.monotonic() + seconds
    while calls and (time.monotonic() < deadline or min(map(len, samples.values())) < 5):
        for name, call in calls.items():
            samples[name].append(turn(call, inputs, 10))
    row["ms"] = {name: statistics.median(values[1:]) for name, values in samples.items()}
    used = min(sizes.experts, tokens * sizes.top_k)
    weight_bytes = used * 3 * sizes.hidden * sizes.intermediate * 2
    row["gb_per_s"] = {name: weight_bytes / ms / 1e6 for name, ms in row["ms"].items()}
    return row


def main():
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--quick", action="store_true", help="tiny shapes: shows that everything runs")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU: torch.cuda.is_available() is false")
    sizes = QUICK if args.quick else QWEN3_30B
    weights = _weights(sizes)
    random = np.random.default_rng(0)
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}
    with torch.no_grad():
        for tokens in sizes.tokens:
            row = case(sizes, weights, tokens, args.seconds, random)
            report["rows"].append(row)
            print(f"T = {tokens}: " + ", ".join(f"{n} {ms:.3f} ms" for n, ms in row["ms"].items()))
            for name, reason in row["not_measured"].items():
                print(f"  not measured: {name} ({reason})")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
    raise SystemExit(0 if all("moekit" in row["ms"] for row in report["rows"]) else 1)


if __name__ == "__main__":
    main()
