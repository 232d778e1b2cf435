# SPDX-License-Identifier: Apache-2.0
"""ggml's blocks against the gguf package: every bit of the dequantised weights, and layers against NumPy in float64 on
the weights that the package reads from the same file."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import nmse, nmse_bound

import moekit

gguf = pytest.importorskip("gguf")
from gguf import GGMLQuantizationType as Type  # noqa: E402
from gguf.quants import dequantize, quantize  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "models"))
import write_gguf  # noqa: E402

BLOCKS = [Type.Q4_0, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q8_0, Type.MXFP4]
PLAIN = [Type.F32, Type.F16, Type.BF16]
FORMATS = {Type.Q4_0: "int4", Type.Q8_0: "int8", Type.MXFP4: "mxfp4", Type.Q4_K: "q4_k", Type.Q5_K: "q5_k",
           Type.Q6_K: "q6_k", Type.F32: "float32", Type.F16: "float32", Type.BF16: "bfloat16"}
# Where the float16 scales of a block lie, in bytes.
HALVES = {Type.Q4_0: [0], Type.Q8_0: [0], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.MXFP4: []}


def random_blocks(kind: Type, shape, seed: int, wild: bool = False) -> np.ndarray:
    """Bytes of valid blocks. `wild`: every bit pattern, else weights of about 0.1."""
    random = np.random.default_rng(seed)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(shape)) // block
    data = random.integers(0, 256, (count, size), dtype=np.uint8)
    if kind == Type.MXFP4:
        data[:, 0] = random.integers(0, 255, count) if wild else random.integers(121, 125, count)
    elif not wild:
        largest = {Type.Q4_0: 8, Type.Q8_0: 128, Type.Q4_K: 15 * 63, Type.Q5_K: 31 * 63, Type.Q6_K: 32 * 128}[kind]
        for at in HALVES[kind]:
            signs = random.choice([1, -1] if len(HALVES[kind]) == 1 else [1], count)
            scales = random.uniform(0.1, 0.3, count) / largest * signs
            data[:, at:at + 2] = scales.astype(np.float16)[:, None].view(np.uint8)
    return data.reshape(*shape[:-1], shape[-1] // block * size)


def random_tensor(kind: Type, shape, seed: int) -> np.ndarray:
    if kind in BLOCKS:
        return random_blocks(kind, shape, seed)
    return quantize(np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32), kind)


def write_tensors(path, tensors, architecture="qwen2moe", **fields) -> dict[str, np.ndarray]:
    """Writes (type, array as stored) by name; gives what the package reads back, as float32."""
    writer = write_gguf.open_writer(path, architecture, fields)
    for name, (kind, data) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    write_gguf.close_writer(writer)
    reader = gguf.GGUFReader(path)
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type).reshape([int(n) for n in tensor.shape[::-1]])
            for tensor in reader.tensors}


@pytest.mark.parametrize("kind", BLOCKS + PLAIN, ids=lambda kind: kind.name)
def test_dequantises_to_the_same_bits(tmp_path, kind):
    path, tensors = tmp_path / "x.gguf", {}
    with np.errstate(over="ignore", invalid="ignore"):
        for i, shape in enumerate([(3, 256), (2, 5, 512), (768,) if kind in PLAIN else (64, 2048)]):
            for wild in (False, True):
                blocks = random_blocks(kind, shape, 10 * i + wild, wild) if kind in BLOCKS else None
                tensors[f"t{i}{wild}"] = (kind, random_tensor(kind, shape, i) if blocks is None else blocks)
        expected = write_tensors(path, tensors)
    for name, values in expected.items():
        read = moekit._core.read_tensor(str(path), name)
        assert read.shape == values.shape
        same = (read.view(np.uint32) == values.view(np.uint32)) | (np.isnan(read) & np.isnan(values))
        assert same.all(), f"{name}: {np.argwhere(~same)[:3]}, {read[~same][:3]}, {values[~same][:3]}"


def test_what_the_package_quantises_reads_back(tmp_path):
    weights = np.random.default_rng(5).normal(0, 1, (7, 512)).astype(np.float32)
    for kind in (Type.Q4_0, Type.Q8_0, Type.MXFP4):
        expected = write_tensors(tmp_path / "x.gguf", {"t": (kind, quantize(weights, kind))})["t"]
        read = moekit._core.read_tensor(str(tmp_path / "x.gguf"), "t")
        np.testing.assert_array_equal(read, expected)
        assert nmse(read, weights) < {Type.Q4_0: 0.02, Type.Q8_0: 1e-4, Type.MXFP4: 0.03}[kind]


H, I, S, E, K = 256, 512, 256, 6, 2


def write_model(path, gate: Type, up: Type, down: Type, shared: Type, router: Type = Type.F32) -> dict[str, np.ndarray]:
    """A model of Qwen2-MoE's form with two layers."""
    tensors = {}
    for layer in range(2):
        shapes = {"ffn_gate_inp": (router, (E, H)), "ffn_gate_exps": (gate, (E, I, H)), "ffn_up_exps": (up, (E, I, H)),
                  "ffn_down_exps": (down, (E, H, I)), "ffn_gate_inp_shexp": (Type.F32, (H,)),
                  "ffn_gate_shexp": (shared, (S, H)), "ffn_up_shexp": (shared, (S, H)),
                  "ffn_down_shexp": (shared, (H, S))}
        for i, (name, (kind, shape)) in enumerate(shapes.items()):
            tensors[f"blk.{layer}.{name}.weight"] = (kind, random_tensor(kind, shape, 100 * layer + i))
    return write_tensors(path, tensors, block_count=2, embedding_length=H, feed_forward_length=1024,
                         expert_feed_forward_length=I, expert_shared_feed_forward_length=S, expert_count=E,
                         expert_used_count=K)


