# SPDX-License-Identifier: Apache-2.0
"""GGUF files against the transformers class: the same experts, and outputs within 2e-5 in float32, for every
architecture that is known. The files are checkpoints of transformers, renamed as llama.cpp's converters do."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import moekit

gguf = pytest.importorskip("gguf")
pytest.importorskip("transformers")
from family_blocks import by_id, write_checkpoints, written  # noqa: E402, F401
import write_gguf  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

# architecture, case of the transformers checkpoints, family, pairs that the case needs and converters do not write
CASES = [
    ("afmoe", "afmoe", "afmoe", {}),
    ("bailingmoe2", "bailing_hybrid", "bailing_hybrid", {}),
    ("deepseek2", "deepseek_v2", "deepseek_v2", {"expert_gating_func": 1}),
    ("deepseek2", "deepseek_v2", "deepseek_v2", {"expert_gating_func": None}),
    ("deepseek2", "deepseek_v2_greedy", "deepseek_v2", {}),
    ("deepseek2", "deepseek_v3", "deepseek_v3", {"expert_gating_func": 2}),
    ("deepseek2", "deepseek_v3_two_shared", "deepseek_v3", {"expert_gating_func": 2}),
    ("deepseek2", "kimi_k2", "deepseek_v3", {"expert_gating_func": 2}),
    ("deepseek2", "glm4_moe_lite", "deepseek_v3", {"expert_gating_func": None}),
    ("dots1", "dots1", "dots1", {}),
    ("ernie4_5-moe", "ernie4_5_moe", "ernie4_5_moe", {}),
    ("exaone-moe", "exaone_moe", "exaone_moe", {"leading_dense_block_count": 1}),
    ("glm-dsa", "glm_moe_dsa", "glm_moe_dsa", {}),
    ("glm4moe", "glm4_moe", "glm4_moe", {"expert_gating_func": 2}),
    ("gpt-oss", "gpt_oss", "gpt_oss", {}),
    ("granitehybrid", "granitemoehybrid", "granitemoehybrid", {}),
    ("granitemoe", "granitemoe", "granitemoe", {}),
    ("granitemoe", "granitemoeshared", "granitemoe", {}),
    ("hunyuan-moe", "hunyuan_v1_moe", "hunyuan_v1_moe", {}),
    ("jamba", "jamba", "jamba", {}),
    ("kimi-linear", "kimi_linear", "kimi_linear", {"expert_weights_norm": None}),
    ("lfm2moe", "lfm2_moe", "lfm2_moe", {"expert_gating_func": 2}),
    ("lfm2moe", "lfm2_moe_no_bias", "lfm2_moe", {"expert_gating_func": 2}),
    ("llama", "mixtral", "mixtral", {}),
    ("llama4", "llama4", "llama4", {}),
    ("mimo2", "mimo_v2_flash", "mimo_v2_flash", {"expert_weights_norm": None, "expert_shared_count": None}),
    ("minimax-m2", "minimax_m2", "minimax_m2", {"expert_gating_func": 2}),
    ("olmoe", "olmoe", "olmoe", {}),
    ("phimoe", "phimoe", "phimoe", {}),
    ("qwen2moe", "qwen2_moe", "qwen2_moe", {}),
    ("qwen35moe", "qwen3_5_moe", "qwen3_5_moe", {}),
    ("qwen3moe", "qwen3_moe", "qwen3_moe", {"expert_weights_norm": None}),
    ("qwen3moe", "qwen3_moe_plain", "qwen3_moe", {}),
    ("qwen3next", "qwen3_next", "qwen3_next", {}),
    ("qwen3vlmoe", "qwen3_vl_moe", "qwen3_vl_moe", {"expert_weights_norm": None}),
]
NAMES = [f"{architecture}-{case}-{i}" for i, (architecture, case, *_) in enumerate(CASES)]


def expect_block(layer, block, where):
    y, routing = layer(block["x"], return_routing=True)
    ids, weights = by_id(routing.expert_ids, routing.weights)
    expected_ids, expected_weights = by_id(block["ids"], block["weights"])
    np.testing.assert_array_equal(ids, expected_ids, err_msg=where)
    np.testing.assert_allclose(weights, expected_weights, rtol=2e-5, atol=1e-6, err_msg=where)
    assert np.linalg.norm(y - block["y"]) <= 2e-5 * np.linalg.norm(block["y"]), where


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_block_computes_what_transformers_computes(written, tmp_path, case):
    architecture, name, family, changes = case
    folder, summary = written(name)
    path = tmp_path / "model.gguf"
    write_gguf.write(folder / "single", path, architecture, **changes)
    info = moekit._core.inspect_model(str(path))
    assert info["family"] == family and info["moe_layers"] == summary["layers"]
    for layer_index in summary["layers"]:
        block = load_file(folder / f"block{layer_index}.safetensors")
        for backend in ("auto", "reference"):
            layer = moekit.load_layer(path, layer_index, backend=backend)
            expect_block(layer, block, f"layer {layer_index}, {backend}")


def test_every_architecture_has_a_case(tmp_path):
    path = tmp_path / "x.gguf"
    write_gguf.close_writer(write_gguf.open_writer(path, "grok", {"block_count": 1}))
    with pytest.raises(moekit.CheckpointError, match="general.architecture is 'grok', known are ") as error:
        moekit._core.inspect_model(str(path))
    known = str(error.value).split("known are ")[1].split(", ")
    assert sorted({architecture for architecture, *_ in CASES}) == known
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    listed = readme.split("Architectures:")[1].split(". ")[0].replace("\n", " ").split(", ")
    assert [name.strip() for name in listed] == known


@pytest.mark.parametrize("architecture, case", [("deepseek2", "deepseek_v3"), ("gpt-oss", "gpt_oss"),
                                                ("qwen2moe", "qwen2_moe")])
def test_every_tensor_of_the_block_is_needed(written, tmp_path, architecture, case):
    folder, summary = written(case)
    layer = summary["layers"][0]
    changes = {"expert_gating_func": 2} if case == "deepseek_v3" else {}
    tensors = write_gguf.write(folder / "single", tmp_path / "all.gguf", architecture, **changes)
    block = [name for name in tensors if name.startswith(f"blk.{layer}.") and ("exp" in name or "gate_inp" in name)]
    assert len(block) >= 5

    def rewrite(kept):
        reader = gguf.GGUFReader(tmp_path / "all.gguf")
        fields = {key.split(".", 1)[1]: field.contents() for key, field in reader.fields.items()
                  if key.startswith(architecture + ".")}
        writer = write_gguf.open_writer(tmp_path / "some.gguf", architecture, fields)
        for name, tensor in kept.items():
            writer.add_tensor(name, tensor)
        write_gguf.close_writer(writer)
        return pytest.raises(moekit.CheckpointError)

    for victim in block:
        with rewrite({name: tensor for name, tensor in tensors.items() if name != victim}) as error:
            moekit.load_layer(tmp_path / "some.gguf", layer)
        assert victim in str(error.value)
    for stray in ("ffn_gate_exps.scale", "ffn_gate_chexps.weight", "exp_probs_b.scale", "ffn_up_exps.bias2"):
        stray = f"blk.{layer}.{stray}"
        with rewrite({**tensors, stray: np.zeros(3, np.float32)}) as error:
            moekit.load_layer(tmp_path / "some.gguf", layer)
        assert stray in str(error.value)


def test_blocks_of_multi_token_prediction_are_no_layers(written, tmp_path):
    folder, _ = written("glm4_moe")
    path = tmp_path / "mtp.gguf"
    write_gguf.write(folder / "single", path, "glm4moe", expert_gating_func=2, nextn_predict_layers=1)
    info = moekit._core.inspect_model(str(path))
    assert info["num_layers"] == 1 and info["moe_layers"] == []
    with pytest.raises(moekit.CheckpointError, match="layer 1 of 1"):
        moekit.load_layer(path, 1)


def test_sets_of_parts(written, tmp_path):
    folder, summary = written("qwen2_moe")
    tensors = write_gguf.write(folder / "single", tmp_path / "one.gguf", "qwen2moe")
    reader = gguf.GGUFReader(tmp_path / "one.gguf")
    fields = {key.split(".", 1)[1]: field.contents() for key, field in reader.fields.items()
              if key.startswith("qwen2moe.")}
    writer = gguf.GGUFWriter(tmp_path / "set.gguf", "qwen2moe", split_max_tensors=5)
    for key, value in fields.items():
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(f"qwen2moe.{key}", value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    write_gguf.close_writer(writer)
    parts = sorted(tmp_path.glob("set-*.gguf"))
    assert len(parts) > 2
    for layer_index in summary["layers"]:
        block = load_file(folder / f"block{layer_index}.safetensors")
        expect_block(moekit.load_layer(parts[0], layer_index), block, "set")
    with pytest.raises(moekit.CheckpointError, match="open the first"):
        moekit.load_layer(parts[1], 0)
