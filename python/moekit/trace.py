# SPDX-License-Identifier: Apache-2.0
"""Which experts the tokens of a run went to, recorded call by call into a file.

    with moekit.trace.record("run.routes", names={"layer 3": layer}):
        model.generate(...)                    # or layer(x): every MoeLayer that is called, those of moekit.hf too

The file is text, one JSON value a line, written as the calls happen: a run that is killed leaves what it had.

    {"kind": "moekit routing trace", "version": 2}
    {"layer": 0, "name": "layer 3", "experts": 128, "top_k": 8, "expert_bytes": 9437184, "always_bytes": 7}    before it is called
    [0, [[3, 17, 40], [3, 9, 101]]]            a call of layer 0: the ids of each token; -1 stands for no expert

`experts` are the routed experts that have weights, `expert_bytes` what one takes in memory (an even share of the packed
weights where the backend's layers cannot have a memory budget), `always_bytes` what all calls need beside them.
`moekit trace run.routes` tells from it whether a cache of experts would help (`moekit.cache`)."""
from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import Iterator, Mapping, NamedTuple, Optional

from . import layer as _layer
from .layer import MemoryNeeds, MoeLayer

KIND, VERSION = "moekit routing trace", 2


class Layer(NamedTuple):
    name: str
    experts: int
    top_k: int
    expert_bytes: int
    always_bytes: int

    @property
    def needs(self) -> MemoryNeeds:
        return MemoryNeeds(self.experts, self.expert_bytes, self.always_bytes,
                           self.always_bytes + self.experts * self.expert_bytes)


class Trace(NamedTuple):
    layers: list  # Layer
    calls: list  # (layer, [tokens, k] ids), in the order of the run


class _Recorder:
    """Asks each call for its routing and writes it down. Calls of several threads are written one after the other."""

    def __init__(self, file, names: Mapping[str, MoeLayer]):
        self._file, self._lock = file, threading.Lock()
        self._numbers: dict = {}  # id(layer) -> (number, layer): the reference keeps the id from being used again
        self._names = {id(layer): name for name, layer in names.items()}
        self._write({"kind": KIND, "version": VERSION})

    def _write(self, value) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")) + "\n")

    def call(self, layer: MoeLayer, x, token_ids, expert_ids, weights):
        y, ids, _ = full = layer._core.forward_full(x, True, token_ids, expert_ids, weights)
        with self._lock:
            number, _ = self._numbers.get(id(layer), (None, None))
            if number is None:
                number = len(self._numbers)
                self._numbers[id(layer)] = (number, layer)
                router, needs = layer.config["router"], layer.memory_needs
                experts = router["num_experts"]
                self._write({"layer": number, "name": self._names.get(id(layer), f"layer {number}"),
                             "experts": experts, "top_k": router["top_k"],
                             "expert_bytes": needs.expert or layer.nbytes // experts, "always_bytes": needs.always})
            self._write([number, ids.tolist()])
        return full


@contextlib.contextmanager
def record(path, names: Optional[Mapping[str, MoeLayer]] = None) -> Iterator[None]:
    """Records the routing of every MoeLayer called meanwhile, in all threads. names: of layers, in the file; others are
    numbered. The results of calls are what they are without it. Raises OSError; RuntimeError inside another record()."""
    with open(path, "w", encoding="utf-8") as file:
        with _one_at_a_time:
            if _layer._recorder is not None:
                raise RuntimeError("[trace] a recording is under way")
            _layer._recorder = _Recorder(file, names or {})
        try:
            yield
        finally:
            _layer._recorder = None


_one_at_a_time = threading.Lock()


def _layer_of(value: Mapping, where: str) -> Layer:
    counts = [value.get(key) for key in ("experts", "top_k", "expert_bytes", "always_bytes")]
    if not all(isinstance(c, int) and not isinstance(c, bool) and c >= 0 for c in counts) or counts[0] < 1:
        raise ValueError(f"{where}: experts, top_k, expert_bytes and always_bytes are {counts}, expected counts")
    return Layer(str(value.get("name")), *counts)


def _call_of(value: list, layers: list, where: str) -> tuple:
    if len(value) != 2 or not isinstance(value[0], int) or not 0 <= value[0] < len(layers) or not isinstance(value[1], list):
        raise ValueError(f"{where}: expected [layer, rows of ids] of one of {len(layers)} layers")
    layer = layers[value[0]]
    for row in value[1]:
        if not isinstance(row, list) or len(row) != layer.top_k or not all(type(i) is int and i >= -1 for i in row):
            raise ValueError(f"{where}: expected rows of {layer.top_k} ids from -1 on")
    return value[0], value[1]


def load(path) -> Trace:
    """Reads a file of record(). A last line that is not finished is left out: the run was killed. Raises ValueError for
    a file that is none or whose lines do not fit, naming the line; OSError."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    lines = text.split("\n")[:-1]
    trace = Trace([], [])
    for number, line in enumerate(lines, 1):
        where = f"[trace] {os.fspath(path)}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: {error}") from None
        if number == 1:
            if not isinstance(value, dict) or (value.get("kind"), value.get("version")) != (KIND, VERSION):
                raise ValueError(f"{where}: expected {KIND!r}, version {VERSION}")
        elif isinstance(value, dict):
            if value.get("layer") != len(trace.layers):
                raise ValueError(f"{where}: layer is {value.get('layer')!r}, expected {len(trace.layers)}")
            trace.layers.append(_layer_of(value, where))
        elif isinstance(value, list):
            trace.calls.append(_call_of(value, trace.layers, where))
        else:
            raise ValueError(f"{where}: expected an object or a list")
    if not lines:
        raise ValueError(f"[trace] {os.fspath(path)}: expected {KIND!r}, version {VERSION}; it is empty")
    return trace
