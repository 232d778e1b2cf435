# SPDX-License-Identifier: Apache-2.0
"""`int8_activations=True` in every call that makes layers."""
from __future__ import annotations

import pickle

import numpy as np
import pytest
from conftest import nmse

import moekit

ROUNDED = "x rounded to int8 with a scale a row"


def arrays(rng, experts=4, hidden=64, inner=32):
    normal = lambda *shape: (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)  # noqa: E731
    config = {"router": {"num_experts": experts, "top_k": 2, "score": "softmax"},
              "expert": {"input": hidden, "intermediate": inner, "output": hidden, "act": "silu"}}
    return config, {"router.weight": normal(experts, hidden), "experts.gate": normal(experts, inner, hidden),
                    "experts.up": normal(experts, inner, hidden), "experts.down": normal(experts, hidden, inner)}


@pytest.mark.parametrize("dtype", ["int8", "int4", "mxfp4"])
def test_from_arrays(dtype):
    rng = np.random.default_rng(1)
    config, tensors = arrays(rng)
    make = lambda **options: moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype, **options)  # noqa: E731
    layer, oracle = make(int8_activations=True), make(int8_activations=True, backend="reference")
    assert ROUNDED in layer.explain() and ROUNDED in oracle.explain()
    assert ROUNDED not in make().explain()
    x = rng.standard_normal((17, 64)).astype(np.float32)
    assert nmse(layer(x), oracle(x)) < 1e-6
    assert 1e-6 < nmse(layer(x), make()(x)) < 1e-3
    np.testing.assert_array_equal(layer(x[5:6]), layer(x)[5:6])


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "fp8"])
def test_other_weights_are_refused(dtype):
    config, tensors = arrays(np.random.default_rng(2))
    with pytest.raises(moekit.UnsupportedError, match="int8 activations meet int8, 4 bit integer and fp4 weights"):
        moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype, int8_activations=True)


def test_load_layer(model_path):
    layer = moekit.load_layer(model_path, 0, dtype="int8", int8_activations=True)
    exact = moekit.load_layer(model_path, 0, dtype="int8")
    assert ROUNDED in layer.explain()
    x = np.random.default_rng(3).standard_normal((5, layer.hidden_size)).astype(np.float32)
    assert 1e-6 < nmse(layer(x), exact(x)) < 1e-2


def test_moe_keeps_it():
    module = moekit.MoE(4, 32, 8, dtype="int8", int8_activations=True)
    x = np.random.default_rng(4).standard_normal((3, 32)).astype(np.float32)
    again = pickle.loads(pickle.dumps(module))
    for each in (module, again):
        assert ROUNDED in each.explain()
    np.testing.assert_array_equal(again(x), module(x))


def test_replace_moe(model_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import moekit.hf

    model = transformers.AutoModelForCausalLM.from_pretrained(model_path).eval()
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        before = model(tokens).logits
        layers = moekit.hf.replace_moe(model, dtype="int8", int8_activations=True)
        after = model(tokens).logits
    assert layers and all(ROUNDED in layer.explain() for layer in layers.values())
    assert nmse(after, before) < 1e-2