def silu(x):
    return x / (1 + np.exp(-x))


def expected_block(weights, layer: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The block of Qwen2-MoE in float64: softmax, top-k without renormalisation, a shared expert behind a sigmoid."""
    w = {name.removeprefix(f"blk.{layer}.").removesuffix(".weight"): value.astype(np.float64)
         for name, value in weights.items() if name.startswith(f"blk.{layer}.")}
    x = x.astype(np.float64)

    def mlp(gate, up, down, rows):
        return (silu(rows @ gate.T) * (rows @ up.T)) @ down.T

    logits = x @ w["ffn_gate_inp"].T
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    ids = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :K], axis=1)
    y = mlp(w["ffn_gate_shexp"], w["ffn_up_shexp"], w["ffn_down_shexp"], x)
    y /= 1 + np.exp(-(x @ w["ffn_gate_inp_shexp"]))[:, None]
    for t, row in enumerate(ids):
        for e in row:
            y[t] += scores[t, e] * mlp(w["ffn_gate_exps"][e], w["ffn_up_exps"][e], w["ffn_down_exps"][e], x[t:t + 1])[0]
    return y, ids


@pytest.mark.parametrize("kind", BLOCKS + PLAIN, ids=lambda kind: kind.name)
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_layer_in_one_format(tmp_path, kind, dtype):
    path = tmp_path / "model.gguf"
    weights = write_model(path, kind, kind, kind, kind)
    x = np.random.default_rng(1).standard_normal((13, H), dtype=np.float32)
    for layer_index in range(2):
        layer = moekit.load_layer(path, layer_index, dtype=dtype)
        assert layer.dtype == (FORMATS[kind] if dtype == "auto" else "float32")
        y, routing = layer(x, return_routing=True)
        expected, ids = expected_block(weights, layer_index, x)
        np.testing.assert_array_equal(np.sort(routing.expert_ids, axis=1), ids)
        assert nmse(y, expected) <= nmse_bound(layer)


def test_layer_of_mixed_blocks(tmp_path):
    """As quantisers mix them: down in more bits than gate and up, the shared expert in others, a router in blocks."""
    path = tmp_path / "model.gguf"
    weights = write_model(path, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q8_0, Type.Q8_0)
    layer = moekit.load_layer(path, 1)
    assert set(layer.dtype.split(", ")) == {"q4_k", "q5_k", "q6_k", "int8"}
    x = np.random.default_rng(1).standard_normal((13, H), dtype=np.float32)
    y, routing = layer(x, return_routing=True)
    expected, ids = expected_block(weights, 1, x)
    np.testing.assert_array_equal(np.sort(routing.expert_ids, axis=1), ids)
    assert nmse(y, expected) <= nmse_bound(layer)


def test_gate_and_up_in_one_tensor(tmp_path):
    """ffn_gate_up_exps [E, 2 I, H], gate first, in blocks."""
    apart, joined = tmp_path / "apart.gguf", tmp_path / "joined.gguf"
    fields = dict(block_count=1, embedding_length=H, expert_feed_forward_length=I, expert_count=E, expert_used_count=K)
    gate, up = (random_tensor(Type.Q4_K, (E, I, H), seed) for seed in (1, 2))
    rest = {"blk.0.ffn_gate_inp.weight": (Type.F32, random_tensor(Type.F32, (E, H), 3)),
            "blk.0.ffn_down_exps.weight": (Type.Q6_K, random_tensor(Type.Q6_K, (E, H, I), 4))}
    write_tensors(apart, {**rest, "blk.0.ffn_gate_exps.weight": (Type.Q4_K, gate),
                          "blk.0.ffn_up_exps.weight": (Type.Q4_K, up)}, "qwen3moe", **fields)
    write_tensors(joined, {**rest, "blk.0.ffn_gate_up_exps.weight": (Type.Q4_K, np.concatenate([gate, up], axis=1))},
                  "qwen3moe", **fields)
    x = np.random.default_rng(1).standard_normal((13, H), dtype=np.float32)
    for dtype in ("auto", "float32"):
        np.testing.assert_array_equal(moekit.load_layer(joined, 0, dtype=dtype)(x),
                                      moekit.load_layer(apart, 0, dtype=dtype)(x))


def test_scales_that_are_not_finite_are_an_error(tmp_path):
    path = tmp_path / "model.gguf"
    write_model(path, Type.Q4_K, Type.Q4_K, Type.Q6_K, Type.Q8_0)
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.1.ffn_down_exps.weight")
    at = int(tensor.data_offset) + 210 * 37 + 208  # the scale of block 37: two blocks a row
    data = bytearray(path.read_bytes())
    data[at:at + 2] = np.float16(np.nan).tobytes()
    path.write_bytes(data)
    moekit.load_layer(path, 0)
    with pytest.raises(moekit.CheckpointError, match=r"blk\.1\.ffn_down_exps\.weight: super scale 1 of row 18 is nan"):
        moekit.load_layer(path, 1)


def test_blocks_that_are_not_read_are_named(tmp_path):
    path = tmp_path / "model.gguf"
    tensors = {"blk.0.ffn_gate_inp.weight": (Type.F32, random_tensor(Type.F32, (E, H), 3)),
               "blk.0.ffn_gate_exps.weight": (Type.IQ4_XS, np.zeros((E, I, 136), np.uint8)),
               "blk.0.ffn_up_exps.weight": (Type.F32, np.zeros((E, I, H), np.float32)),
               "blk.0.ffn_down_exps.weight": (Type.F32, np.zeros((E, H, I), np.float32))}
    writer = write_gguf.open_writer(path, "qwen3moe", dict(block_count=1, embedding_length=H, expert_count=E,
                                                           expert_feed_forward_length=I, expert_used_count=K))
    for name, (kind, data) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    write_gguf.close_writer(writer)
    with pytest.raises(moekit.CheckpointError, match="model.gguf.*blk.0.ffn_gate_exps.weight' is in blocks of IQ4_XS, "
                                                     "those that are read are Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, MXFP4"):
        moekit.load_layer(path, 0)


def command(*arguments):
    done = subprocess.run([sys.executable, "-m", "moekit", *map(str, arguments), "--json"], text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_inspect_and_verify(tmp_path):
    path = tmp_path / "model.gguf"
    write_model(path, Type.Q4_K, Type.Q4_K, Type.Q6_K, Type.Q8_0)
    facts = command("inspect", path)
    assert facts["family"] == "qwen2_moe" and facts["moe_layers"] == [0, 1] and facts["dtype"] == "q4_k, q6_k, int8"
    assert facts["expert_bytes"] == I * H // 256 * (144 + 144 + 210)
    assert facts["layer_bytes"] == E * facts["expert_bytes"] + 3 * S * H // 32 * 34
    for dtype in ("auto", "float32"):
        assert command("verify", path, "--tokens", 5, "--dtype", dtype)["agrees"]
