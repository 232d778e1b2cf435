# SPDX-License-Identifier: Apache-2.0
"""Layers from arrays and from a checkpoint: routing in and out, configuration, errors, what notebooks show."""
import copy
import json
import pickle

import ml_dtypes
import numpy as np
import pytest
import torch
from conftest import nmse

import moekit

CONFIG = {"router": {"num_experts": 6, "top_k": 2, "score": "softmax", "renorm": "add_eps"},
          "expert": {"input": 12, "intermediate": 7, "output": 12, "act": "silu"}}


def tensors(config=CONFIG, seed=0, dtype=np.float32):
    random, expert, count = np.random.default_rng(seed), config["expert"], config["router"]["num_experts"]
    hidden, inner = expert["input"], expert["intermediate"]
    return {"router.weight": random.standard_normal((count, hidden)).astype(dtype),
            "experts.gate": random.standard_normal((count, inner, hidden)).astype(dtype),
            "experts.up": random.standard_normal((count, inner, hidden)).astype(dtype),
            "experts.down": random.standard_normal((count, expert["output"], inner)).astype(dtype)}


def formula(x, w, k):
    x = x.astype(float)
    z = x @ w["router.weight"].T.astype(float)
    s = np.exp(z - z.max(-1, keepdims=True))
    s /= s.sum(-1, keepdims=True)
    ids = np.argsort(-s, axis=-1, kind="stable")[:, :k]
    weights = np.take_along_axis(s, ids, -1)
    weights /= weights.sum(-1, keepdims=True)
    y = np.zeros((len(x), w["experts.down"].shape[1]))
    for t, row in enumerate(x):
        for e, g in zip(ids[t], weights[t]):
            a, u = w["experts.gate"][e].astype(float) @ row, w["experts.up"][e].astype(float) @ row
            y[t] += g * (w["experts.down"][e].astype(float) @ (a / (1 + np.exp(-a)) * u))
    return y, ids, weights


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_block_from_arrays(backend):
    w, x = tensors(), np.random.default_rng(1).standard_normal((9, 12)).astype(np.float32)
    layer = moekit.MoeLayer.from_arrays(CONFIG, w, backend=backend)
    y, routing = layer(x, return_routing=True)
    expected, ids, weights = formula(x, w, 2)
    assert nmse(y, expected) <= 1e-10
    assert np.array_equal(routing.expert_ids, ids) and routing.expert_ids.dtype == np.int32
    np.testing.assert_allclose(routing.weights, weights, rtol=1e-5)
    assert routing.weights.dtype == np.float32 and np.array_equal(layer(x), y)


def test_stacked_and_single_names_are_the_same():
    w = tensors()
    single = {"router.weight": w["router.weight"]}
    for part in ("gate", "up", "down"):
        for e in range(6):
            single[f"experts.{e}.{part}"] = torch.from_numpy(w[f"experts.{part}"])[e]
    x = np.random.default_rng(1).standard_normal((5, 12)).astype(np.float32)
    assert np.array_equal(moekit.MoeLayer.from_arrays(CONFIG, single)(x), moekit.MoeLayer.from_arrays(CONFIG, w)(x))
    strided = {k: np.asfortranarray(v) for k, v in w.items()}
    assert np.array_equal(moekit.MoeLayer.from_arrays(CONFIG, strided)(x), moekit.MoeLayer.from_arrays(CONFIG, w)(x))


def test_config_round_trip():
    layer = moekit.MoeLayer.from_arrays(CONFIG, tensors())
    config = layer.config
    assert config["router"]["renorm"] == "add_eps" and config["router"]["mask_fill"] == -np.inf
    assert moekit.MoeLayer.from_arrays(config, tensors()).config == config


