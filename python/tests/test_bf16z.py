# SPDX-License-Identifier: Apache-2.0
"""bf16z, bfloat16 in three quarters of the bytes: the weights and results of bfloat16, bit for bit, on trained models."""
import json

import numpy as np
import pytest

import moekit
from conftest import MODELS
from moekit.cli import main

ml_dtypes = pytest.importorskip("ml_dtypes")
PATHS = [MODELS / name for name in ("qwen3_moe_bytes", "deepseek_v3_bytes")]


def moe_layers(path):
    return moekit._core.inspect_model(str(path))["moe_layers"]


def bits(array):
    return np.ascontiguousarray(array).view(np.uint16 if array.dtype.itemsize == 2 else np.uint32)


def weights(layer, shared):
    """All experts' matrices, in bfloat16."""
    config, found = layer.config, []
    e = config["shared"]["expert"] if shared else config["expert"]
    for i in range(config["shared"]["count"] if shared else config["router"]["num_experts"]):
        into = {"gate": (e["intermediate"], e["input"]), "up": (e["intermediate"], e["input"]),
                "down": (e["output"], e["intermediate"])}
        into = {name: np.zeros(shape, ml_dtypes.bfloat16) for name, shape in into.items()}
        layer._core.unpack(i, shared, into)
        found += into.values()
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_trained_models_have_the_bits_of_bfloat16(path):
    random = np.random.default_rng(1)
    for index in moe_layers(path):
        plain, compressed = (moekit.load_layer(path, index, dtype=dtype) for dtype in ("bfloat16", "bf16z"))
        assert (plain.dtype, compressed.dtype) == ("bfloat16", "bf16z")
        assert compressed.nbytes < 0.8 * plain.nbytes
        for shared in (False, True):
            for got, want in zip(weights(compressed, shared), weights(plain, shared)):
                np.testing.assert_array_equal(bits(got), bits(want))
        for tokens in (1, 2, 3, 8, 9, 40, 600):
            for dtype in (np.float32, ml_dtypes.bfloat16):
                x = random.standard_normal((tokens, plain.hidden_size)).astype(dtype)
                np.testing.assert_array_equal(bits(compressed(x)), bits(plain(x)))


def test_converted(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["convert", str(PATHS[0]), str(out), "--dtype", "bf16z"]) == 0
    assert "bf16z" in capsys.readouterr().out
    assert main(["inspect", str(out), "--json"]) == 0
    f = json.loads(capsys.readouterr().out)
    assert f["dtype"] == "bf16z" and 12.0 < f["bits_per_weight"] < 12.8  # rows of 64 and 128 weights, padded to lines
    assert {part["format"] for part in f["formats"]} == {"bf16z"}
    assert main(["verify", str(out)]) == 0
    layer = moekit.load_layer(out, 1)
    assert layer.dtype == "bf16z" and "mapped" in layer.explain()
    x = np.random.default_rng(2).standard_normal((5, layer.hidden_size)).astype(np.float32)
    want = moekit.load_layer(PATHS[0], 1, "bfloat16")(x)
    budget = layer.nbytes // 2
    for other in (layer, moekit.load_layer(out, 1, "bf16z"), moekit.load_layer(out, 1, "bfloat16"),
                  moekit.load_layer(out, 1, memory_budget=budget)):
        np.testing.assert_array_equal(other(x), want)
    assert moekit.load_layer(out, 1, "bfloat16").dtype == "bfloat16"
    assert moekit.load_layer(out, 1, backend="reference").dtype == "bfloat16"


def test_weights_that_do_not_compress_stay_plain():
    random = np.random.default_rng(3)
    any_bits = lambda *shape: random.integers(0, 0x7f80, shape, dtype=np.uint16).view(ml_dtypes.bfloat16)  # noqa: E731
    config = {"router": {"num_experts": 2, "top_k": 1}, "expert": {"input": 64, "intermediate": 96, "output": 64}}
    small = lambda *shape: random.standard_normal(shape).astype(ml_dtypes.bfloat16)  # noqa: E731
    tensors = {"router.weight": small(2, 64), "experts.gate": small(2, 96, 64), "experts.up": small(2, 96, 64),
               "experts.down": any_bits(2, 64, 96)}
    layer = moekit.MoeLayer.from_arrays(config, tensors, dtype="bf16z")
    assert layer.dtype == "bf16z, bfloat16"
    assert "bf16z: plain bfloat16 instead where it would be no smaller: down has" in layer.explain()
    tensors["experts.up"] = any_bits(2, 96, 64)
    assert moekit.MoeLayer.from_arrays(config, tensors, dtype="bf16z").dtype == "bfloat16"


def test_small_layers_are_left_alone_and_say_so():
    layer = moekit.load_layer(PATHS[0], 0)
    assert layer.dtype == "bfloat16" and "bf16z: not chosen" in layer.explain()
    assert "bf16z" not in moekit.load_layer(PATHS[0], 0, "bfloat16").explain()


@pytest.mark.parametrize("isa", ["avx512", "avx2", "generic"])
def test_large_layers_take_it_where_it_is_faster(isa, monkeypatch):
    monkeypatch.setenv("MOEKIT_ISA", isa)
    try:
        kernels = moekit._core.cpu()["chosen"]["bfloat16"]
    except ValueError as error:
        pytest.skip(f"not tested: {isa} ({error})")
    random = np.random.default_rng(5)
    config = {"router": {"num_experts": 8, "top_k": 2}, "expert": {"input": 1024, "intermediate": 1408, "output": 1024}}
    normal = lambda *shape: random.standard_normal(shape, dtype=np.float32).astype(ml_dtypes.bfloat16)  # noqa: E731
    tensors = {"router.weight": normal(8, 1024), "experts.gate": normal(8, 1408, 1024), "experts.up": normal(8, 1408, 1024),
               "experts.down": normal(8, 1024, 1408)}
    auto, plain = (moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype) for dtype in ("auto", "bfloat16"))
    faster = kernels in ("avx512", "avx2")
    assert auto.dtype == ("bf16z" if faster else "bfloat16")
    assert f"bf16z: {'chosen' if faster else 'not chosen'}, " in auto.explain()
    x = normal(3, 1024)
    np.testing.assert_array_equal(bits(auto(x)), bits(plain(x)))


def test_dense_module():
    plain, compressed = (moekit.MoE(4, 96, 40, dtype=dtype) for dtype in ("bfloat16", "bf16z"))
    assert compressed.state_dict()["experts.0.weight"].dtype == ml_dtypes.bfloat16
    x = np.random.default_rng(4).standard_normal((7, 96)).astype(np.float32)
    np.testing.assert_array_equal(compressed(x), plain(x))
