# SPDX-License-Identifier: Apache-2.0
"""The worker's end of the pipe: one JSON object a line asks, one answers. Runs in a peer's own environment, with the
standard library and numpy; arrays lie in files that both sides map.

    {"do": "load", "format", "sizes": {hidden, intermediate, experts, top_k}, "weights": {name: file}, "threads"}
        -> {"weight_bytes", "detail"}                  bytes of all packed expert weights, what was chosen
    {"do": "inputs", "tokens", "files": [...]} -> {}   bfloat16 rows [tokens, hidden], one file a batch
    {"do": "result", "file"} -> {}                     writes float32 [tokens, hidden] of the first batch
    {"do": "turn", "inputs": [i, ...]} -> {"seconds"}  calls one after the other

Any of them may answer {"error": text}. At the start the worker says {"version": text} or {"error": text}."""
import json
import os
import sys
import time

import numpy as np


def bfloat16_file(path, shape):
    """The bits, mapped: uint16 of `shape`."""
    return np.memmap(path, dtype=np.uint16, mode="r", shape=tuple(shape))


def to_float32(bits):
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def matrices(request):
    """router [E, H], gate_up [E, 2I, H], down [E, H, I] as bfloat16 bits."""
    s = request["sizes"]
    e, h, i = s["experts"], s["hidden"], s["intermediate"]
    shapes = {"router": (e, h), "gate_up": (e, 2 * i, h), "down": (e, h, i)}
    return {name: bfloat16_file(request["weights"][name], shape) for name, shape in shapes.items()}


def message(error):
    """One line of what went wrong."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def serve(make):
    """make() imports the peer and answers an object with `version`, load(request) -> dict, prepare(x: float32 [T, H]) ->
    input, call(input) -> output, to_numpy(output) -> float32 [T, H] and, where its threads go on spinning after a call,
    rest(). Runs until the pipe closes."""
    # Libraries print: the pipe gets a descriptor of its own, and what they print goes to stderr.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(facts):
        pipe.write(json.dumps(facts) + "\n")
        pipe.flush()

    try:
        peer = make()
    except Exception as error:  # whatever an installation lacks is an answer
        return answer({"error": message(error)})
    answer({"version": peer.version})
    sizes, inputs = None, []
    rest = getattr(peer, "rest", lambda: None)

    def do(request):
        nonlocal sizes, inputs
        if request["do"] == "load":
            sizes, inputs = request["sizes"], []
            return peer.load(request)
        if request["do"] == "inputs":
            shape = (request["tokens"], sizes["hidden"])
            inputs = [peer.prepare(to_float32(bfloat16_file(file, shape))) for file in request["files"]]
            return {}
        if request["do"] == "result":
            np.ascontiguousarray(peer.to_numpy(peer.call(inputs[0])), dtype=np.float32).tofile(request["file"])
            rest()
            return {}
        chosen = [inputs[i] for i in request["inputs"]]
        start = time.perf_counter()
        for x in chosen:
            peer.call(x)
        seconds = time.perf_counter() - start
        rest()
        return {"seconds": seconds}

    for line in sys.stdin:
        try:
            answer(do(json.loads(line)))
        except Exception as error:
            answer({"error": message(error)})
