# SPDX-License-Identifier: Apache-2.0
"""moekit.hf.replace_moe(model, path=...): blocks from files at their published width, in models that transformers
dequantised."""
from __future__ import annotations

import json
import re

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
import quant_schemes  # noqa: E402
from hf_models import blocks_of, error, float32_kernels, fresh_counters, tiny, tokens  # noqa: E402,F401
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers.quantizers import quantizer_finegrained_fp8  # noqa: E402

SIZES = dict(hidden_size=64, moe_intermediate_size=48, intermediate_size=48)
EXPERT = re.compile(r".*\.(experts\.\d+|shared_experts?)\.(\w+)\.weight")


def publish(model, folder, scheme=quant_schemes.fp8_block((16, 16)), shared: bool = True):
    """What a publisher of FP8 does: expert matrices quantised, the configuration says so."""
    model.save_pretrained(folder)
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        found = EXPERT.fullmatch(name)
        if found and (shared or not found[1].startswith("shared")):
            suffixes, _ = scheme(tensor.float())
            tensors.update({name[: -len("weight")] + suffix: value for suffix, value in suffixes.items()})
        else:
            tensors[name] = tensor
    assert len(tensors) > len(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    plain = sorted({name[: -len(".weight")] for name in tensors if name.endswith(".weight")
                    and name + "_scale_inv" not in tensors})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [16, 16],
                                     "activation_scheme": "dynamic", "modules_to_not_convert": plain}
    (folder / "config.json").write_text(json.dumps(config))


def load(folder, dtype=torch.float32):
    """On a host without kernels for it transformers dequantises."""
    config = transformers.FineGrainedFP8Config(dequantize=True)
    with pytest.MonkeyPatch.context() as patch:
        # transformers asks for accelerate before it loads FP8, which dequantising does not use.
        patch.setattr(quantizer_finegrained_fp8, "is_accelerate_available", lambda: True)
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, quantization_config=config).eval()


def bytes_of(model) -> int:
    return sum(p.untyped_storage().nbytes() for p in model.parameters() if not p.is_meta)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("case", ["qwen3_moe", "deepseek_v3", "minimax_m2", "qwen2_moe"])
@torch.no_grad()
def test_published_fp8(case, shared, tmp_path, float32_kernels):
    publish(tiny(case, **SIZES), tmp_path, shared=shared)
    model, x = load(tmp_path), tokens()
    want, state = model(x).logits, {name: t.clone() for name, t in model.state_dict().items()}
    moved = sum(p.nbytes for block in blocks_of(model) for name, p in block.named_parameters() if "expert" in name
                and p.ndim > 1 and "shared_expert_gate" not in name)
    before = bytes_of(model)
    layers = hf.replace_moe(model, path=tmp_path)
    assert bytes_of(model) == before - moved  # the model has let go of what the layers hold
    assert all("fp8" in layer.dtype for layer in layers.values())
    assert sum(layer.nbytes for layer in layers.values()) < 0.75 * moved
    assert error(model(x).logits, want) <= 1e-4
    assert hf.calls() == {"moekit block": len(layers)}
    # What the layers hold is what transformers dequantised, bit for bit.
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    hf.restore(model)
    assert bytes_of(model) == before and torch.equal(model(x).logits, want)


@torch.no_grad()
def test_bfloat16_model(tmp_path):
    publish(tiny("qwen3_moe", **SIZES), tmp_path)
    model, x = load(tmp_path, torch.bfloat16), tokens()
    want, state = model(x).logits, {name: t.clone() for name, t in model.state_dict().items()}
    layers = hf.replace_moe(model, path=tmp_path)
    assert {layer.dtype for layer in layers.values()} == {"fp8"}
    assert error(model(x).logits, want) <= 3e-2  # bfloat16 in all other layers, and rounded weights in `want`
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


@torch.no_grad()
def test_weights_that_were_never_loaded(tmp_path, float32_kernels):
    """Experts on the meta device: the model never holds them."""
    publish(tiny("deepseek_v3", **SIZES), tmp_path)
    model, x = load(tmp_path), tokens()
    want, state = model(x).logits, {name: t.clone() for name, t in model.state_dict().items()}
    for block in blocks_of(model):
        block.experts.to("meta")
    hf.replace_moe(model, path=tmp_path)
    assert error(model(x).logits, want) <= 1e-4
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    hf.restore(model)
    assert torch.equal(model(x).logits, want)


@torch.no_grad()
def test_converted_files_and_other_formats(tmp_path, float32_kernels):
    """Plain checkpoints too: quantised on the way, or from a folder of moekit convert."""
    model, x = tiny("deepseek_v3", **SIZES), tokens()
    model.save_pretrained(tmp_path / "plain")
    moekit.convert(tmp_path / "plain", tmp_path / "converted", dtype="int8")
    want = model(x).logits
    layers = hf.replace_moe(model, path=tmp_path / "plain")
    assert {layer.dtype for layer in layers.values()} == {"float32"} and error(model(x).logits, want) <= 1e-4
    hf.replace_moe(model, "int8", path=tmp_path / "plain")
    got = model(x).logits
    layers = hf.replace_moe(model, path=str(tmp_path / "converted"))
    assert {layer.dtype for layer in layers.values()} == {"int8"}
    assert torch.equal(model(x).logits, got) and 1e-4 < error(got, want) < 3e-2


@torch.no_grad()
def test_errors(tmp_path):
    model, other = tiny("qwen3_moe", **SIZES), tiny("qwen3_moe", **{**SIZES, "moe_intermediate_size": 32})
    publish(other, tmp_path / "other")
    state = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(moekit.CheckpointError, match="of another model: expert.intermediate is 32, in the model 48"):
        hf.replace_moe(model, path=tmp_path / "other")
    with pytest.raises(moekit.CheckpointError, match="neither a file or folder nor in the hub's local cache"):
        hf.replace_moe(model, path=tmp_path / "absent")
    hf.restore(model)
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


@torch.no_grad()
def test_weights_put_in_later_are_used(tmp_path, float32_kernels):
    publish(tiny("qwen3_moe", **SIZES), tmp_path)
    model, x = load(tmp_path), tokens()
    hf.replace_moe(model, path=tmp_path)
    torch.manual_seed(5)
    fresh = {name: torch.randn_like(t) * 0.05 if "experts" in name else t for name, t in model.state_dict().items()}
    model.load_state_dict(fresh)
    got = model(x).logits
    hf.restore(model)
    assert error(got, model(x).logits) <= 1e-4


@torch.no_grad()
def test_shared_experts_beside_the_block(tmp_path):
    """Granite's layer adds the shared expert itself: layers of files are loaded without it."""
    model, x = tiny("granitemoeshared"), tokens()
    model.save_pretrained(tmp_path / "files")
    want = model(x).logits
    layers = hf.replace_moe(model, path=tmp_path / "files")
    assert all(layer.config["shared"]["count"] == 0 for layer in layers.values())
    assert error(model(x).logits, want) <= 1e-4 and hf.calls() == {"moekit block": len(layers)}
    moekit.convert(tmp_path / "files", tmp_path / "converted")
    with pytest.raises(moekit.UnsupportedError, match="its layers hold shared experts"):
        hf.replace_moe(model, path=tmp_path / "converted")
