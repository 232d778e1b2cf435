# SPDX-License-Identifier: Apache-2.0
"""Blocks that keep two sets of experts apart (ERNIE 4.5 VL): both of them, in every layout, against transformers' block
with its mask of token types; and what files, commands and errors say of sets."""
from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

import moekit
from moekit.cli import main

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from family_blocks import by_id, write_checkpoints, written  # noqa: E402, F401
from safetensors.numpy import load_file, save_file  # noqa: E402

CASE, SETS = "ernie4_5_vl_moe", ("text_moe", "vision_moe")
LAYOUTS = ("single", "sharded", "split", "nested", "published")
TOKENS = 41


@pytest.fixture(scope="module")
def folder(written):  # noqa: F811
    return written(CASE)[0]


def run_block(outer, hidden: int) -> dict:
    """transformers' whole block on tokens of both kinds: x, y, the mask, and ids and weights of each set."""
    torch.manual_seed(3)
    x, mask = torch.randn(TOKENS, hidden), torch.rand(TOKENS) < 0.4
    out = {"x": x.numpy(), "mask": {"text_moe": ~mask.numpy(), "vision_moe": mask.numpy()}}
    handles = [getattr(outer, name).experts.register_forward_pre_hook(
        lambda _module, args, name=name: out.__setitem__(name, (args[1].numpy(), args[2].numpy()))) for name in SETS]
    with torch.no_grad():
        out["y"] = outer(x[None], mask[None].int())[0][0].numpy()
    for handle in handles:
        handle.remove()
    return out


def agrees(layer, block: dict, name: str) -> None:
    """The rows of one set: the same experts, and outputs within 2e-5."""
    rows = block["mask"][name]
    assert 0 < rows.sum() < TOKENS
    y, routing = layer(block["x"][rows], return_routing=True)
    (ids, weights), (want_ids, want_weights) = by_id(routing.expert_ids, routing.weights), by_id(*block[name])
    np.testing.assert_array_equal(ids, want_ids)
    np.testing.assert_allclose(weights, want_weights, rtol=2e-5, atol=1e-6)
    want = block["y"][rows]
    assert np.linalg.norm(y - want) <= 2e-5 * np.linalg.norm(want)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_set_computes_the_rows_that_the_mask_gives_it(folder, layout, backend):
    model = write_checkpoints.make_model(CASE, torch.float32)
    for index in (1, 2):
        block = run_block(model.layers[index].mlp, 19)
        for name in SETS:
            agrees(moekit.load_layer(folder / layout, index, backend=backend, experts=name), block, name)
        np.testing.assert_array_equal(moekit.load_layer(folder / layout, index, backend=backend)(block["x"]),
                                      moekit.load_layer(folder / layout, index, backend=backend,
                                                        experts="text_moe")(block["x"]))


def test_without_shared_experts_and_with_sizes_that_could_be_mistaken(tmp_path, monkeypatch):
    """As many experts as hidden units: only the names say that published routers are [H, E]."""
    prefix, fields = write_checkpoints.FAMILIES[CASE]
    sizes = dict(fields, hidden_size=8, moe_num_experts=8, moe_num_shared_experts=0, moe_intermediate_size=[8, 8])
    monkeypatch.setitem(write_checkpoints.FAMILIES, CASE, (prefix, sizes))
    model = write_checkpoints.make_model(CASE, torch.float32)
    model.save_pretrained(tmp_path / "single")
    config, tensors = write_checkpoints.publish(CASE, model.config.to_dict(), model.state_dict())
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "config.json").write_text(json.dumps(config))
    write_checkpoints.save_file(tensors, tmp_path / "published" / "model.safetensors")
    block = run_block(model.layers[1].mlp, 8)
    for layout in ("single", "published"):
        for name in SETS:
            layer = moekit.load_layer(tmp_path / layout, 1, experts=name)
            assert layer.config["shared"]["count"] == 0
            agrees(layer, block, name)


