# SPDX-License-Identifier: Apache-2.0
"""Layouts of quantised experts: stacked ones, scales apart from the weights, layers that are not quantised; and FP8
checkpoints that transformers itself writes."""
from __future__ import annotations

import json

import numpy as np
import pytest

import moekit
from conftest import nmse

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")
import quant_checkpoints as qc  # noqa: E402
import quant_schemes as qs  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_quantised import FP8, same_bits, unpacked  # noqa: E402
from transformers.integrations.finegrained_fp8 import Fp8Dequantize  # noqa: E402
from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # noqa: E402
from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer  # noqa: E402

QWEN = "model.layers.0.mlp."


def check_experts(layer, gates, ups, downs) -> None:
    for e, parts in enumerate(zip(gates, ups, downs)):
        named = dict(zip(("gate", "up", "down"), map(np.asarray, parts)))
        for name, weight in unpacked(layer, e, {n: w.shape for n, w in named.items()}).items():
            same_bits(weight, named[name])


# ---- gpt-oss --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_gpt_oss(tmp_path, backend):
    """Blocks and exponents of a stack whose gate and up rows alternate, biases, softmax over the chosen logits."""
    rng, (experts, hidden, inner, k) = np.random.default_rng(3), (7, 96, 64, 3)

    def blocks(rows: int, cols: int):
        codes = torch.from_numpy(rng.integers(0, 256, (experts, rows, cols // 32, 16), dtype=np.uint8))
        scales = torch.from_numpy(rng.integers(117, 123, (experts, rows, cols // 32), dtype=np.uint8))
        # The dequantiser answers [E, cols, rows].
        return codes, scales, convert_moe_packed_tensors(codes, scales, dtype=torch.float32).transpose(1, 2).numpy()

    up_blocks, up_scales, up = blocks(2 * inner, hidden)
    down_blocks, down_scales, down = blocks(hidden, inner)
    random = lambda *shape: torch.from_numpy(0.2 * rng.standard_normal(shape).astype(np.float32))  # noqa: E731
    tensors = {"experts.gate_up_proj_blocks": up_blocks, "experts.gate_up_proj_scales": up_scales,
               "experts.down_proj_blocks": down_blocks, "experts.down_proj_scales": down_scales,
               "experts.gate_up_proj_bias": random(experts, 2 * inner), "experts.down_proj_bias": random(experts, hidden),
               "router.weight": random(experts, hidden) * 5, "router.bias": random(experts)}
    config = dict(model_type="gpt_oss", hidden_size=hidden, intermediate_size=inner, num_local_experts=experts,
                  num_experts_per_tok=k, num_hidden_layers=1, swiglu_limit=7.0,
                  quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=["lm_head"]))
    qc.save(tmp_path, config, {QWEN + name: tensor for name, tensor in tensors.items()})
    layer = moekit.load_layer(tmp_path, 0, backend=backend)
    assert layer.dtype == "mxfp4"
    check_experts(layer, up[:, 0::2], up[:, 1::2], down)

    x = qc.tokens(33, hidden)
    y, routing = layer(x, return_routing=True)
    z = x.astype(np.float64) @ tensors["router.weight"].double().numpy().T + tensors["router.bias"].double().numpy()
    ids = np.sort(np.argsort(-z, axis=1)[:, :k], axis=1)
    np.testing.assert_array_equal(np.sort(routing.expert_ids, axis=1), ids)
    weights = qc.softmax(np.take_along_axis(z, ids, axis=1))
    expected = np.zeros((len(x), hidden))
    up_bias, down_bias = (tensors[f"experts.{n}_proj_bias"].double().numpy() for n in ("gate_up", "down"))
    for e in range(experts):
        token, slot = np.nonzero(ids == e)
        both = x[token].astype(np.float64) @ up[e].astype(np.float64).T + up_bias[e]
        gate, value = np.minimum(both[:, 0::2], 7), np.clip(both[:, 1::2], -7, 7)
        out = (value + 1) * gate / (1 + np.exp(-1.702 * gate)) @ down[e].astype(np.float64).T + down_bias[e]
        expected[token] += weights[token, slot][:, None] * out
    assert nmse(y, expected) <= 1e-5


# ---- FP8 as transformers writes it ----------------------------------------------------------------------------------

@pytest.mark.parametrize("scale_fmt", ["float", "ue8m0"])
def test_fp8_saved_by_transformers(tmp_path, monkeypatch, scale_fmt):
    """The weights one by one, their scales stacked."""
    config = transformers.Qwen3MoeConfig(
        hidden_size=48, intermediate_size=32, moe_intermediate_size=32, num_experts=5, num_experts_per_tok=2,
        num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16, vocab_size=48)
    torch.manual_seed(0)
    model = transformers.Qwen3MoeForCausalLM(config).bfloat16()
    model.save_pretrained(tmp_path / "plain")
    # Quantising asks for a GPU, which only running needs.
    monkeypatch.setattr(FineGrainedFP8HfQuantizer, "validate_environment", lambda self, *args, **kwargs: None)
    how = transformers.FineGrainedFP8Config(weight_block_size=(16, 16), scale_fmt=scale_fmt)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=how,
                                                                  dtype=torch.bfloat16)
    quantised.save_pretrained(tmp_path / "fp8")
    assert any("scale_inv" in name for name in load_file(tmp_path / "fp8" / "model.safetensors"))

    state = {name.rpartition("experts.")[2]: tensor for name, tensor in quantised.state_dict().items() if "experts" in name}
    read = lambda name: Fp8Dequantize(None)._dequantize_one(  # noqa: E731
        state[name], state[name + "_scale_inv"], torch.float32).numpy()
    up, down = read("gate_up_proj"), read("down_proj")
    for backend in ("auto", "reference"):
        layer = moekit.load_layer(tmp_path / "fp8", 0, backend=backend)
        assert layer.dtype == "fp8"
        check_experts(layer, up[:, :32], up[:, 32:], down)

    # The same with everything stacked, as in memory.
    tensors = load_file(tmp_path / "fp8" / "model.safetensors")
    qc.save(tmp_path / "stacked", json.loads((tmp_path / "fp8" / "config.json").read_text()),
            {QWEN + "gate.weight": tensors[QWEN + "gate.weight"],
             **{f"{QWEN}experts.{name}": tensor for name, tensor in state.items()}})
    check_experts(moekit.load_layer(tmp_path / "stacked", 0), up[:, :32], up[:, 32:], down)


def write_stacked(folder, inner: int, halves: bool, hidden: int = 96):
    """Stacked FP8 experts whose gate and up rows have block grids of their own, or one for both."""
    rng, experts = np.random.default_rng(inner), 3
    scheme, parts = qs.fp8_block((32, 32)), {"gate_up_proj": [], "down_proj": []}
    weights = []
    for _ in range(experts):
        gate, up, down = (qc.weight(rng, *shape) for shape in ((inner, hidden), (inner, hidden), (hidden, inner)))
        if halves:
            (a, gate_read), (b, up_read) = scheme(gate), scheme(up)
            both = {name: torch.cat([a[name], b[name]]) for name in a}
        else:
            both, read = scheme(torch.cat([gate, up]))
            gate_read, up_read = read[:inner], read[inner:]
        down_parts, down_read = scheme(down)
        parts["gate_up_proj"].append(both)
        parts["down_proj"].append(down_parts)
        weights.append((gate_read, up_read, down_read))
    tensors = {QWEN + "gate.weight": qc.weight(rng, experts, hidden)}
    for name, each in parts.items():
        tensors[f"{QWEN}experts.{name}"] = torch.stack([p["weight"] for p in each])
        tensors[f"{QWEN}experts.{name}_scale_inv"] = torch.stack([p["weight_scale_inv"] for p in each])
    config = qc.config_of("qwen3_moe", qc.Sizes(hidden, inner, experts))
    qc.save(folder, {**config, "quantization_config": dict(FP8, weight_block_size=[32, 32])}, tensors)
    return zip(*weights)


@pytest.mark.parametrize("inner, halves", [(64, True), (40, True), (50, True), (40, False), (33, False), (64, False)])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_stacked_fp8_with_partial_blocks(tmp_path, inner, halves, backend):
    gates, ups, downs = write_stacked(tmp_path, inner, halves)
    check_experts(moekit.load_layer(tmp_path, 0, backend=backend), gates, ups, downs)


def test_stacked_fp8_with_a_scale_a_tensor(tmp_path):
    rng, (experts, hidden, inner) = np.random.default_rng(9), (3, 40, 24)
    codes = {"gate_up_proj": (2 * inner, hidden), "down_proj": (hidden, inner)}
    codes = {n: torch.from_numpy(rng.standard_normal((experts, *shape), dtype=np.float32)).to(torch.float8_e4m3fn)
             for n, shape in codes.items()}
    up_scale, down_scale = (torch.from_numpy(rng.random((experts, parts, 1), dtype=np.float32)) for parts in (2, 1))
    qc.save(tmp_path, {**qc.config_of("qwen3_moe", qc.Sizes(hidden, inner, experts)),
                       "quantization_config": dict(quant_method="fp8", activation_scheme="static")},
            {QWEN + "gate.weight": qc.weight(rng, experts, hidden),
             **{f"{QWEN}experts.{n}": t for n, t in codes.items()},
             QWEN + "experts.gate_up_proj_scale_inv": up_scale, QWEN + "experts.down_proj_scale_inv": down_scale,
             QWEN + "experts.gate_up_proj_activation_scale": torch.ones(experts),
             QWEN + "experts.down_proj_activation_scale": torch.ones(experts)})
    layer = moekit.load_layer(tmp_path, 0)
    up, down = (codes[n].float().numpy() for n in ("gate_up_proj", "down_proj"))
    check_experts(layer, up[:, :inner] * up_scale[:, :1].numpy(), up[:, inner:] * up_scale[:, 1:].numpy(),
                  down * down_scale.numpy())
    assert "not used: 2 activation scales (activation_scale)" in layer.explain()


def test_projections_stacked_by_themselves(tmp_path):
    """step3p7: moe.gate_proj [E, I, H] and so on, each with its scales."""
    rng, (experts, hidden, inner) = np.random.default_rng(5), (3, 80, 40)
    scheme, tensors, weights = qs.fp8_block((32, 32)), {}, []
    for name, rows, cols in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
        parts = [scheme(qc.weight(rng, rows, cols)) for _ in range(experts)]
        for suffix in ("weight", "weight_scale_inv"):
            tensors[f"model.layers.0.moe.{name}_proj.{suffix}"] = torch.stack([p[0][suffix] for p in parts])
        weights.append([p[1] for p in parts])
    tensors["model.layers.0.moe.gate.weight"] = qc.weight(rng, experts, hidden)
    tensors["model.layers.0.moe.router_bias"] = torch.zeros(experts)
    tensors["model.layers.0.share_expert.gate_proj.weight"] = qc.weight(rng, 8, hidden)
    tensors["model.layers.0.share_expert.up_proj.weight"] = qc.weight(rng, 8, hidden)
    tensors["model.layers.0.share_expert.down_proj.weight"] = qc.weight(rng, hidden, 8)
    qc.save(tmp_path, dict(
        model_type="step3p7", hidden_size=hidden, moe_intermediate_size=inner, num_hidden_layers=1, moe_top_k=2,
        moe_num_experts=experts, moe_layers_enum="0", share_expert_dim=8, swiglu_limits=[0.0],
        swiglu_limits_shared=[0.0], quantization_config=dict(FP8, weight_block_size=[32, 32])), tensors)
    layer = moekit.load_layer(tmp_path, 0)
    assert layer.dtype == "fp8, float32"
    check_experts(layer, *weights)


# ---- mixtures -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_projections_in_different_formats(tmp_path, backend):
    block = qc.write(tmp_path, "qwen3_moe", qs.packed(4, 32), qc.Sizes(64, 96), schemes={"down": qs.fp8_channel})
    layer = moekit.load_layer(tmp_path, 0, backend=backend)
    assert layer.dtype == "int4, fp8"
    check_experts(layer, *([e[name] for e in block.experts] for name in ("gate", "up", "down")))
    x = qc.tokens(9, 64)
    y, _ = layer(x, return_routing=True)
    ids, weights = qc.route("qwen3_moe", block, x, 2)
    assert nmse(y, qc.forward("qwen3_moe", block, x, ids, weights)) <= 1e-5


def test_a_config_that_says_quantised_with_plain_weights(tmp_path):
    block = qc.write(tmp_path, "qwen3_moe", qs.plain, quantization=FP8)
    layer = moekit.load_layer(tmp_path, 0)
    assert layer.dtype == "bfloat16"
    x = qc.tokens(9, 64)
    ids, weights = qc.route("qwen3_moe", block, x, 2)
    assert nmse(layer(x), qc.forward("qwen3_moe", block, x, ids, weights)) <= 1e-5


def test_biases_that_are_zero_are_left(tmp_path):
    qc.write(tmp_path, "qwen3_moe", qs.gptq(), qc.Sizes(80, 48), dict(quant_method="gptq", bits=4, group_size=16))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors[QWEN + "experts.1.up_proj.bias"] = torch.zeros(48, dtype=torch.float16)
    config = json.loads((tmp_path / "config.json").read_text())
    qc.save(tmp_path, config, tensors)
    assert "1 biases that are zero" in moekit.load_layer(tmp_path, 0).explain()
    tensors[QWEN + "experts.1.up_proj.bias"][3] = 1
    qc.save(tmp_path, config, tensors)
    with pytest.raises(moekit.CheckpointError, match=r"unexpected tensor 'model.layers.0.mlp.experts.1.up_proj.bias'"):
        moekit.load_layer(tmp_path, 0)


@pytest.mark.parametrize("name, content", [
    ("quantize_config.json", dict(bits=4, group_size=16, desc_act=False, sym=False)),
    ("hf_quant_config.json", dict(producer=dict(name="modelopt"),
                                  quantization=dict(quant_algo="NVFP4", kv_cache_quant_algo="FP8", group_size=16,
                                                    exclude_modules=["lm_head"]))),
    ("quant_config.json", dict(zero_point=True, q_group_size=16, w_bit=4, version="GEMM")),
])
def test_files_beside_the_config(tmp_path, name, content):
    scheme = {"quantize_config.json": qs.gptq(), "hf_quant_config.json": qs.nvfp4_modelopt, "quant_config.json": qs.awq()}
    block = qc.write(tmp_path, "qwen3_moe", scheme[name], qc.Sizes(80, 48))
    (tmp_path / name).write_text(json.dumps(content))
    layer = moekit.load_layer(tmp_path, 0)
    check_experts(layer, *([e[part] for e in block.experts] for part in ("gate", "up", "down")))
    assert layer.explain().count("checkpoint:") >= 1
