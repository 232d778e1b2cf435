# SPDX-License-Identifier: Apache-2.0
"""Layers of checkpoints and of arrays, called on arrays."""
from __future__ import annotations

import html
import os
from typing import Any, Mapping, NamedTuple

from . import _core
from .quantised import QuantTensor


_recorder = None  # of moekit.trace.record, while one is under way


class Routing(NamedTuple):
    """Where tokens went. Arrays of the same kind as x, row-major."""

    expert_ids: Any  #: int32 [T, k]
    weights: Any  #: float32 [T, k]


class CacheCounts(NamedTuple):
    """What became of a memory budget."""

    slots: int  #: experts that fit; 0: all are in memory or mapped, nothing is counted
    hits: int  #: experts that calls needed and found
    loads: int  #: and those that were read


class MemoryNeeds(NamedTuple):
    """What a memory budget for a layer is spent on: `always + n * expert` bytes for n experts in memory."""

    experts: int  #: routed
    expert: int  #: bytes of one of them in memory
    always: int  #: bytes that stay in memory beside them: shared experts, biases
    all: int  #: bytes of all experts; a budget from here on does not bind


class MoeLayer:
    """A mixture-of-experts block, packed for one backend and immutable.

    Made by `load_layer` or `MoeLayer.from_arrays`. Any number of threads may call it; a row's result depends neither
    on the other rows of x nor on the number of threads.
    """

    __slots__ = ("_core", "_family", "__weakref__")

    def __init__(self, *_args, **_kwargs):
        raise TypeError("[layer] use moekit.load_layer(path, layer) or moekit.MoeLayer.from_arrays(config, tensors)")

    @classmethod
    def _wrap(cls, core: _core.Layer, family: str) -> "MoeLayer":
        self = object.__new__(cls)
        self._core = core
        self._family = family
        return self

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], tensors: Mapping[str, Any], *, dtype: str = "auto",
                    device: str = "cpu", backend: str = "auto", int8_activations: bool = False,
                    reproducible: bool = False, bf16_split: bool = False) -> "MoeLayer":
        """A layer from a configuration and its weights.

        config: nested dict with the fields of the C++ BlockConfig and snake_case enum names, e.g.
            {"router": {"num_experts": 8, "top_k": 2, "score": "softmax"},
             "expert": {"input": 64, "intermediate": 32, "output": 64, "act": "silu"}};
            fields left out have their defaults, unknown ones are an error.
        tensors: name -> array (any kind that a layer takes). Router: "router.weight" [columns, H], "router.bias" and
            "router.selection_bias" [columns], "router.in_scale" [H], "router.per_expert_scale" [columns],
            "router.tid2eid" [vocabulary, k]. Experts: "experts.E.gate", ".up" [I, H], ".down" [O, I], ".gate_bias",
            ".up_bias" [I], ".down_bias" [O], or stacked over experts as "experts.gate" [E, I, H] and so on.
            Shared experts the same under "shared.", and "shared_gate" [H]. A gate, up or down may be a `QuantTensor`.
        dtype: "auto" keeps the weights' own; or a weight format's name: weights in another one are converted.
        backend: "auto", or one to force.
        int8_activations, reproducible, bf16_split: as for `load_layer`.

        Raises ValueError (CheckpointError for tensors, UnsupportedError for declined configurations), TypeError.
        """
        arrays = {name: t._core if isinstance(t, QuantTensor) else t for name, t in tensors.items()}
        return cls._wrap(_core.from_arrays(dict(config), arrays, dtype, device, backend, int8_activations, reproducible,
                                           bf16_split), "arrays")

    def __call__(self, x, *, return_routing: bool = False, token_ids=None, expert_ids=None, weights=None):
        """y = layer(x), or (y, Routing) when `return_routing`.

        x: [..., H] float32 or bfloat16 (float16 where the backend has it): a NumPy or ml_dtypes array, a torch CPU
            tensor, or any DLPack object on the CPU. Not copied when its last dimension is contiguous and the others
            collapse into one row stride.
        token_ids: T integers, for layers that route by a hash table of token ids.
        expert_ids, weights: integers and floats [T, k], for layers whose routing comes from outside; -1 skips.

        Returns y [..., O] of the kind and dtype of x. Raises TypeError (kind, dtype, gradients) and ValueError
        (shape, device, ids out of range); the layer stays usable.
        """
        if _recorder is not None:
            y, *routing = _recorder.call(self, x, token_ids, expert_ids, weights)
        elif not return_routing and token_ids is None and expert_ids is None and weights is None:
            return self._core.forward(x)
        else:
            y, *routing = self._core.forward_full(x, return_routing, token_ids, expert_ids, weights)
        return (y, Routing(*routing)) if return_routing else y

    @property
    def config(self) -> dict[str, Any]:
        """The block's configuration, in the form that `from_arrays` takes."""
        return self._core.config

    @property
    def hidden_size(self) -> int:
        """Size of the last dimension of x."""
        return self._core.config["expert"]["input"]

    @property
    def family(self) -> str:
        """Model family of the checkpoint, "arrays" for from_arrays."""
        return self._family

    @property
    def backend(self) -> str:
        """Name of the backend that runs the layer."""
        return self._core.backend

    @property
    def dtype(self) -> str:
        """Name of the packed weight format."""
        return self._core.format

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return self._core.packed_bytes

    @property
    def resident_nbytes(self) -> int:
        """Of these the bytes in memory, or mapped: less than all under a memory budget."""
        return self._core.resident_bytes

    @property
    def cache_counts(self) -> CacheCounts:
        """What a memory budget has held and read so far."""
        return CacheCounts(*self._core.cache_counts)

    @property
    def memory_needs(self) -> MemoryNeeds:
        """What a memory budget for this layer, once converted, is spent on. All 0 for layers of other devices and of
        the reference, which cannot have one."""
        return MemoryNeeds(*self._core.memory_needs)

    def explain(self) -> str:
        """What was chosen for this layer, and why better candidates declined."""
        return self._core.explain()

    def _facts(self) -> dict[str, Any]:
        router, expert = self.config["router"], self.config["expert"]
        return {
            "family": self.family, "experts": router["num_experts"], "top_k": router["top_k"],
            "hidden": expert["input"], "intermediate": expert["intermediate"], "output": expert["output"],
            "shared": self.config["shared"]["count"], "dtype": self.dtype, "backend": self.backend,
            "bytes": self.nbytes,
        }

    def __repr__(self) -> str:
        f = self._facts()
        return (f"MoeLayer({f['family']}: {f['experts']} experts, top {f['top_k']}, {f['hidden']} -> "
                f"{f['intermediate'] or '-'} -> {f['output']}, {f['dtype']} on {f['backend']}, "
                f"{f['bytes'] / 2**20:.1f} MiB)")

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th style='text-align:left'>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>"
                       for k, v in self._facts().items())
        share = min(100.0, 100.0 * self.nbytes / _total_memory())
        bar = (f"<div style='width:20em;border:1px solid #888'><div style='width:{share:.2f}%;min-width:1px;"
               f"background:#4a7;height:.8em'></div></div><small>{self.nbytes / 2**20:.1f} MiB, {share:.2f} % of this "
               "machine's memory</small>")
        routing = html.escape(_core.describe(self.config))
        return f"<b>moekit.MoeLayer</b><table>{rows}</table><div>{routing}</div>{bar}"


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load_layer(path, layer: int, dtype: str = "auto", device: str = "cpu", *, backend: str = "auto",
               nonfinite_scales: bool = False, mmap: bool = True, int8_activations: bool = False,
               memory_budget: int = 0, experts: str = "", reproducible: bool = False, bf16_split: bool = False) -> MoeLayer:
    """Loads one Mixture-of-Experts layer of a checkpoint.

    path: a folder with config.json and safetensors files, a GGUF file, or what `moekit convert` wrote. layer: index of
        the decoder layer.
    dtype: "auto" keeps every projection as the checkpoint has it: bfloat16 and float32 (float16 as float32 on the CPU),
        and quantised weights packed at their published width; on the CPU bfloat16 may become "bf16z" (below), where
        that is faster: `layer.explain()` tells. Or the name of a weight format, and weights that are not
        in it are converted, experts one at a time: "float32", "bfloat16" and "float16" (dequantised), or quantised to
        "int8" (a scale a row: max |w| / 127), "int4" (groups of 32, bfloat16 scales: the weight of largest magnitude
        / -8), "fp8" (e4m3, blocks of 128 x 128: max |w| / 448), "mxfp4" (e2m1, groups of 32, power-of-two scales);
        or "bf16z": bfloat16 in 12.1 bits a weight, without loss, on the CPU. Projections that would be no smaller stay
        plain; weights and results have the bits of "bfloat16".
    device: "cpu", or "cuda[:N]", "ascend[:N]": each call copies arrays of host memory and takes tensors of the device's
        memory (torch, torch_npu) where they lie.
    backend: "auto", or one to force ("reference").
    int8_activations: experts whose weights are int8, 4 bit integers or fp4 multiply int8 inputs (W8A8, W4A8): x and the
        hidden activations are rounded row by row to multiples -127 .. 127 of max |x| / 127, halves to even. Faster, less
        accurate; other weights are an UnsupportedError. False: inputs keep their precision.
    nonfinite_scales: accepts quantised weights whose scales are NaN or infinite, which are an error otherwise.
    mmap: converted layers are mapped: nothing is read until it is used, and processes share the pages. False (or
        MOEKIT_MAP_FILES=0) reads them into memory, which survives that the file is cut short by someone later.
    memory_budget: bytes of packed experts that may be in memory, 0 for no limit. Where the experts of a converted layer
        exceed it, those that a call needs are read from the file ahead of their use, and those that calls come back to
        stay; results have the same bits. Calls take turns then. `cache_counts` tells how it went, `moekit trace` whether
        it can pay.
    experts: name of the expert set, where blocks keep several apart ("text_moe" and "vision_moe" in ERNIE 4.5 VL; `moekit
        inspect` lists them) and the caller knows which set a token goes to. "" is the first of them. The layer is the
        block for the tokens of that set, shared experts included.
    reproducible: outputs and routing have the same bits on every x86-64 and Arm64 processor, whatever its vector units,
        for weights of every format. Slower where the fastest kernels round in their own way (AMX, AVX512-BF16, fixed
        point) and are not used; `docs/cpu.md` has the times. On the CPU only: other devices and the reference are an
        UnsupportedError.
    bf16_split: float32 experts are multiplied as three bfloat16 parts, where the processor has a matrix unit for bfloat16
        (AMX): as accurate as float32 products, in other bits. For long prompts: weights are split at every call, which
        costs more than the unit saves where an expert meets few tokens. `layer.explain()` says whether they are. Of no
        effect with `reproducible` and on other backends than the CPU's.

    Raises CheckpointError (a ValueError) naming file and tensor, UnsupportedError, DeviceError, ValueError.
    """
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    core = _core.load_layer(path, layer, dtype, device, backend, nonfinite_scales, mmap, int8_activations, memory_budget,
                            reproducible, experts, bf16_split=bf16_split)
    return MoeLayer._wrap(core, _core.inspect_model(path)["family"])


def convert(path, out, dtype: str = "auto", *, force: bool = False, nonfinite_scales: bool = False,
            progress=None) -> dict[str, Any]:
    """Packs every Mixture-of-Experts layer of a checkpoint once, into a folder that load_layer maps in milliseconds.

    path: the checkpoint, as for load_layer. out: a folder that is new or empty, or (force) holds a converted model,
    which is replaced as a whole. dtype, nonfinite_scales: as for load_layer.
    progress: called with the number of layers done and in all.

    One file a layer, safetensors with checksums, and moekit.json, which is put into place last: whatever ends the
    process before, the folder holds what it held. Returns {"family", "num_layers", "layers": [{"layer", "file",
    "bytes", "checksum", "format"}]}; where blocks have several expert sets, each has a file and its name as "experts". Raises CheckpointError, also when writing fails or another process writes there.
    """
    path, out = (os.fsdecode(p) if isinstance(p, bytes) else p for p in (os.fspath(path), os.fspath(out)))
    return _core.convert_model(path, out, dtype, force, nonfinite_scales, progress)
