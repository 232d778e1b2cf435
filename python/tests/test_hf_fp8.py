# SPDX-License-Identifier: Apache-2.0
"""moekit.hf on experts and blocks that transformers holds in FP8."""
from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import moekit  # noqa: E402
import moekit.hf as hf  # noqa: E402
from conftest import nmse_bound  # noqa: E402
from hf_models import blocks_of, error, float32_kernels, fresh_counters, tiny, tokens  # noqa: E402,F401
from torch import nn  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from transformers.integrations import finegrained_fp8  # noqa: E402

SIZES = dict(hidden_size=64, moe_intermediate_size=48, intermediate_size=48, shared_expert_intermediate_size=40)
CASES = ["qwen3_moe", "deepseek_v3", "qwen2_moe", "mixtral"]
# A block's size, and whether the grid of gate_up_proj is that of its halves, one after the other.
GRIDS = {"16x16": ((16, 16), True), "128x128": ((128, 128), True), "fused, partial": ((32, 32), False),
         "halves, partial": ((32, 32), True), "no blocks": (None, True), "8x24": ((8, 24), True)}


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
    """As nmse_bound has it, of most tokens: a router at an edge may choose otherwise."""
    model, plain = fp8_and_dequantised(case)
    layers = hf.replace_moe(model)
    for layer, block, exact in zip(layers.values(), blocks_of(model), blocks_of(plain), strict=True):
        x = torch.randn(1, 31, 64, generator=torch.Generator().manual_seed(1))
        got, want = (y[0] if isinstance(y, tuple) else y for y in (block(x), exact(x)))
        rows = ((got - want).norm(dim=-1) / want.norm(dim=-1)).flatten()
        assert rows.median() ** 2 <= nmse_bound(layer)


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
    bad = good.clone()
    bad[0] = math.nan  # of one expert: threads that read several report the one that they meet first
    experts.down_proj_scale_inv = nn.Parameter(bad)
    with pytest.raises(moekit.CheckpointError, match=r"experts\.0\.down\.scales: scale 0 of row 0 is nan"):
        hf.replace_moe(model)
    hf.restore(model)
    experts.down_proj_scale_inv = good
    assert not any(p.is_meta for p in model.parameters())
    hf.replace_moe(model, dtype="fp8")