@pytest.mark.parametrize("path, value, message", [
    (("router", "score"), "softest", "router.score is 'softest', not one of softmax, sigmoid"),
    (("router", "top_k"), 7, "top_k"), (("router", "top_k"), "two", "router.top_k is 'two', expected an integer"),
    (("router", "top_k"), 1.5, "router.top_k is 1.5"), (("router", "topk"), 2, "unknown field 'router.topk'"),
    (("router", "num_experts"), 0, "num_experts"), (("router", "num_experts"), -1, "num_experts"),
    (("expert", "input"), 1 << 62, "input"), (("expert",), 3, "expert is not a dict"), (("experts",), {}, "unknown field"),
])
def test_config_errors_name_the_field(path, value, message):
    config = copy.deepcopy(CONFIG)
    (config[path[0]] if len(path) > 1 else config)[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        moekit.MoeLayer.from_arrays(config, tensors())


@pytest.mark.parametrize("change, message", [
    (lambda w: w.pop("experts.up"), "up"), (lambda w: w.pop("router.weight"), "router|weight"),
    (lambda w: w.__setitem__("experts.extra", np.zeros(3, np.float32)), "experts.extra"),
    (lambda w: w.__setitem__("experts.6.up", np.zeros((7, 12), np.float32)), "experts.6.up"),
    (lambda w: w.__setitem__("experts.down", w["experts.down"][:5]), "5"),
    (lambda w: w.__setitem__("experts.down", w["experts.down"][:, :, :6]), "down"),
    (lambda w: w.__setitem__("router.weight", w["router.weight"][0]), "router.weight"),
])
def test_tensor_errors_are_checkpoint_errors(change, message):
    w = tensors()
    change(w)
    with pytest.raises(moekit.CheckpointError, match=message) as info:
        moekit.MoeLayer.from_arrays(CONFIG, w)
    assert isinstance(info.value, ValueError)


def test_routing_from_the_caller():
    config = copy.deepcopy(CONFIG)
    config["router"]["source"] = "external"
    w = tensors()
    del w["router.weight"]
    layer = moekit.MoeLayer.from_arrays(config, w)
    x = np.random.default_rng(1).standard_normal((5, 12)).astype(np.float32)
    _, routing = moekit.MoeLayer.from_arrays(CONFIG, tensors())(x, return_routing=True)
    expected = moekit.MoeLayer.from_arrays(CONFIG, tensors())(x)
    for ids in (routing.expert_ids, routing.expert_ids.astype(np.int64), torch.from_numpy(routing.expert_ids)):
        assert np.array_equal(layer(x, expert_ids=ids, weights=routing.weights), expected)
    skipped = routing.expert_ids.copy()
    skipped[2] = -1
    assert not layer(x, expert_ids=skipped, weights=routing.weights)[2].any()
    for bad, message in ((6, "6"), (-2, "-2"), (2**31 - 1, "2147483647"), (2**32, "4294967296")):
        ids = routing.expert_ids.astype(np.int64)
        ids[3, 1] = bad
        with pytest.raises(ValueError, match=rf" {message} at row 3, column 1"):
            layer(x, expert_ids=ids, weights=routing.weights)
    with pytest.raises(ValueError, match=r"expert_ids has shape \[4, 2\], expected \[5, 2\]"):
        layer(x, expert_ids=routing.expert_ids[:4], weights=routing.weights)
    with pytest.raises(TypeError, match="expert_ids has dtype float32"):
        layer(x, expert_ids=routing.weights, weights=routing.weights)
    with pytest.raises(ValueError):
        layer(x)
    assert np.array_equal(layer(x, expert_ids=routing.expert_ids, weights=routing.weights), expected)


def test_hash_layer_takes_token_ids():
    config = copy.deepcopy(CONFIG)
    config["router"]["source"] = "hash_table"
    table = np.random.default_rng(2).permuted(np.tile(np.arange(6), (11, 1)), axis=1)[:, :2]
    layer = moekit.MoeLayer.from_arrays(config, {**tensors(), "router.tid2eid": table})
    x = np.random.default_rng(1).standard_normal((2, 3, 12)).astype(np.float32)
    tokens = np.array([[0, 5, 10], [3, 3, 1]])
    _, routing = layer(x, return_routing=True, token_ids=tokens)
    assert np.array_equal(routing.expert_ids, table[tokens.ravel()])
    with pytest.raises(ValueError, match="11"):
        layer(x, token_ids=np.array([[0, 5, 10], [3, 11, 1]]))
    with pytest.raises(ValueError, match="expected 6 values"):
        layer(x, token_ids=tokens[0])


@pytest.mark.parametrize("kind", ["numpy", "ml_dtypes", "torch", "torch bfloat16"])
def test_checkpoint_layer_keeps_kind_and_shape(model_path, kind):
    layer = moekit.load_layer(model_path, 1)
    x = np.random.default_rng(0).standard_normal((2, 3, layer.hidden_size)).astype(ml_dtypes.bfloat16)
    x = {"numpy": lambda: x.astype(np.float32), "ml_dtypes": lambda: x,
         "torch": lambda: torch.from_numpy(x.astype(np.float32)),
         "torch bfloat16": lambda: torch.from_numpy(x.astype(np.float32)).bfloat16()}[kind]()
    y, routing = layer(x, return_routing=True)
    assert type(y) is type(x) and y.dtype == x.dtype and y.shape == x.shape
    assert type(routing.expert_ids) is type(x) and tuple(routing.expert_ids.shape) == (6, 4)
    assert str(routing.expert_ids.dtype).endswith("int32") and str(routing.weights.dtype).endswith("float32")
    wide = lambda a: np.asarray(a.float() if isinstance(a, torch.Tensor) else a, dtype=np.float32)  # noqa: E731
    reference = moekit.load_layer(model_path, 1, backend="reference")(wide(x))
    # bfloat16 results carry their own rounding: 2^-18 / 3 = 1.3e-6 of the squares.
    assert nmse(wide(y), reference) <= 1e-5


def test_batch_invariance_from_python(model_path):
    layer = moekit.load_layer(model_path, 0)
    x = np.random.default_rng(0).standard_normal((40, layer.hidden_size)).astype(np.float32)
    whole = layer(x)
    for rows in ([3], [39, 0, 7], list(range(17))):
        assert np.array_equal(layer(x[rows]), whole[rows])


def test_what_notebooks_show(model_path):
    layer = moekit.load_layer(model_path, 0)
    assert repr(layer) == (f"MoeLayer(qwen3_moe: 16 experts, top 4, 128 -> 64 -> 128, bfloat16 on {layer.backend}, "
                           f"{layer.nbytes / 2**20:.1f} MiB)")
    page = layer._repr_html_()
    for part in ("qwen3_moe", "bfloat16", layer.backend, "softmax over 16, top 4", "MiB", "<table>"):
        assert part in page
    assert layer.backend in layer.explain() and layer.family == "qwen3_moe"


def test_load_layer_errors(model_path, tmp_path):
    with pytest.raises(moekit.CheckpointError):
        moekit.load_layer(tmp_path, 0)
    with pytest.raises(ValueError, match="4"):
        moekit.load_layer(model_path, 4)
    with pytest.raises(ValueError, match="int3"):
        moekit.load_layer(model_path, 0, dtype="int3")
    with pytest.raises((moekit.UnsupportedError, moekit.DeviceError)):
        moekit.load_layer(model_path, 0, device="cuda")
    with pytest.raises(ValueError, match="gpu"):
        moekit.load_layer(model_path, 0, device="gpu")
    with pytest.raises(ValueError, match="best"):
        moekit.load_layer(model_path, 0, backend="best")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobody"}))
    with pytest.raises(moekit.CheckpointError, match="nobody"):
        moekit.load_layer(str(tmp_path), 0)
    for error in (moekit.CheckpointError, moekit.UnsupportedError, moekit.DeviceError):
        assert error.__module__ == "moekit"
    with pytest.raises(TypeError, match="load_layer"):
        moekit.MoeLayer()


def test_dense_module_state_and_seed():
    a, b = moekit.MoE(3, 5, 2, seed=7), moekit.MoE(3, 5, 2, seed=7)
    x = np.ones((2, 5), np.float32)
    assert np.array_equal(a(x), b(x)) and not np.array_equal(a(x), moekit.MoE(3, 5, 2, seed=8)(x))
    assert list(a.state_dict())[:2] == ["experts.0.weight", "experts.0.bias"]
    assert all(np.abs(v).max() <= 5**-0.5 for v in a.state_dict().values())
    twin = pickle.loads(pickle.dumps(a))
    assert np.array_equal(twin(x), a(x))
    state = {k: v * 2 for k, v in a.state_dict().items()}
    before = a(x)
    for spoilt, message in (({k: v for k, v in state.items() if k != "gate.bias"}, "lacks gate.bias"),
                            ({**state, "more": x}, "unexpected more"),
                            ({**state, "experts.1.bias": np.zeros(3, np.float32)}, r"experts.1.bias has shape \[3\]")):
        with pytest.raises(ValueError, match=message):
            a.load_state_dict(spoilt)
        assert np.array_equal(a(x), before)
    with pytest.raises(TypeError, match="gate.weight has dtype float64|all parameters"):
        a.load_state_dict({**state, "gate.weight": state["gate.weight"].astype(float)})
    a.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    assert not np.array_equal(a(x), before) and np.array_equal(b(x), before)
    state["gate.weight"][:] = 0  # a copy was taken
    assert np.array_equal(a.state_dict()["gate.weight"], b.state_dict()["gate.weight"] * 2)


def test_dense_module_from_torch_and_bfloat16(plain):
    x = torch.randn(4, 10)
    with torch.no_grad():
        torch.testing.assert_close(moekit.MoE.from_torch(plain)(x), plain(x))
        short = moekit.MoE.from_torch(plain.bfloat16())
        assert short.dtype == "bfloat16" and nmse(short(x), copy.deepcopy(plain).double()(x.double())) <= 2e-5
    assert moekit.MoE(2, 3, 4, dtype="bfloat16").state_dict()["gate.bias"].dtype == ml_dtypes.bfloat16
    for arguments in ((0, 1, 1), (1, 2.5, 1), (1, 1, -1)):
        with pytest.raises(ValueError):
            moekit.MoE(*arguments)
    with pytest.raises(ValueError, match="float16"):
        moekit.MoE(1, 1, 1, dtype="float16")
