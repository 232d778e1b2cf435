# SPDX-License-Identifier: Apache-2.0
"""On-the-fly quantisation, `load_layer(..., dtype=...)`: bit for bit the formulas in NumPy, whatever the source."""
from __future__ import annotations

import json
import pickle

import ml_dtypes
import numpy as np
import pytest

import moekit
from conftest import nmse

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")
import quant_checkpoints as qc  # noqa: E402
import quant_schemes as qs  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_quantised import same_bits, unpacked  # noqa: E402

F = np.float32


def in_groups(w: np.ndarray, group: int) -> np.ndarray:
    """[N, G, group], the last group padded with zeros."""
    n, k = w.shape
    groups = -(-k // group)
    out = np.zeros((n, groups * group), F)
    out[:, :k] = w
    return out.reshape(n, groups, group)


def int8(w: np.ndarray) -> np.ndarray:
    scale = np.abs(w).max(axis=1, keepdims=True) / F(127)
    inverse = np.divide(F(1), scale, where=scale > 0, out=np.zeros_like(scale))
    return np.clip(np.rint(w * inverse), -127, 127).astype(np.int8).astype(F) * scale


def int4(w: np.ndarray) -> np.ndarray:
    parts = in_groups(w, 32)
    extreme = np.take_along_axis(parts, np.abs(parts).argmax(axis=2)[..., None], axis=2)
    scale = (extreme / F(-8)).astype(ml_dtypes.bfloat16).astype(F)
    inverse = np.divide(F(1), scale, where=scale != 0, out=np.zeros_like(scale))
    codes = np.clip(np.rint(parts * inverse), -8, 7).astype(F) + F(8)
    return ((codes - F(8)) * scale).reshape(len(w), -1)[:, :w.shape[1]]


def fp8(w: np.ndarray) -> np.ndarray:
    out = np.empty_like(w)
    for r in range(0, w.shape[0], 128):
        for c in range(0, w.shape[1], 128):
            block = w[r:r + 128, c:c + 128]
            scale = np.abs(block).max() / F(448)
            inverse = F(1) / scale if scale > 0 else F(0)
            codes = np.clip(block * inverse, F(-448), F(448)).astype(ml_dtypes.float8_e4m3fn)
            out[r:r + 128, c:c + 128] = codes.astype(F) * scale
    return out


def mxfp4(w: np.ndarray) -> np.ndarray:
    parts = in_groups(w, 32)
    largest = np.abs(parts).max(axis=2, keepdims=True)
    exponent = np.where(largest > 0, np.frexp(largest)[1] - 1 - 2, -127).clip(-127, 127)
    codes = np.clip(np.ldexp(parts, -exponent), F(-6), F(6)).astype(ml_dtypes.float4_e2m1fn)
    return np.ldexp(codes.astype(F), exponent).astype(F).reshape(len(w), -1)[:, :w.shape[1]]


FORMULAS = {"int8": int8, "int4": int4, "fp8": fp8, "mxfp4": mxfp4}
# The error that rounding normally distributed weights leaves.
EXPECTED_NMSE = {"int8": 1e-4, "int4": 1e-2, "fp8": 1e-3, "mxfp4": 2e-2}


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    scheme = qs.plain if request.param == "bfloat16" else lambda w: ({"weight": w}, w.numpy().copy())

    def spiced(w: torch.Tensor):
        w[0], w[1, :5], w[2] = 0, 0, w[2] * 1e-3  # groups of zeros, negative zeros, small rows
        w[3, 0] = -0.0
        w[4, :40] = 0.75 * torch.sign(w[4, :40])  # ties
        return scheme(w)

    return qc.write(folder, "deepseek_v3", spiced, qc.Sizes(203, 137, 3, 2, 137))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", FORMULAS)
def test_bits(source, dtype, backend):
    layer = moekit.load_layer(source.folder, 0, dtype=dtype, backend=backend)
    assert layer.dtype == dtype
    for e, weights in [*enumerate(source.experts), (0, source.shared)]:
        got = unpacked(layer, e, {name: w.shape for name, w in weights.items()}, shared=weights is source.shared)
        for name, weight in weights.items():
            same_bits(got[name], FORMULAS[dtype](weight))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", FORMULAS)
def test_layer(source, dtype, backend):
    layer = moekit.load_layer(source.folder, 0, dtype=dtype, backend=backend)
    x = qc.tokens(23, 203)
    y, routing = layer(x, return_routing=True)
    ids, weights = qc.route("deepseek_v3", source, x, 2)
    np.testing.assert_array_equal(np.sort(routing.expert_ids, axis=1), ids)
    rounded = qc.Block(source.folder, 0, source.router, source.bias,
                       [{n: FORMULAS[dtype](w) for n, w in e.items()} for e in source.experts],
                       {n: FORMULAS[dtype](w) for n, w in source.shared.items()})
    assert nmse(y, qc.forward("deepseek_v3", rounded, x, ids, weights)) <= 1e-5
    assert nmse(y, qc.forward("deepseek_v3", source, x, ids, weights)) <= 10 * EXPECTED_NMSE[dtype]
    assert layer.nbytes < 0.6 * moekit.load_layer(source.folder, 0, dtype="bfloat16", backend=backend).nbytes \
        or backend == "reference"


def test_from_arrays(source):
    config = {"router": {"num_experts": 1, "top_k": 1}, "expert": {"input": 67, "intermediate": 35, "output": 67}}
    random = np.random.default_rng(0)
    tensors = {"router.weight": random.standard_normal((1, 67), dtype=F)}
    for name, shape in (("gate", (35, 67)), ("up", (35, 67)), ("down", (67, 35))):
        tensors[f"experts.0.{name}"] = random.standard_normal(shape, dtype=F)
    for dtype, formula in FORMULAS.items():
        layer = moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype)
        for name, weight in unpacked(layer, 0, {n[10:]: w.shape for n, w in tensors.items() if "experts" in n}).items():
            same_bits(weight, formula(tensors[f"experts.0.{name}"]))