def baidu(config: dict) -> dict:
    """The published dialect of config.json: sizes as [text, vision], layers as a range, names of training."""
    text = dict(config["text_config"], model_type="ernie4_5_moe_vl", moe_num_experts=[7, 7], moe_layer_start_index=[1, 1],
                moe_layer_end_index=[29, 28], moe_layer_interval=1, moe_use_aux_free=True, moe_gate="topk",
                moe_gate_act="softmax", moe_norm_gate_logits=True, moe_use_hard_gate=True, moe_capacity=[14, 14, 14],
                moe_group_experts=False, moe_dense_experts_token_type_id=3, vision_config={"hidden_size": 8},
                moe_multimodal_dispatch_use_allgather="v2-alltoall-unpad-text")
    del text["mlp_layer_types"]
    return text


def test_published_configuration(folder, tmp_path):
    shutil.copy(folder / "published" / "model.safetensors", tmp_path)
    config = baidu(json.loads((folder / "published" / "config.json").read_text()))

    def write(**fields):
        (tmp_path / "config.json").write_text(json.dumps({**config, **fields}))

    write()
    info = moekit._core.inspect_model(str(tmp_path))
    assert info == {"family": CASE, "num_layers": 3, "moe_layers": [1, 2], "expert_sets": list(SETS)}
    x = np.random.default_rng(0).standard_normal((5, 19), dtype=np.float32)
    for name in SETS:
        layer = moekit.load_layer(tmp_path, 2, experts=name)
        other = moekit.load_layer(folder / "published", 2, experts=name)
        assert layer.config == other.config
        np.testing.assert_array_equal(layer(x), other(x))
    for field, value, message in (
            ("moe_layer_start_index", [1, 2], r"\[1, 2\] for text_moe and \[2\] for vision_moe, expected the same"),
            ("moe_intermediate_size", [11, 5, 3], "expected one for each of 2 expert sets"),
            ("moe_num_experts", [7, 8], r"gate.weight_1' has shape \[19, 7\], expected \[19, 8\]"),
            ("moe_gate_act", "sigmoid", "moe_gate_act is \"sigmoid\", known for family ernie4_5_vl_moe: \"softmax\""),
            ("moe_use_hard_gate", False, "moe_use_hard_gate is false, known"),
            ("moe_group_experts", True, "may change the routing")):
        write(**{field: value})
        with pytest.raises(moekit.CheckpointError, match=message):
            moekit.load_layer(tmp_path, 2)


@pytest.mark.parametrize("layout", ["single", "published"])
def test_every_tensor_of_both_sets_is_needed(folder, layout, tmp_path):
    """Whichever set is asked for, the block's tensors are accounted for: missing, extra and misshapen ones are named."""
    tensors = load_file(folder / layout / "model.safetensors")
    block = [name for name in tensors if ".1.mlp." in name]
    shutil.copy(folder / layout / "config.json", tmp_path)

    def refused(changed: dict, victim: str):
        save_file(changed, tmp_path / "model.safetensors")
        for name in SETS:
            with pytest.raises(moekit.CheckpointError, match=re.escape(victim)):
                moekit.load_layer(tmp_path, 1, experts=name)

    for victim in block:
        refused({name: value for name, value in tensors.items() if name != victim}, victim)
    for victim in (name for name in block if re.search(r"gate\.weight|bias|down_proj|\.13\.", name)):
        refused({**tensors, victim: np.zeros(tensors[victim].shape + (2,), np.float32)}, victim)
        refused({**tensors, victim + ".stray": np.zeros(3, np.float32)}, victim + ".stray")
    prefix = block[0][:block[0].index("mlp.")] + "mlp."
    extra = prefix + ("experts.14.up_proj.weight" if layout == "published" else "vision_moe.experts.0.up_proj.weight")
    refused({**tensors, extra: np.zeros((5, 19), np.float32)}, extra)


