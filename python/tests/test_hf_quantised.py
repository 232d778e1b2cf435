# SPDX-License-Identifier: Apache-2.0
"""moekit.hf on FP8 experts, on modules that keep weights in other short forms, and converting while it moves."""
from __future__ import annotations

import copy
import math
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
from torch import nn  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from transformers.integrations import finegrained_fp8  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))
import test_hf  # noqa: E402
import write_checkpoints  # noqa: E402

SIZES = dict(hidden_size=64, moe_intermediate_size=48, intermediate_size=48, shared_expert_intermediate_size=40)
CASES = ["qwen3_moe", "deepseek_v3", "qwen2_moe", "mixtral"]
# A block's size, and whether the grid of gate_up_proj is that of its halves, one after the other.
GRIDS = {"16x16": ((16, 16), True), "128x128": ((128, 128), True), "fused, partial": ((32, 32), False),
         "halves, partial": ((32, 32), True), "no blocks": (None, True), "8x24": ((8, 24), True)}


@pytest.fixture(autouse=True)
def fresh_counters(monkeypatch):
    hf.reset_calls()
    monkeypatch.setattr(hf._calls, "_warned", set())


@pytest.fixture
def float32_kernels(monkeypatch):
    """Kernels that neither round x nor weights to bfloat16, as those of AMX do."""
    monkeypatch.setenv("MOEKIT_ISA", "generic")


def tiny(case, dtype=torch.float32, **sizes):
    """A random model of the family with other sizes, where it has them."""
    prefix, fields = write_checkpoints.FAMILIES[case]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(write_checkpoints.FAMILIES, case,
                      (prefix, {**fields, **{name: size for name, size in sizes.items() if name in fields}}))
        return test_hf.tiny(case, dtype)


def tokens(rows: int = 2, length: int = 9):
    return torch.randint(0, 30, (rows, length), generator=torch.Generator().manual_seed(0))


def error(got, want) -> float:
    return ((got.float() - want.float()).norm() / want.float().norm()).item()


def blocks_of(model):
    return write_checkpoints.moe_blocks(model).values()


def grid(values, block):
    """[.., N / n, K / k] of numbers that fill [.., N, K] in blocks [n, k], as a function of the shape."""
    return lambda n, k: values.repeat_interleave(block[0], -2)[..., :n, :].repeat_interleave(block[1], -1)[..., :k]


def quantise(weight, block, ue8m0: bool):
    """(codes, scales, what they stand for) of [.., N, K], a scale a block: max / 448, or the power of two above."""
    n, k = weight.shape[-2:]
    block = block or (n, k)
    rows, cols = -(-n // block[0]), -(-k // block[1])
    padded = nn.functional.pad(weight, (0, cols * block[1] - k, 0, rows * block[0] - n))
    scales = padded.unflatten(-1, (cols, block[1])).unflatten(-3, (rows, block[0])).abs().amax((-1, -3)) / 448
    scales = scales.log2().ceil().exp2() if ue8m0 else scales
    spread = grid(scales, block)(n, k)
    codes = (weight / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
    return codes, scales.to(torch.float8_e8m0fnu) if ue8m0 else scales, codes.float() * spread


def in_halves(weight, block, ue8m0):
    parts = [quantise(half, block, ue8m0) for half in weight.chunk(2, dim=1)]
    return [torch.cat([p[i].view(torch.uint8) if p[i].element_size() == 1 else p[i] for p in parts], dim=1).view(
        parts[0][i].dtype) for i in range(3)]


@torch.no_grad()
def fp8_and_dequantised(case, block=(16, 16), halves=True, ue8m0=False, dtype=torch.float32):
    """A random model whose experts transformers holds in FP8, and the same with the dequantised weights."""
    plain = tiny(case, dtype, **SIZES)
    model = copy.deepcopy(plain)
    experts = [block.experts for block in blocks_of(plain)]
    shared = [m for block in blocks_of(plain) for name, m in block.named_modules()
              if "shared" in name and isinstance(m, nn.Linear)]
    others = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)
              and plain.get_submodule(name) not in shared]
    config = transformers.FineGrainedFP8Config(weight_block_size=block, scale_fmt="ue8m0" if ue8m0 else "float")
    finegrained_fp8.replace_with_fp8_linear(model, others, config)
    for name, module in plain.named_modules():
        target = model.get_submodule(name)
        names = ["gate_up_proj", "down_proj"] if module in experts else ["weight"] if module in shared else []
        for key in names:
            weight = module.get_parameter(key)
            split = in_halves if key == "gate_up_proj" and halves else quantise
            codes, scales, values = split(weight.float(), block, ue8m0)
            if block is None and target is not module and module in shared:
                scales = scales.reshape(())
            allocated = target.get_parameter(key + "_scale_inv").shape
            assert scales.shape == allocated or halves and "up" in key and block[0] == 32, (scales.shape, allocated)
            setattr(target, key, nn.Parameter(codes, requires_grad=False))
            setattr(target, key + "_scale_inv", nn.Parameter(scales, requires_grad=False))
            weight.copy_(values)
    assert not any(p.is_meta for p in model.parameters())
    assert any(isinstance(m, finegrained_fp8.FP8Experts) for m in model.modules())
    return model.eval(), plain


