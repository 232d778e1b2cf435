# SPDX-License-Identifier: Apache-2.0
"""Every family against the transformers class: the same experts, and outputs within 2e-5 in float32.

The checkpoints are written by transformers itself (single file and shards, and re-keyed to the stacked layout), so that
names, layouts and configuration are not this project's own idea of them.
"""
from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import moekit

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from family_blocks import by_id, write_checkpoints, written  # noqa: E402, F401
from safetensors.numpy import load_file, save_file  # noqa: E402
from safetensors.torch import load_file as load_torch  # noqa: E402

CASES = sorted(write_checkpoints.FAMILIES)
VARIANTS = ("single", "sharded", "stacked", "split", "nested", "published")


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_block_computes_what_transformers_computes(written, case, backend):
    folder, summary = written(case)
    variants = [variant for variant in VARIANTS if (folder / variant).is_dir()]
    assert {"single", "sharded"} <= set(variants)
    for variant in variants:
        for layer_index in summary["layers"]:
            block = load_file(folder / f"block{layer_index}.safetensors")
            layer = moekit.load_layer(folder / variant, layer_index, dtype="float32", backend=backend)
            y, routing = layer(block["x"], return_routing=True, token_ids=block.get("token_ids"))
            ids, weights = by_id(routing.expert_ids, routing.weights)
            expected_ids, expected_weights = by_id(block["ids"], block["weights"])
            np.testing.assert_array_equal(ids, expected_ids, err_msg=f"{variant}, layer {layer_index}")
            np.testing.assert_allclose(weights, expected_weights, rtol=2e-5, atol=1e-6)
            error = np.linalg.norm(y - block["y"]) / np.linalg.norm(block["y"])
            assert error <= 2e-5, f"{variant}, layer {layer_index}: relative error {error}"


@pytest.mark.parametrize("case", ["qwen3_moe", "mixtral", "deepseek_v3"])
def test_bfloat16_block(case, tmp_path):
    """bfloat16 keeps 8 bits: where two logits round to a tie the choice is free, else outputs are within 1.6e-2."""
    summary = write_checkpoints.write_family(case, tmp_path, torch.bfloat16)
    layer_index = summary["layers"][0]
    block = load_torch(tmp_path / f"block{layer_index}.safetensors")
    layer = moekit.load_layer(tmp_path / "single", layer_index)
    y, routing = layer(block["x"], return_routing=True)
    assert y.dtype == torch.bfloat16
    ids, _ = by_id(routing.expert_ids, routing.weights)
    expected_ids, _ = by_id(block["ids"].numpy(), block["weights"].numpy())
    same = (ids == expected_ids).all(axis=1)
    assert same.mean() >= 0.9
    got, expected = y.float().numpy()[same], block["y"].float().numpy()[same]
    assert np.linalg.norm(got - expected) <= 1.6e-2 * np.linalg.norm(expected)


def test_bailing_moe_v2_routes_as_the_formula_says(written):
    """Ling 2.0 has no class in transformers: sigmoid, bias for selection, groups by their two best, top-k, x scale."""
    folder, _ = written("bailing_hybrid")
    tensors = load_file(folder / "published" / "model.safetensors")
    gate, bias = (tensors[f"model.layers.1.mlp.gate.{name}"].astype(np.float64) for name in ("weight", "expert_bias"))
    x = load_file(folder / "block1.safetensors")["x"]
    _, routing = moekit.load_layer(folder / "published", 1)(x, return_routing=True)
    for row, ids, weights in zip(x.astype(np.float64), routing.expert_ids, routing.weights):
        scores = 1.0 / (1.0 + np.exp(-(gate @ row)))
        choice = (scores + bias).reshape(4, 3)
        kept = np.argsort(-np.sort(choice, axis=1)[:, -2:].sum(axis=1))[:2]
        choice[[group for group in range(4) if group not in kept]] = -np.inf
        best = np.sort(np.argsort(-choice.ravel())[:3])
        np.testing.assert_array_equal(np.sort(ids), best)
        order = np.argsort(ids)
        np.testing.assert_allclose(np.asarray(weights)[order], 2.5 * scores[best] / scores[best].sum(), rtol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_layers_with_experts_are_those_of_transformers(written, case):
    folder, summary = written(case)
    info = moekit._core.inspect_model(str(folder / "single"))
    assert case.startswith(info["family"])
    assert info["moe_layers"] == summary["layers"]
    for layer in set(range(info["num_layers"])) - set(summary["layers"]):
        with pytest.raises(moekit.CheckpointError, match=f"layer {layer} is dense"):
            moekit.load_layer(folder / "single", layer)


def test_every_family_has_a_case_and_is_told_of():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    words = set(readme.replace(",", " ").split())
    for family in moekit._core.model_families():
        assert family in CASES
        assert family in words, f"README.md does not list {family}"


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_of_the_block_is_needed(written, case, tmp_path):
    """Taking one tensor of the block away, or adding one to it, is an error that names the tensor."""
    folder, summary = written(case)
    layer = summary["layers"][0]
    tensors = load_file(folder / "single" / "model.safetensors")
    block = [name for name in tensors if re.search(rf"(layers|blocks)\.{layer}\..*(expert|input_linear)", name)
             and "attention" not in name]
    if case == "longcat_flash":  # weights of identity experts, which the class writes, are needed by nobody
        block = [name for name in block if not re.search(r"experts\.[789]\.", name)]
    assert block
    shutil.copy(folder / "single" / "config.json", tmp_path)
    for victim in (block[0], block[-1]):
        save_file({name: value for name, value in tensors.items() if name != victim}, tmp_path / "model.safetensors")
        with pytest.raises(moekit.CheckpointError) as error:
            moekit.load_layer(tmp_path, layer)
        assert victim in str(error.value)
    stray = block[0].rsplit(".", 1)[0] + ".stray"
    save_file({**tensors, stray: np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(moekit.CheckpointError) as error:
        moekit.load_layer(tmp_path, layer)
    assert stray in str(error.value)