def test_one_bias_is_not_taken_for_both(folder, tmp_path):
    shutil.copy(folder / "published" / "config.json", tmp_path)
    tensors = load_file(folder / "published" / "model.safetensors")
    bias = next(name for name in tensors if ".1.mlp." in name and "bias" in name)
    save_file({**tensors, bias: tensors[bias][0]}, tmp_path / "model.safetensors")
    with pytest.raises(moekit.CheckpointError, match=r"has shape \[7\], expected \[2, 7\]"):
        moekit.load_layer(tmp_path, 1)


def test_unknown_sets(folder, written, tmp_path):  # noqa: F811
    moekit.convert(folder / "single", tmp_path)
    for path in (folder / "single", tmp_path):
        for call in (moekit.load_layer, lambda path, layer, experts: moekit._core.block_config(str(path), layer, experts)):
            with pytest.raises(moekit.CheckpointError, match="no expert set 'audio_moe'.* (has|are) text_moe, vision_moe"):
                call(path, 1, experts="audio_moe")
    with pytest.raises(moekit.CheckpointError, match="no expert set 'text_moe'.* has one, which has no name"):
        moekit.load_layer(written("qwen3_moe")[0] / "single", 3, experts="text_moe")


@pytest.mark.parametrize("dtype", ["auto", "int8"])
def test_converted_models_hold_both_sets(folder, dtype, tmp_path):
    seen = []
    model = moekit.convert(folder / "published", tmp_path / "out", dtype, progress=lambda *at: seen.append(at))
    assert [(e["layer"], e["experts"]) for e in model["layers"]] == [(i, name) for i in (1, 2) for name in SETS]
    assert seen == [(1, 2), (2, 2)]
    x = np.random.default_rng(1).standard_normal((9, 19), dtype=np.float32)
    for entry in model["layers"]:
        index, name = entry["layer"], entry["experts"]
        want = moekit.load_layer(folder / "published", index, dtype, experts=name)(x)
        for path in (tmp_path / "out", tmp_path / "out" / entry["file"]):
            np.testing.assert_array_equal(moekit.load_layer(path, index, experts=name)(x), want)
        alone = tmp_path / "out" / entry["file"]
        np.testing.assert_array_equal(moekit.load_layer(alone, index)(x), want)
        other = SETS[1 - SETS.index(name)]
        with pytest.raises(moekit.CheckpointError, match=f"no expert set '{other}': there is {name}"):
            moekit.load_layer(alone, index, experts=other)
    np.testing.assert_array_equal(moekit.load_layer(tmp_path / "out", 1)(x),
                                  moekit.load_layer(folder / "published", 1, dtype)(x))
    assert main(["verify", str(tmp_path / "out")]) == 0
    damaged = tmp_path / "out" / next(e["file"] for e in model["layers"] if e["experts"] == "vision_moe")
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    assert main(["verify", str(tmp_path / "out")]) == 3


@pytest.mark.parametrize("converted", [False, True])
def test_commands_tell_of_both_sets(folder, converted, tmp_path, capsys):
    path = folder / "published"
    if converted:
        moekit.convert(path, tmp_path / "out")
        path = tmp_path / "out"

    def facts(*args):
        assert main([*args, str(path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    inspected = facts("inspect")
    assert inspected["expert_sets"] == list(SETS)
    assert [each["experts"] for each in inspected["sets"]] == list(SETS)
    assert [each["config"]["expert"]["intermediate"] for each in inspected["sets"]] == [11, 5]
    assert [each["config"]["shared"]["expert"]["intermediate"] for each in inspected["sets"]] == [22, 22]
    assert inspected["config"] == inspected["sets"][0]["config"]
    if not converted:  # packed panels have padding
        assert inspected["experts_bytes"] == 2 * 4 * 3 * 19 * (7 * 11 + 7 * 5 + 22)  # shared experts once
    verified = facts("verify")
    assert [(row["layer"], row["experts"]) for row in verified["layers"]] == [(i, name) for i in (1, 2) for name in SETS]
    assert verified["agrees"]
    for command in ("inspect", "verify"):
        assert main([command, str(path)]) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in SETS)
