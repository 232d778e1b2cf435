# SPDX-License-Identifier: Apache-2.0
"""moekit.hf on modules that keep weights in short forms it does not read, and converting while weights move."""
from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
import test_hf  # noqa: E402
from hf_models import ROOT, blocks_of, error, float32_kernels, fresh_counters, tiny, tokens  # noqa: E402,F401
from torch import nn  # noqa: E402


@torch.no_grad()
def test_modules_that_are_refused_by_name():
    """Weights that transformers keeps in the layouts of its kernels, or of other packages."""
    from transformers.integrations.mxfp4 import Mxfp4GptOssExperts, Mxfp4GptOssMLP

    model = tiny("gpt_oss", hidden_size=64, intermediate_size=32)
    layer = model.model.layers[1]
    layer.mlp = Mxfp4GptOssMLP(layer.mlp.router, Mxfp4GptOssExperts(model.config))
    with pytest.raises(moekit.UnsupportedError, match=r"Mxfp4GptOssExperts keeps gate_up_proj \[5, 64, 32\]"):
        hf.replace_moe(model)

    class CompressedLinear(nn.Module):  # as compressed-tensors' modules keep int4
        def __init__(self):
            super().__init__()
            self.weight_packed = nn.Parameter(torch.zeros(4, 2, dtype=torch.int32), requires_grad=False)

    model = tiny("deepseek_v3")
    block = list(blocks_of(model))[0]
    block.shared_experts.up_proj = CompressedLinear()
    with pytest.raises(moekit.UnsupportedError, match=r"CompressedLinear keeps weight_packed \[4, 2\]"):
        hf.replace_moe(model)


@torch.no_grad()
def test_mxfp4_of_gpt_oss_dequantised_and_back():
    """gpt-oss loaded with Mxfp4Config(dequantize=True) holds e2m1 times powers of two in bfloat16: moekit's mxfp4 has
    the very same values."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    model = tiny("gpt_oss", torch.bfloat16, hidden_size=64, intermediate_size=96)
    generator = torch.Generator().manual_seed(0)
    for block in blocks_of(model):
        for name in ("gate_up_proj", "down_proj"):
            count, cols, rows = block.experts.get_parameter(name).shape  # transposed
            codes = torch.randint(0, 256, (count, rows, cols // 32, 16), generator=generator).to(torch.uint8)
            scales = torch.randint(115, 125, (count, rows, cols // 32), generator=generator).to(torch.uint8)
            block.experts.get_parameter(name).copy_(convert_moe_packed_tensors(codes, scales))
    state = {name: t.clone() for name, t in model.state_dict().items()}
    layers = hf.replace_moe(model, dtype="mxfp4")
    assert {layer.dtype for layer in layers.values()} == {"mxfp4"}
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("dtype", ["int8", "int4", "fp8", "mxfp4", "bfloat16", "bf16z", "float32"])
@pytest.mark.parametrize("case", ["qwen3_moe", "deepseek_v3", "gpt_oss", "llama4"])
@torch.no_grad()
def test_replace_moe_converts(case, dtype, float32_kernels):
    """Logits are those of the model with the converted weights, which is what `restore` puts back."""
    model, x = tiny(case), tokens()
    layers = hf.replace_moe(model, dtype=dtype)
    assert {layer.dtype for layer in layers.values()} == {dtype}
    got, state = test_hf.result(model(x)), model.state_dict()
    again = hf.replace_moe(copy.deepcopy(model), dtype=dtype)  # as they are packed: the same bits
    assert [layer.nbytes for layer in again.values()] == [layer.nbytes for layer in layers.values()]
    hf.restore(model)
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    if dtype not in ("bfloat16", "bf16z"):  # which round x too
        assert error(got, test_hf.result(model(x))) <= 1e-4
    original = tiny(case).state_dict()
    changed = [name for name, t in original.items() if not torch.equal(t, state[name])]
    assert bool(changed) == (dtype != "float32") and all("expert" in name for name in changed)
    with pytest.raises(ValueError, match="weight format 'int3' is not one of auto"):
        hf.replace_moe(model, dtype="int3")


# Relative rise of the held-out bits per byte over the bfloat16 model. The loss is flat at its minimum, so that it rises
# with the square of the weights' errors: next to nothing for int8 (2^-8 of the largest weight of a row, like bfloat16
# itself) and e4m3 (2^-4 of each at most), for four bits (2^-3) a few times that of e4m3. Seen on all of the excerpt:
# int8 -0.02 %, fp8 0.05 %, int4 0.16 %, mxfp4 0.60 % at most; the bounds leave room for the shorter one here.
RISE = {"int8": 5e-3, "fp8": 5e-3, "int4": 1e-2, "mxfp4": 2e-2}


@pytest.mark.parametrize("name", ["qwen3_moe_bytes", "deepseek_v3_bytes"])
@torch.no_grad()
def test_trained_models_stay_sane(name, capsys):
    path = ROOT / "examples" / "models" / name
    windows = torch.tensor(list((path / "heldout.txt").read_bytes()))[: 6 * 256].view(-1, 256)

    def bits_per_byte(dtype):
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
        layers = hf.replace_moe(model, dtype=dtype)
        log_p = model(windows).logits[:, :-1].double().log_softmax(-1)
        text = model.generate(windows[:1, :64], max_new_tokens=12, min_new_tokens=12, do_sample=False)
        written = bytes(text[0, 64:].tolist())
        assert len(set(written)) > 5 and written.isascii()  # text, not one byte repeated
        return (-log_p.gather(-1, windows[:, 1:, None]).mean().item() / math.log(2),
                sum(layer.nbytes for layer in layers.values()))

    plain, size = bits_per_byte("auto")
    lines = [f"{name}: bfloat16 {plain:.4f} bits per byte"]
    for dtype, rise in RISE.items():
        got, small = bits_per_byte(dtype)
        lines.append(f"{dtype} {got:.4f} ({got / plain - 1:+.2%}) in {small / size:.0%} of the memory")
        assert got <= plain * (1 + rise) and small < 0.6 * size
    with capsys.disabled():
        print("\n" + "; ".join(lines))