def run(model, x, way):
    if way == "blocks":
        layers = hf.replace_moe(model)
        assert all("fp8" in layer.dtype for layer in layers.values())
    else:
        model.set_experts_implementation("moekit")
    return model(x).logits


@pytest.mark.parametrize("ue8m0", [False, True], ids=["float32", "ue8m0"])
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_logits_are_those_of_the_dequantised_weights(case, name, ue8m0, float32_kernels):
    block, halves = GRIDS[name]
    if block is None and ue8m0:
        pytest.skip("transformers has float32 scales where there are no blocks")
    model, plain = fp8_and_dequantised(case, block, halves, ue8m0)
    x = tokens()
    want, count = plain(x).logits, len(list(blocks_of(plain)))
    if not any(isinstance(m, finegrained_fp8.FP8Linear) for m in model.modules()):  # those run on GPUs only
        assert error(run(model, x, "experts"), want) <= 1e-4
        assert hf.calls() == {"moekit experts": count}
        hf.restore(model)
        hf.reset_calls()
    assert error(run(model, x, "blocks"), want) <= 1e-4
    assert hf.calls() == {"moekit block": count}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_kernels_of_this_host(case):
    """Rounding weights, x and products' factors to bfloat16, where kernels do, moves a block's output by 2^-9 or so."""
    model, plain = fp8_and_dequantised(case)
    hf.replace_moe(model)
    for block, exact in zip(blocks_of(model), blocks_of(plain)):
        x = torch.randn(1, 31, 64, generator=torch.Generator().manual_seed(1))
        got, want = (y[0] if isinstance(y, tuple) else y for y in (block(x), exact(x)))
        rows = ((got - want).norm(dim=-1) / want.norm(dim=-1)).flatten()  # a router at an edge may choose otherwise
        assert rows.median() <= 1e-5**0.5


def rounded_to_e4m3(x, size):
    """What eager FP8 code makes of activations: e4m3 with a scale for `size` columns of a token."""
    groups = x.float().unflatten(-1, (-1, size))
    scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 448
    return ((groups / scale).to(torch.float8_e4m3fn).float() * scale).flatten(-2)


