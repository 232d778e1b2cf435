# SPDX-License-Identifier: Apache-2.0
"""Quantised checkpoints: dequantised weights bit for bit those of independent readers, layers against float64 NumPy."""
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import moekit
from conftest import nmse

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")
import quant_checkpoints as qc  # noqa: E402
import quant_schemes as qs  # noqa: E402

FP8 = dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[128, 128])


def compressed(form: str, **weights) -> dict:
    group = dict(targets=["Linear"], weights=weights, input_activations=None)
    return dict(quant_method="compressed-tensors", format=form, config_groups={"group_0": group}, ignore=["lm_head"])


def gptq(**fields) -> dict:
    return dict(quant_method="gptq", bits=4, group_size=16, desc_act=False, sym=False, **fields)


INT4 = dict(num_bits=4, type="int", symmetric=True, strategy="group", group_size=32)
AWQ = dict(quant_method="awq", bits=4, group_size=16, zero_point=True, version="gemm")
S, BIG, ODD = qc.Sizes, qc.Sizes(hidden=200, inner=136, experts=3), qc.Sizes(hidden=67, inner=45, experts=7, top_k=3)

# name: (family, scheme, sizes, quantization_config, dtype of the layer, scheme of the shared expert)
CASES = {
    "fp8": ("deepseek_v3", qs.fp8_block(), S(200, 136, 5, 2, 136), FP8, "fp8", None),
    "fp8 odd": ("deepseek_v3", qs.fp8_block(), S(131, 45, 7, 3, 90), FP8, "fp8, bfloat16", qs.plain),
    "fp8 minimax": ("minimax_m2", qs.fp8_block(), BIG, FP8, "fp8", None),
    "fp8 ue8m0": ("qwen3_moe", qs.fp8_block(scale_dtype=torch.uint8), BIG, dict(FP8, scale_fmt="ue8m0"), "fp8", None),
    "fp8 blocks of 64 x 32": ("qwen3_moe", qs.fp8_block((64, 32)), BIG, dict(FP8, weight_block_size=[64, 32]), "fp8",
                              None),
    "fp8 without a config": ("qwen3_moe", qs.fp8_block(), BIG, None, "fp8", None),
    "fp8 as weight_scale": ("qwen3_moe", qs.fp8_block(suffix="weight_scale"), BIG, FP8, "fp8", None),
    "fp8 as .scale": ("qwen3_moe", qs.fp8_block(scale_dtype=torch.float8_e8m0fnu, suffix="scale"), BIG, FP8, "fp8", None),
    "mxfp8 of transformers": ("qwen3_moe", qs.fp8_block((1, 32), torch.uint8), S(72, 40),
                              dict(FP8, weight_block_size=[1, 32], scale_fmt="ue8m0"), "mxfp8", None),
    "deepseek_v4": ("deepseek_v4", qs.deepseek_v4_fp4, S(96, 64, 5, 2, 64), dict(FP8, scale_fmt="ue8m0"),
                    "mxfp4, fp8", qs.fp8_block(scale_dtype=torch.float8_e8m0fnu, suffix="scale")),
    "kimi_k2": ("kimi_k2", qs.packed(4, 32), S(96, 64, 7, 2, 64), compressed("pack-quantized", **INT4),
                "int4, bfloat16", qs.plain),
    "packed int4, zero points": ("qwen3_moe", qs.packed(4, 16, False), S(80, 48),
                                 compressed("pack-quantized", **dict(INT4, group_size=16, symmetric=False)), "int4", None),
    "packed int4, channels, odd": ("qwen3_moe", qs.packed(4, None, False, torch.float16), ODD,
                                   compressed("pack-quantized", **dict(INT4, strategy="channel", group_size=None)),
                                   "int4", None),
    "packed int8": ("qwen3_moe", qs.packed(8, 16, False, torch.float32), S(),
                    compressed("pack-quantized", **dict(INT4, num_bits=8, group_size=16)), "int8", None),
    "int8 channels": ("qwen3_moe", qs.int8_channel(), ODD,
                      compressed("int-quantized", num_bits=8, type="int", strategy="channel"), "int8", None),
    "int8 channels, zero points": ("qwen3_moe", qs.int8_channel(False), ODD,
                                   compressed("naive-quantized", num_bits=8, type="int", strategy="channel"), "int8",
                                   None),
    "fp8 channels": ("qwen3_moe", qs.fp8_channel, ODD,
                     compressed("float-quantized", num_bits=8, type="float", strategy="channel"), "fp8", None),
    "fp8 tensors": ("qwen3_moe", qs.fp8_tensor, ODD,
                    compressed("float-quantized", num_bits=8, type="float", strategy="tensor"), "fp8", None),
    "fp8 blocks": ("qwen3_moe", qs.fp8_block_compressed, ODD,
                   compressed("float-quantized", num_bits=8, type="float", strategy="block", block_structure=[16, 16]),
                   "fp8", None),
    "mxfp4 compressed": ("qwen3_moe", qs.mxfp4_compressed, S(96, 64),
                         compressed("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32),
                         "mxfp4", None),
    "mxfp8 compressed": ("qwen3_moe", qs.mxfp8_compressed, S(96, 64),
                         compressed("mxfp8-quantized", num_bits=8, type="float", strategy="group", group_size=32),
                         "mxfp8", None),
    "nvfp4": ("qwen3_moe", qs.nvfp4, S(80, 48),
              compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16),
              "nvfp4", None),
    "nvfp4 modelopt": ("qwen3_moe", qs.nvfp4_modelopt, S(80, 48),
                       dict(quant_method="modelopt", quant_algo="NVFP4", config_groups={}), "nvfp4", None),
    "gptq": ("qwen3_moe", qs.gptq(), S(80, 48), gptq(), "int4", None),
    "gptq act-order": ("qwen3_moe", qs.gptq(act_order=True), S(80, 48), gptq(checkpoint_format="gptq"), "int4", None),
    "gptq v2": ("qwen3_moe", qs.gptq(version=2, act_order=True), S(80, 48), gptq(checkpoint_format="gptq_v2"), "int4",
                None),
    "gptq 8 bits": ("qwen3_moe", qs.gptq(8, 16), S(80, 48), dict(gptq(), bits=8), "int8", None),
    "gptq without g_idx": ("qwen3_moe", qs.gptq(g_idx=False), S(80, 48), gptq(), "int4", None),
    "gptq a scale a column": ("qwen3_moe", qs.gptq(group=-1), S(80, 48), dict(gptq(), group_size=-1), "int4", None),
    "awq": ("qwen3_moe", qs.awq(), S(80, 48), AWQ, "int4", None),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root, done = tmp_path_factory.mktemp("quantised"), {}

    def write(case: str):
        if case not in done:
            family, scheme, sizes, config, _, shared = CASES[case]
            done[case] = qc.write(root / case.replace(" ", "_"), family, scheme, sizes, config, shared)
        return done[case]

    return write


def unpacked(layer, expert: int, shapes, shared: bool = False) -> dict[str, np.ndarray]:
    into = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    layer._core.unpack(expert, shared, into)
    return into


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(a.view(np.uint32), np.ascontiguousarray(b, np.float32).view(np.uint32))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_dequantised_bits(written, case, backend):
    block = written(case)
    layer = moekit.load_layer(block.folder, 0, backend=backend)
    assert layer.dtype == CASES[case][4]
    for e, expected in enumerate(block.experts):
        got = unpacked(layer, e, {name: w.shape for name, w in expected.items()})
        for name, weight in expected.items():
            same_bits(got[name], weight)
    if block.shared is not None and CASES[case][5] is not qs.plain:
        got = unpacked(layer, 0, {name: w.shape for name, w in block.shared.items()}, shared=True)
        for name, weight in block.shared.items():
            same_bits(got[name], weight)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_layer(written, case, backend):
    family, _, sizes, *_ = CASES[case]
    block = written(case)
    layer = moekit.load_layer(block.folder, 0, backend=backend)
    for count in (1, 41):
        x = qc.tokens(count, sizes.hidden)
        y, routing = layer(x, return_routing=True)
        ids, weights = qc.route(family, block, x, sizes.top_k)
        order = np.argsort(routing.expert_ids, axis=1)
        np.testing.assert_array_equal(np.take_along_axis(routing.expert_ids, order, 1), ids)
        np.testing.assert_allclose(np.take_along_axis(routing.weights, order, 1), weights, rtol=2e-5)
        assert nmse(y, qc.forward(family, block, x, ids, weights)) <= 1e-5
        np.testing.assert_array_equal(layer(x[:1]), y[:1])  # a row's bits do not depend on the batch


def test_quantised_weights_as_plain_ones(written):
    block = written("gptq")
    layer = moekit.load_layer(block.folder, 0, dtype="float32")
    assert layer.dtype == "float32"
    for name, weight in unpacked(layer, 2, {n: w.shape for n, w in block.experts[2].items()}).items():
        same_bits(weight, block.experts[2][name])


def test_inspect_and_verify(written):
    def facts(command, case):
        done = subprocess.run([sys.executable, "-m", "moekit", command, str(written(case).folder), "--json"],
                              stdout=subprocess.PIPE, text=True, timeout=300)
        assert done.returncode == 0
        return json.loads(done.stdout)

    f = facts("inspect", "kimi_k2")
    assert f["dtype"] == "int4, bfloat16"
    forms = {part["name"]: part for part in f["formats"]}
    assert forms["gate"]["format"] == "int4, groups of 32, bfloat16 scales" and forms["gate"]["bits_per_weight"] == 4.5
    assert forms["shared up"] == dict(name="shared up", format="bfloat16", bits_per_weight=16)
    assert f["expert_bytes"] == 3 * 96 * 64 * 4.5 / 8 and f["other_formats"] == {}
    assert f["layer_bytes"] == 7 * f["expert_bytes"] + 3 * 96 * 64 * 2
    f = facts("inspect", "nvfp4")
    assert f["formats"][0]["format"].startswith("nvfp4, groups of 16") and f["bits_per_weight"] == pytest.approx(4.5, 1e-2)
    assert any("15 activation scales (input_global_scale)" in note for note in f["notes"])
    text = subprocess.run([sys.executable, "-m", "moekit", "inspect", str(written("deepseek_v4").folder)],
                          stdout=subprocess.PIPE, text=True).stdout
    assert "gate, up, down: mxfp4, groups of 32" in text and "shared gate, shared up, shared down: fp8, blocks of 128 x 128" in text
    for case in ("gptq act-order", "fp8 odd", "deepseek_v4"):
        assert facts("verify", case)["agrees"]


def test_explain_says_what_is_not_done(written):
    text = moekit.load_layer(written("nvfp4 modelopt").folder, 0).explain()
    assert "modelopt nvfp4: activations, which the scheme rounds too, are not rounded" in text
    assert "not used: 15 activation scales (input_scale)" in text
