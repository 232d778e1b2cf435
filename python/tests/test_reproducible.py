# SPDX-License-Identifier: Apache-2.0
"""`reproducible=True` in every call that makes layers. That the bits are those of every processor, the C++ tests hold
against hashes; here every instruction set of this machine computes them in a process of its own."""
from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import moekit

SAYS = "reproducible: the same bits"
HASHES = """
import hashlib, json, sys
import numpy as np
import moekit

path, packed, reproducible = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
seen = {}
for dtype in ("auto", "float32", "bfloat16", "int8", "int4", "fp8", "mxfp4"):
    layer = moekit.load_layer(path, 0, dtype=dtype, reproducible=reproducible)
    digest = hashlib.sha256()
    for tokens in (1, 33):
        x = np.cos(np.arange(tokens * layer.hidden_size)).astype(np.float32).reshape(tokens, -1).round(3)
        y, routing = layer(x, return_routing=True)
        for array in (y, routing.expert_ids, routing.weights):
            digest.update(array.tobytes())
    seen[dtype] = digest.hexdigest()
    if dtype == "auto":
        other = moekit.load_layer(packed, 0, reproducible=reproducible)
        np.testing.assert_array_equal(other(x), y)
print(json.dumps(seen))
"""


def hashes(model_path, packed, isa, reproducible):
    run = subprocess.run([sys.executable, "-c", HASHES, str(model_path), str(packed), str(int(reproducible))],
                         env={**os.environ, "MOEKIT_ISA": isa}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_instruction_set(model_path, tmp_path):
    packed = tmp_path / "packed"
    moekit.convert(model_path, packed)
    isas = moekit._core.cpu()["usable_isas"]
    assert isas
    seen = {isa: hashes(model_path, packed, isa, True) for isa in isas}
    assert all(each == seen[isas[0]] for each in seen.values()), seen
    if os.uname().machine == "x86_64":  # generic kernels round products there
        assert hashes(model_path, packed, "generic", False) != seen[isas[0]]


def test_calls_take_it_and_say_so(model_path):
    layer = moekit.load_layer(model_path, 0, reproducible=True)
    assert SAYS in layer.explain()
    assert SAYS not in moekit.load_layer(model_path, 0).explain()
    module = moekit.MoE(4, 32, 8, reproducible=True)
    again = pickle.loads(pickle.dumps(module))
    assert SAYS in module.explain() and SAYS in again.explain()
    x = np.ones((3, 32), np.float32)
    np.testing.assert_array_equal(again(x), module(x))
    config = {"router": {"num_experts": 2, "top_k": 1, "score": "softmax"},
              "expert": {"input": 8, "intermediate": 0, "output": 8, "act": "linear"}}
    tensors = {"router.weight": np.eye(2, 8, dtype=np.float32), "experts.down": np.ones((2, 8, 8), np.float32)}
    assert SAYS in moekit.MoeLayer.from_arrays(config, tensors, reproducible=True).explain()


def test_other_backends_decline(model_path):
    with pytest.raises(moekit.UnsupportedError, match="reproducible layers run on the cpu backend"):
        moekit.load_layer(model_path, 0, backend="reference", reproducible=True)


def test_replace_moe(model_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    import moekit.hf

    model = transformers.AutoModelForCausalLM.from_pretrained(model_path).eval()
    with torch.no_grad():
        layers = moekit.hf.replace_moe(model, reproducible=True)
        model(torch.arange(12).reshape(1, 12))
    assert layers and all(SAYS in layer.explain() for layer in layers.values())