@torch.no_grad()
def test_what_eager_fp8_code_rounds(monkeypatch, float32_kernels, capsys):
    """transformers' eager FP8 code (its kernel written out in torch, which needs a GPU) rounds the activations of both
    products to e4m3, and moekit does not. A rounding is off by at most 2^-4 of a number, evenly spread over that: its
    mean square is (2^-4)^2 / 3 at most. Two independent ones in turn: sqrt(2 / 3) 2^-4 = 5.1e-2."""
    model, plain = fp8_and_dequantised("qwen3_moe")
    experts, exact = [next(iter(blocks_of(m))).experts for m in (model, plain)]

    def fp8_linear(x, weight, scales, block_size, bias, activation_scale, allow_deepgemm):
        weight = weight.float() * grid(scales, block_size)(*weight.shape)
        return rounded_to_e4m3(x, block_size[1]) @ weight.T

    monkeypatch.setattr(finegrained_fp8, "fp8_linear", fp8_linear)
    x = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    ids, weights = torch.arange(600).view(200, 3) % 7, torch.full((200, 3), 1 / 3)
    eager = experts(x, ids, weights)
    experts.config._experts_implementation = "moekit"
    ours, want = experts(x, ids, weights), exact(x, ids, weights)
    assert hf.calls() == {"moekit experts": 1}
    with capsys.disabled():
        print(f"\nfrom the dequantised weights: eager FP8 {error(eager, want):.2e}, moekit {error(ours, want):.2e}; "
              "not tested: transformers' own FP8 kernels (they need a GPU)")
    assert error(ours, want) <= 1e-6
    assert 1e-3 <= error(eager, ours) <= 5.1e-2


@torch.no_grad()
def test_fp4_experts(float32_kernels):
    """DeepSeek-V4's: e2m1 two a byte in int8, a scale for 32 weights."""
    for ue8m0 in (True, False):
        config = transformers.MixtralConfig(hidden_size=64, intermediate_size=96, num_local_experts=3)
        config._experts_implementation = "eager"
        kind = finegrained_fp8.use_experts_implementation(
            finegrained_fp8.FP8Experts, experts_interface=finegrained_fp8.ALL_FP8_EXPERTS_FUNCTIONS)
        experts = kind(config=config, block_size=(128, 128), expert_dtype="fp4",
                       scale_fmt="ue8m0" if ue8m0 else "float").eval()
        state, weights = {}, {}
        for name, p in experts.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            state[name] = (torch.randint(-128, 128, p.shape, generator=generator).to(torch.int8)
                           if p.dtype == torch.int8 else (2.0 ** torch.randint(-4, 1, p.shape, generator=generator))
                           .to(p.dtype))
            setattr(experts, name, nn.Parameter(state[name], requires_grad=False))
        read = finegrained_fp8.Fp8Dequantize(None)
        for name in ("gate_up_proj", "down_proj"):
            weights[name] = torch.stack([read._dequantize_one(c, s, torch.float32) for c, s in
                                         zip(state[name], state[name + "_scale_inv"])])
        x = torch.randn(11, 64, generator=torch.Generator().manual_seed(2))
        ids, gates = torch.arange(22).view(11, 2) % 3, torch.full((11, 2), 0.5)
        want = torch.zeros(11, 64)
        for t in range(11):
            for e in ids[t]:
                gate, up = (weights["gate_up_proj"][e] @ x[t]).chunk(2)
                want[t] += 0.5 * weights["down_proj"][e] @ (experts.act_fn(gate) * up)
        config._experts_implementation = "moekit"
        assert error(experts(x, ids, gates), want) <= 1e-5
        assert experts.down_proj.is_meta and hf._moved.moved_of(experts).layer.dtype == "mxfp4"
        packed = experts.state_dict()
        assert all(torch.equal(packed[name], state[name]) for name in ("gate_up_proj", "down_proj"))
        hf.restore(experts)
        assert torch.equal(experts.down_proj, state["down_proj"])


def bits(tensor):
    return tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor


