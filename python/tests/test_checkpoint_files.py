# SPDX-License-Identifier: Apache-2.0
"""Files written by safetensors itself, and files spoilt in ways that only a whole library can show."""
from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import moekit

safetensors_numpy = pytest.importorskip("safetensors.numpy")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

CONFIG = {
    "model_type": "qwen3_moe", "hidden_size": 6, "num_hidden_layers": 1, "moe_intermediate_size": 5,
    "num_experts": 3, "num_experts_per_tok": 2, "norm_topk_prob": True, "hidden_act": "silu",
}


def block(dtype=np.float32) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    prefix = "model.layers.0.mlp."
    tensors = {prefix + "gate.weight": random.standard_normal((3, 6))}
    for expert in range(3):
        for name, shape in (("gate_proj", (5, 6)), ("up_proj", (5, 6)), ("down_proj", (6, 5))):
            tensors[f"{prefix}experts.{expert}.{name}.weight"] = random.standard_normal(shape)
    return {name: value.astype(dtype) for name, value in tensors.items()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    safetensors_numpy.save_file(block(), tmp_path / "model.safetensors")
    return tmp_path


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"]),
              st.lists(st.integers(0, 4), max_size=4)), max_size=8))
def test_reads_the_header_that_safetensors_writes(tmp_path_factory, entries):
    file = tmp_path_factory.mktemp("any") / "x.safetensors"
    safetensors_numpy.save_file({name: np.zeros(shape, dtype) for name, (dtype, shape) in entries.items()}, file)
    seen = moekit._core.tensors(str(file))
    expected = {name: (np.dtype(dtype).name, shape, int(np.dtype(dtype).itemsize * np.prod(shape)))
                for name, (dtype, shape) in entries.items()}
    assert {name: (dtype, list(shape), size) for name, (dtype, shape, size) in seen.items()} == expected


def test_float16_and_float32_weights_agree(folder, tmp_path_factory):
    half = tmp_path_factory.mktemp("half")
    (half / "config.json").write_text(json.dumps(CONFIG))
    safetensors_numpy.save_file(block(np.float16), half / "model.safetensors")
    widened = {name: value.astype(np.float32) for name, value in block(np.float16).items()}
    safetensors_numpy.save_file(widened, folder / "model.safetensors")
    x = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    np.testing.assert_array_equal(moekit.load_layer(half, 0)(x), moekit.load_layer(folder, 0)(x))


def test_checkpoint_error_is_a_value_error(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="model.safetensors") as error:
        moekit.load_layer(folder, 0)
    assert isinstance(error.value, moekit.CheckpointError)


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1, 100_000_001])
def test_lying_header_lengths(folder, length):
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])
    with pytest.raises(moekit.CheckpointError):
        moekit.load_layer(folder, 0)


def test_control_characters_of_names_are_escaped(tmp_path):
    file = tmp_path / "x.safetensors"
    header = b'{"\\u001b[31mred":{"dtype":"F4","shape":[0],"data_offsets":[0,0]}}'
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(moekit.CheckpointError, match="F4") as error:
        moekit._core.tensors(str(file))
    assert r"\x1b[31mred" in str(error.value) and "\x1b" not in str(error.value)


def test_bytes_that_are_no_utf8_can_be_told(tmp_path):
    file = tmp_path / "x.safetensors"
    header = b'{"\xff":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(moekit.CheckpointError, match="not valid JSON"):
        moekit._core.tensors(str(file))


def test_config_is_read_beside_a_single_file(folder):
    x = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(moekit.load_layer(folder / "model.safetensors", 0)(x),
                                  moekit.load_layer(folder, 0)(x))
