# SPDX-License-Identifier: Apache-2.0
"""The trained byte models of examples/models: held-out bits per byte through moekit and through transformers."""

import json
import math
import pathlib

import numpy as np
import pytest

import moekit
from moekit.examples import numpy_lm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODELS = pathlib.Path(numpy_lm.__file__).parent / "models"
WINDOW = 256
# Eight windows of the excerpt: the reference backend is meant to be exact, not fast.
PART = 8 * WINDOW


def moekit_layers(**options):
    return lambda path, index: moekit.load_layer(path, index, **options)


def transformers_bits_per_byte(path, data):
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    windows = torch.tensor(list(data)).view(-1, WINDOW)
    with torch.no_grad():
        log_p = model(windows).logits[:, :-1].double().log_softmax(-1)
    picked = log_p.gather(-1, windows[:, 1:, None])
    return -picked.mean().item() / math.log(2)


@pytest.fixture(params=["qwen3_moe_bytes", "deepseek_v3_bytes"])
def model(request):
    path = MODELS / request.param
    record = json.loads((path / "training.json").read_text())
    return path, record, (path / "heldout.txt").read_bytes()


def test_bits_per_byte_agree_with_transformers_and_with_the_record(model):
    path, record, heldout = model
    ours = numpy_lm.bits_per_byte(numpy_lm.NumpyLM(path, moekit_layers(dtype="float32")), heldout, WINDOW)
    theirs = transformers_bits_per_byte(path, heldout)
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours == pytest.approx(record["heldout_excerpt_bits_per_byte"], rel=1e-4)
    assert ours < 1.8  # a model that learnt nothing needs 8, the bytes' own frequencies about 4.6


def test_bfloat16_costs_little(model):
    path, record, heldout = model
    ours = numpy_lm.bits_per_byte(numpy_lm.NumpyLM(path, moekit_layers()), heldout, WINDOW)
    # Activations rounded to bfloat16 carry 2^-9 relative error; the loss moves in the third digit at most.
    assert ours == pytest.approx(record["heldout_excerpt_bits_per_byte"], rel=5e-3)


def test_backends_agree(model):
    path, _, heldout = model
    bits = [
        numpy_lm.bits_per_byte(numpy_lm.NumpyLM(path, moekit_layers(dtype="float32", backend=backend)),
                               heldout[:PART], WINDOW)
        for backend in ("cpu", "reference")
    ]
    assert bits[0] == pytest.approx(bits[1], rel=1e-6)


def test_greedy_text_is_that_of_transformers(model):
    path, _, heldout = model
    prompt = heldout[:64]
    reference = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        ids = reference.generate(torch.tensor([list(prompt)]), max_new_tokens=96, do_sample=False)
    expected = bytes(ids[0, len(prompt):].tolist())
    text = numpy_lm.NumpyLM(path, moekit_layers(dtype="float32")).generate(prompt, 96, temperature=0.0)
    assert text == expected
    assert len(np.unique(np.frombuffer(text, np.uint8))) > 5  # text, not one byte repeated