@pytest.mark.parametrize("dtype", FORMULAS)
def test_dense_module(dtype):
    moe = moekit.MoE(3, 67, 35, dtype=dtype, seed=1)
    assert moe.dtype == dtype and dtype in repr(moe)
    state = moe.state_dict()
    assert all(value.dtype == F for value in state.values())
    x = qc.tokens(9, 67)
    expected = moekit.MoE(3, 67, 35)
    expected.load_state_dict({n: FORMULAS[dtype](v) if n.startswith("experts") and v.ndim == 2 else v
                              for n, v in state.items()})
    assert nmse(moe(x), expected(x)) <= 1e-5
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(moe))(x), moe(x))
    moe.load_state_dict({n: 2 * v for n, v in state.items()})
    assert moe.dtype == dtype


def test_quantised_again(tmp_path):
    """A quantised checkpoint into another format: from its float32 values."""
    block = qc.write(tmp_path, "qwen3_moe", qs.fp8_channel, qc.Sizes(67, 45))
    layer = moekit.load_layer(tmp_path, 0, dtype="int4")
    for name, weight in unpacked(layer, 1, {n: w.shape for n, w in block.experts[1].items()}).items():
        same_bits(weight, int4(block.experts[1][name]))
    # Weights that are in the format stay as they are.
    assert moekit.load_layer(tmp_path, 0, dtype="fp8").explain().count("fp8, a scale a row") >= 1


def test_weights_that_no_code_holds(tmp_path):
    qc.write(tmp_path, "qwen3_moe", lambda w: ({"weight": w}, w.numpy()), qc.Sizes(67, 45))
    config, tensors = json.loads((tmp_path / "config.json").read_text()), load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.experts.1.up_proj.weight"
    for value in (float("nan"), float("inf")):
        tensors[name][2, 3] = value
        qc.save(tmp_path, config, tensors)
        for dtype in FORMULAS:
            with pytest.raises(moekit.CheckpointError, match=rf"{name}: element \(2, 3\) is -?(nan|inf)"):
                moekit.load_layer(tmp_path, 0, dtype=dtype)
        moekit.load_layer(tmp_path, 0)  # plain weights may be anything


@pytest.mark.parametrize("dtype", ["nvfp4", "mxfp8", "q4_k", "q6_k"])
def test_formats_that_are_only_read(source, dtype):
    with pytest.raises(moekit.UnsupportedError, match="is read from checkpoints, not made from other weights"):
        moekit.load_layer(source.folder, 0, dtype=dtype)


def test_unknown_names(source):
    with pytest.raises(ValueError, match="'int3' is not one of auto, float32, bfloat16, float16, bf16z, int8, int4, fp8"):
        moekit.load_layer(source.folder, 0, dtype="int3")
