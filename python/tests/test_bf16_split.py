# SPDX-License-Identifier: Apache-2.0
"""`bf16_split=True` in every call that makes layers. What it switches on, the C++ tests hold on emulated instructions;
this host may lack them, and then layers say the same with it and without."""
from __future__ import annotations

import pickle

import numpy as np
import pytest

import moekit

SAYS = "three bfloat16 parts"


def splits() -> bool:
    return moekit._core.cpu()["usable_isas"][0] == "amx"


def test_calls_take_it_and_say_so(model_path):
    assert (SAYS in moekit.load_layer(model_path, 0, dtype="float32", bf16_split=True).explain()) == splits()
    assert SAYS not in moekit.load_layer(model_path, 0, dtype="float32").explain()
    assert SAYS not in moekit.load_layer(model_path, 0, dtype="float32", bf16_split=True, reproducible=True).explain()
    module = moekit.MoE(4, 64, 32, bf16_split=True)
    again = pickle.loads(pickle.dumps(module))
    assert SAYS not in moekit.MoE(4, 64, 32).explain()
    assert (SAYS in module.explain()) == (SAYS in again.explain()) == splits()
    x = np.random.default_rng(0).standard_normal((3, 64), dtype=np.float32)
    np.testing.assert_array_equal(again(x), module(x))
    config = {"router": {"num_experts": 2, "top_k": 1, "score": "softmax"},
              "expert": {"input": 64, "intermediate": 0, "output": 8, "act": "linear"}}
    tensors = {"router.weight": np.eye(2, 64, dtype=np.float32), "experts.down": np.ones((2, 8, 64), np.float32)}
    assert (SAYS in moekit.MoeLayer.from_arrays(config, tensors, bf16_split=True).explain()) == splits()
    assert SAYS not in moekit.MoeLayer.from_arrays(config, tensors).explain()


def test_other_backends_have_nothing_to_switch_on(model_path):
    x = np.random.default_rng(0).standard_normal((5, moekit.load_layer(model_path, 0).hidden_size), dtype=np.float32)
    layers = [moekit.load_layer(model_path, 0, dtype="float32", backend="reference", bf16_split=on) for on in (True, False)]
    np.testing.assert_array_equal(layers[0](x), layers[1](x))


def test_replace_moe(model_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import moekit.hf

    model = transformers.AutoModelForCausalLM.from_pretrained(model_path).eval()
    with torch.no_grad():
        layers = moekit.hf.replace_moe(model, dtype="float32", bf16_split=True)
        model(torch.arange(12).reshape(1, 12))
    assert layers and all((SAYS in layer.explain()) == splits() for layer in layers.values())