@pytest.mark.parametrize("way", ["experts", "blocks"])
@torch.no_grad()
def test_fp8_weights_are_held_once_and_come_back(way, tmp_path):
    model, _ = fp8_and_dequantised("qwen3_moe" if way == "experts" else "deepseek_v3")
    x, state = tokens(), {name: t.clone() for name, t in model.state_dict().items()}
    codes = [name for name, t in state.items() if t.dtype == torch.float8_e4m3fn]
    assert codes and (way == "experts" or any("shared" in name for name in codes))
    storages = [StorageWeakRef(model.get_parameter(name).untyped_storage()) for name in codes]
    before = run(model, x, way)
    assert all(ref.expired() for ref in storages)
    assert {name for name, p in model.named_parameters() if p.is_meta} == set(codes)
    layers = [hf._moved.moved_of(block.experts).layer for block in blocks_of(model)]
    assert sum(layer.nbytes for layer in layers) < 1.5 * sum(state[name].numel() for name in codes)

    packed = model.state_dict()
    assert packed.keys() == state.keys()
    assert all(packed[n].dtype == t.dtype and torch.equal(bits(packed[n]), bits(t)) for n, t in state.items())
    assert all(model.get_parameter(name).is_meta for name in codes)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x).logits, before)
    zeros = {name: torch.zeros_like(t) if name in codes and ".experts." in name else t for name, t in state.items()}
    model.load_state_dict(zeros)
    assert not any(bits(block.experts.down_proj).any() for block in blocks_of(model))
    assert error(model(x).logits, before) > 1e-3
    model.load_state_dict(state)
    assert torch.equal(model(x).logits, before)
    hf.restore(model)
    assert all(torch.equal(bits(t), bits(state[name])) for name, t in model.state_dict().items())
    assert not any(p.is_meta for p in model.parameters())


@torch.no_grad()
def test_every_code_comes_back_whatever_its_scale():
    """NaN codes, negative zeros, scales of zero and at both ends of float32."""
    model, _ = fp8_and_dequantised("qwen3_moe")
    experts = next(iter(blocks_of(model))).experts
    all_codes = torch.arange(experts.down_proj.numel()).to(torch.uint8).view(experts.down_proj.shape)
    experts.down_proj = nn.Parameter(all_codes.view(torch.float8_e4m3fn), requires_grad=False)
    for i, scale in enumerate((0.0, -1.0, 1e-45, 3e38)):
        experts.down_proj_scale_inv.flatten()[i] = scale
    hf.replace_moe(model)
    assert experts.down_proj.is_meta
    hf.restore(model)
    assert torch.equal(experts.down_proj.view(torch.uint8), all_codes)


@torch.no_grad()
def test_fp8_left_to_transformers():
    """In training mode the weights return first; without transformers' kernels the error says who could not compute."""
    model, _ = fp8_and_dequantised("qwen3_moe")
    want = run(model, tokens(), "experts")
    experts = next(iter(blocks_of(model))).experts
    try:
        finegrained_fp8.load_finegrained_fp8_kernel()
        print("not tested: the error without transformers' FP8 kernels (they are installed here)")
    except ImportError:
        with pytest.warns(UserWarning, match="training mode"), pytest.raises(
                moekit.UnsupportedError, match=r"FP8Experts is left to transformers \(the module is in training mode\)"):
            model.train()(tokens())
        assert not experts.down_proj.is_meta
    assert torch.equal(model.eval()(tokens()).logits, want) and experts.down_proj.is_meta


@torch.no_grad()
def test_fp8_errors():
    model, _ = fp8_and_dequantised("qwen3_moe")
    with pytest.raises(moekit.UnsupportedError, match=r"layers\.3\..*gate_up_proj is fp8.*dtype 'int8'"):
        hf.replace_moe(model, dtype="int8")
    hf.restore(model)
    experts = next(iter(blocks_of(model))).experts
    good = experts.down_proj_scale_inv
    experts.down_proj_scale_inv = nn.Parameter(torch.ones(7, 3, 3))
    for way in ("experts", "blocks"):
        with pytest.raises(moekit.CheckpointError, match=r"scales: shape \[7, 3, 3\], expected \[7, 4, 3\]"):
            run(model, tokens(), way)
        hf.restore(model)
    experts.down_proj_scale_inv = nn.Parameter(torch.full_like(good, math.nan))
    with pytest.raises(moekit.CheckpointError, match=r"experts\.0\.down\.scales: scale 0 of row 0 is nan"):
        hf.replace_moe(model)
    hf.restore(model)
    experts.down_proj_scale_inv = good
    assert not any(p.is_meta for p in model.parameters())
    hf.replace_moe(model, dtype="fp8")


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


@pytest.mark.parametrize("dtype", ["int8", "int4", "fp8", "mxfp4", "bfloat16", "float32"])
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
    if dtype != "bfloat16":  # which rounds x too
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
