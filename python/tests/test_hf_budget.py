# SPDX-License-Identifier: Apache-2.0
"""moekit.hf.replace_moe(model, path=..., memory_budget=...): models whose experts exceed a budget."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
from hf_models import blocks_of, fresh_counters, tiny, tokens  # noqa: E402,F401
from moekit import budget  # noqa: E402
from moekit.layer import MemoryNeeds  # noqa: E402

SIZES = dict(hidden_size=64, moe_intermediate_size=64, intermediate_size=64, num_experts=8, num_local_experts=8,
             decoder_sparse_step=1, mlp_only_layers=[])


def convert(model, folder, dtype="auto"):
    model.save_pretrained(folder / "plain")
    moekit.convert(folder / "plain", folder / "converted", dtype)
    return folder / "converted"


def share_of(layers, share: float) -> int:
    """A budget for this share of each layer's experts."""
    needs = [layer.memory_needs for layer in layers.values()]
    return budget.for_slots(needs, max(1, int(share * needs[0].experts)))


@pytest.mark.parametrize("dtype", ["auto", "int4"])
@pytest.mark.parametrize("case", ["qwen3_moe", "qwen2_moe", "deepseek_v3", "gpt_oss"])
@torch.no_grad()
def test_the_bits_of_the_whole_model(case, dtype, tmp_path):
    """Plain and quantised, with shared experts (qwen2_moe, deepseek_v3) and with biases (gpt_oss)."""
    model, x = tiny(case, **SIZES), tokens()
    state, plain = {name: t.clone() for name, t in model.state_dict().items()}, model(x).logits
    path = convert(model, tmp_path, dtype)
    layers = hf.replace_moe(model, path=path)
    want, memory = model(x).logits, hf.memory(model)
    assert memory.resident_nbytes == memory.nbytes and memory[2:] == (0, 0, 0)

    given, experts = share_of(layers, 0.25), next(iter(layers.values())).memory_needs.experts
    layers = hf.replace_moe(model, path=path, memory_budget=given)
    assert {layer.cache_counts.slots for layer in layers.values()} == {experts // 4}
    for _ in range(2):
        assert torch.equal(model(x).logits, want)
    after = hf.memory(model)
    assert after.slots == len(layers) * (experts // 4) and after.loads > after.slots
    assert after[2:] == tuple(map(sum, zip(*(layer.cache_counts for layer in layers.values()))))
    # What the budget is for, beside routers, which stay in memory.
    needs = [layer.memory_needs for layer in layers.values()]
    routers = memory.nbytes - sum(n.all for n in needs)
    assert after.nbytes == memory.nbytes and after.resident_nbytes <= given + routers + 64 * len(layers)
    assert hf.calls() == {"moekit block": 3 * len(layers)}
    if dtype == "auto":
        assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
        hf.restore(model)
        assert torch.equal(model(x).logits, plain)
        assert hf.memory(model) == (0, 0, 0, 0, 0)


@torch.no_grad()
def test_generate(tmp_path):
    model, x = tiny("qwen3_moe", **SIZES), tokens(2, 5)
    path = convert(model, tmp_path)
    layers = hf.replace_moe(model, path=path)
    how = dict(attention_mask=torch.ones_like(x), do_sample=False, max_new_tokens=12, min_new_tokens=12)
    want = model.generate(x, **how)
    hf.replace_moe(model, path=path, memory_budget=share_of(layers, 0.5))
    assert torch.equal(model.generate(x, **how), want) and hf.memory(model).hits > 0


@torch.no_grad()
def test_budgets_that_cannot_be_kept(tmp_path):
    model, x = tiny("qwen2_moe", **SIZES), tokens()
    path = convert(model, tmp_path)
    want, names = model(x).logits, {name: p.device.type for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match="need at least") as told:
        hf.replace_moe(model, path=path, memory_budget=1)
    least = int(str(told.value).split("at least ")[1].split()[0])
    with pytest.raises(ValueError, match=f"{least - 1} bytes .* need at least {least} "):
        hf.replace_moe(model, path=path, memory_budget=least - 1)
    with pytest.raises(moekit.UnsupportedError, match="moekit convert CHECKPOINT FOLDER"):
        hf.replace_moe(model, memory_budget=1 << 20)
    with pytest.raises(moekit.UnsupportedError, match="moekit convert CHECKPOINT FOLDER"):
        hf.replace_moe(model, path=tmp_path / "plain", memory_budget=1 << 20)
    with pytest.raises(ValueError, match="memory_budget is -1"):
        hf.replace_moe(model, path=path, memory_budget=-1)
    with pytest.raises(TypeError):
        hf.replace_moe(model, path=path, memory_budget=2e9)
    # Nothing was replaced.
    assert torch.equal(model(x).logits, want) and hf.calls() == {}
    assert {name: p.device.type for name, p in model.named_parameters()} == names
    layers = hf.replace_moe(model, path=path, memory_budget=least)
    assert {layer.cache_counts.slots for layer in layers.values()} == {1}
    everything = sum(layer.memory_needs.all for layer in layers.values())
    assert hf.replace_moe(model, path=path, memory_budget=everything) and hf.memory(model).slots == 0
    hf.replace_moe(model, path=path, memory_budget=everything - 1)
    assert hf.memory(model).slots > 0


@torch.no_grad()
def test_a_call_that_moekit_leaves_to_transformers_does_not_fill_the_memory(tmp_path):
    model, x = tiny("qwen3_moe", **SIZES), tokens()
    path = convert(model, tmp_path)
    layers = hf.replace_moe(model, path=path)
    want = model(x).logits
    hf.replace_moe(model, path=path, memory_budget=share_of(layers, 0.25))
    with torch.enable_grad(), pytest.raises(moekit.UnsupportedError, match="gradients are enabled .* memory_budget"):
        model(x)
    assert all(p.is_meta for block in blocks_of(model) for p in block.experts.parameters())
    assert torch.equal(model(x).logits, want)


@pytest.mark.parametrize("needs,slots", [
    ([MemoryNeeds(8, 640, 0, 5120)] * 3, 2), ([MemoryNeeds(8, 640, 100, 5220), MemoryNeeds(8, 1280, 64, 10304)], 3),
    ([MemoryNeeds(7, 640, 9, 4489), MemoryNeeds(60, 128, 0, 7680), MemoryNeeds(5, 64, 0, 320)], 3)])
def test_budgets_are_divided(needs, slots):
    def held(given):
        return [min(n.experts, (share - n.always) // n.expert) for n, share in zip(needs, budget.divide(needs, given))]
    given = budget.for_slots(needs, slots)
    assert sum(budget.divide(needs, given)) <= given
    enough = [min(n.experts, slots) for n in needs]
    assert all(h >= e for h, e in zip(held(given), enough)) and not all(h >= e for h, e in zip(held(given - 1), enough))
    everything = sum(n.all for n in needs)
    assert all(share >= n.all for n, share in zip(needs, budget.divide(needs, everything)))


@pytest.mark.parametrize("case", ["qwen3_moe", "qwen2_moe", "gpt_oss", "mixtral"])
@torch.no_grad()
def test_models_that_are_loaded_without_their_experts(case, tmp_path, capfd):
    path, x = convert(tiny(case, **SIZES), tmp_path), tokens()
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    state = {name: t.clone() for name, t in model.state_dict().items()}
    layers = hf.replace_moe(model, path=path)
    want, given = model(x).logits, share_of(layers, 0.25)
    config = hf.MoekitConfig(path=path, memory_budget=given)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=config)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    assert torch.equal(loaded(x).logits, want) and hf.memory(loaded).slots == 2 * len(layers)
    assert not hasattr(loaded.config, "quantization_config") and not getattr(loaded, "is_quantized", False)
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(t, state[name]) for name, t in loaded.state_dict().items())
    hf.restore(loaded)
    hf.restore(model)
    assert torch.equal(loaded(x).logits, model(x).logits)
    with pytest.raises(moekit.UnsupportedError, match="moekit convert CHECKPOINT FOLDER"):
        transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "plain", quantization_config=hf.MoekitConfig(path=tmp_path / "plain"))


MEMORY = r"""
import re, sys
import torch, transformers
import moekit.hf as hf

def resident():
    return [int(value) * 1024 for value in re.findall(r"Rss(?:Anon|File):\s+(\d+)", open("/proc/self/status").read())]

torch.set_grad_enabled(False)
plain, converted, given = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype="auto")
experts = sum(p.nbytes for name, p in model.named_parameters() if ".experts." in name)
x = torch.arange(12)[None]
def generate():
    model.generate(x, attention_mask=torch.ones_like(x), do_sample=False, max_new_tokens=8, min_new_tokens=8)
generate()  # what it imports and keeps is there before
before = resident()
hf.replace_moe(model, path=converted, memory_budget=given)
for _ in range(3):
    generate()
after, memory = resident(), hf.memory(model)
print(experts, sum(before) - sum(after), after[1] - before[1], memory.loads > memory.slots > 0)
"""


def test_memory_of_the_process_keeps_to_it(tmp_path):
    """The model's own experts are given back to the system; what comes is the budget, and nothing is mapped."""
    model = tiny("qwen3_moe", **{**SIZES, "hidden_size": 256, "moe_intermediate_size": 256, "num_experts": 64})  # 200 MB
    path = convert(model, tmp_path)
    layers = hf.replace_moe(model, path=path)
    given = share_of(layers, 0.25)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path / "plain"), str(path), str(given)],
                          capture_output=True, text=True, check=False,
                          # glibc keeps what is freed below a threshold that grows up to 32 MiB unless it is given
                          env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)})
    assert done.returncode == 0, done.stderr
    experts, freed, mapped, streamed = done.stdout.split()
    slack = 32 << 20  # code pages and scratch of moekit's first calls
    assert streamed == "True" and int(freed) >= int(experts) - given - slack and int(mapped) <= slack
