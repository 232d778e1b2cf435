# SPDX-License-Identifier: Apache-2.0
"""moekit.torch.MoE against the plain PyTorch module."""
import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from conftest import PlainMoE, nmse
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import moekit.torch

LIMIT = {torch.float32: 1e-10, torch.bfloat16: 1e-5}


def double(module, x):
    """The plain formula in float64 on the same parameter values."""
    with torch.no_grad():
        return copy.deepcopy(module).double()(x.double())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.lists(st.integers(0, 5), max_size=3),
       st.sampled_from([torch.float32, torch.bfloat16]), st.integers(0, 1000))
def test_parity_with_plain_module(experts, inputs, outputs, leading, dtype, seed):
    torch.manual_seed(seed)
    plain = PlainMoE(experts, inputs, outputs).to(dtype)
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(*leading, inputs).to(dtype)
    with torch.no_grad():
        y = moe(x)
    assert y.shape == (*leading, outputs) and y.dtype == dtype
    if y.numel() > 1:
        # The output's own rounding of bfloat16 is inside the limit: 2^-18 / 3 = 1.3e-6.
        assert nmse(y, double(plain, x)) <= LIMIT[dtype] * (1 if y.numel() > 20 else 4)


def test_same_parameters_and_names_under_a_seed():
    torch.manual_seed(3)
    plain = PlainMoE(3, 7, 2)
    torch.manual_seed(3)
    moe = moekit.torch.MoE(3, 7, 2)
    assert list(moe.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(moe.state_dict()[name], value), name
    moe.load_state_dict(plain.state_dict())


def test_moekit_computes_without_gradients(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    assert moe.explain().startswith("torch: gradients")
    with torch.no_grad():
        assert "backend: " in moe.explain()
        moe(torch.randn(3, 10))
    assert moe._cell is not None and moe._cell.fresh()


def test_from_torch_shares_parameters(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    assert moe.experts[2].weight is plain.experts[2].weight and moe.gate.bias is plain.gate.bias
    listed = nn.Module()
    listed.experts, listed.gate = list(plain.experts), plain.gate
    assert moekit.torch.MoE.from_torch(listed).experts[1].weight is plain.experts[1].weight


@pytest.mark.parametrize("spoil, message", [
    (lambda m: delattr(m, "gate"), "no .experts and .gate"),
    (lambda m: setattr(m, "gate", nn.Sequential(m.gate)), "gate is a Sequential"),
    (lambda m: m.experts.append(nn.Linear(10, 5)), "gate has 4 outputs for 5 experts"),
    (lambda m: m.experts.__setitem__(1, nn.Linear(10, 6)), "experts.1 maps 10 -> 6"),
    (lambda m: nn.utils.parametrizations.weight_norm(m.experts[3]), "experts.3"),
])
def test_from_torch_names_what_does_not_fit(plain, spoil, message):
    spoil(plain)
    with pytest.raises((TypeError, ValueError), match=message):
        moekit.torch.MoE.from_torch(plain)


def test_in_sequential_and_nested_no_bias():
    torch.manual_seed(0)
    a, b = PlainMoE(2, 6, 8), PlainMoE(3, 8, 4)
    for linear in (*b.experts, b.gate):
        linear.register_parameter("bias", None)
    plain = nn.Sequential(a, nn.ReLU(), b)
    fast = nn.Sequential(moekit.torch.MoE.from_torch(a), nn.ReLU(), moekit.torch.MoE.from_torch(b))
    x = torch.randn(9, 6)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x))


def test_training_step_then_inference_repacks(plain):
    moe = moekit.torch.MoE.from_torch(copy.deepcopy(plain))
    x, target = torch.randn(32, 10), torch.randn(32, 5)
    with torch.no_grad():
        before = moe(x)
    for module in (plain, moe):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(module(x), target).backward()
            optimizer.step()
    with torch.no_grad():
        after, expected = moe(x), plain(x)
    torch.testing.assert_close(after, expected)
    assert not torch.allclose(after, before)


CHANGES = {
    "in place": lambda m: m.experts[1].weight.add_(1.0),
    "one element": lambda m: m.experts[3].weight[4, 9].add_(1.0),
    "bias": lambda m: m.gate.bias.mul_(3.0),
    "data of the same version": lambda m: m.experts[0].weight.data.mul_(2.0),
    "data replaced": lambda m: setattr(m.gate.weight, "data", m.gate.weight.data * 2),
    "parameter replaced": lambda m: setattr(m.experts[2], "weight", nn.Parameter(torch.ones(5, 10))),
    "bias removed": lambda m: [setattr(e, "bias", None) for e in m.experts],
    "expert replaced": lambda m: m.experts.__setitem__(0, nn.Linear(10, 5)),
    "gate replaced": lambda m: setattr(m, "gate", nn.Linear(10, 4)),
    "experts replaced": lambda m: setattr(m, "experts", nn.ModuleList(nn.Linear(10, 5) for _ in range(4))),
    "expert and gate added": lambda m: (m.experts.append(nn.Linear(10, 5)), setattr(m, "gate", nn.Linear(10, 5))),
    "load_state_dict": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}),
    "load_state_dict assign": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}, assign=True),
    "dtype": lambda m: m.to(torch.bfloat16),
    "dtype there and back": lambda m: m.to(torch.bfloat16).to(torch.float32),
    "transposed view": lambda m: setattr(m.experts[0].weight, "data", m.experts[0].weight.data.t().contiguous().t()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_of_parameters_is_seen(plain, change):
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(6, 10)
    with torch.no_grad():
        moe(x)
        change(moe)
        x = x.to(moe.gate.weight.dtype)
        plain.experts, plain.gate = moe.experts, moe.gate
        assert nmse(moe(x), double(plain, x)) <= 1e-5


def test_reused_memory_is_not_taken_for_the_old_weights(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(3, 10)
    with torch.no_grad():
        moe(x)
        for _ in range(50):  # freed and allocated again: addresses repeat, versions too
            for e in moe.experts:
                e.weight.data = torch.empty(0)
            for e in moe.experts:
                e.weight.data = torch.cat([torch.ones(5, 8), torch.randn(5, 2)], 1)  # the first cache line is equal
            torch.testing.assert_close(moe(x), plain(x))


def test_state_dict_deepcopy_pickle_save(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(6, 10)
    with torch.no_grad():
        y = moe(x)
        buffer = io.BytesIO()
        torch.save(moe, buffer)
        buffer.seek(0)
        copies = [copy.deepcopy(moe), pickle.loads(pickle.dumps(moe)), torch.load(buffer, weights_only=False)]
        other = moekit.torch.MoE(4, 10, 5)
        other.load_state_dict(moe.state_dict())
        for twin in (*copies, other):
            assert torch.equal(twin(x), y)
            twin.gate.weight.zero_()
            assert not torch.equal(twin(x), y)
        assert torch.equal(moe(x), y)


def test_gradients_equal_torch(plain):
    moe = moekit.torch.MoE.from_torch(copy.deepcopy(plain))
    x = torch.randn(7, 10, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    moe(x).square().sum().backward()
    plain(twin).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    for a, b in zip(moe.parameters(), plain.parameters()):
        torch.testing.assert_close(a.grad, b.grad)


def test_frozen_parameters_with_grad_enabled_use_moekit(plain):
    moe = moekit.torch.MoE.from_torch(plain).requires_grad_(False)
    y = moe(torch.randn(2, 10))
    assert not y.requires_grad and moe._cell is not None
    x = torch.randn(2, 10, requires_grad=True)
    moe(x).sum().backward()
    assert x.grad is not None
    moe.gate.weight.requires_grad_()
    assert moe(x.detach()).requires_grad


def test_meta_device_and_materialisation(plain):
    moe = moekit.torch.MoE(4, 10, 5, device="meta")
    with torch.no_grad():
        assert moe(torch.empty(3, 10, device="meta")).shape == (3, 5)
        moe = moe.to_empty(device="cpu")
        moe.load_state_dict(plain.state_dict())
        x = torch.randn(3, 10)
        torch.testing.assert_close(moe(x), plain(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_are_left_to_torch(plain, dtype):
    plain = plain.to(dtype)
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(3, 10, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(moe(x), plain(x))
        assert moe.explain().startswith(f"torch: parameters have dtype {dtype}")


def test_errors_are_those_of_torch(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    with torch.no_grad():
        for x in (torch.randn(3, 11), torch.randn(3, 10).double(), torch.tensor(1.0)):
            with pytest.raises(RuntimeError):
                plain(x)
            with pytest.raises(RuntimeError):
                moe(x)
        assert torch.isfinite(moe(torch.randn(3, 10))).all()
    for sizes in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ValueError):
            moekit.torch.MoE(*sizes)


def test_autocast_vmap_jvp_subclass_trace_as_in_torch(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(3, 10)
    with torch.no_grad():
        moe(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(moe(x), plain(x)) and moe(x).dtype == plain(x).dtype
        torch.testing.assert_close(torch.vmap(moe)(x), plain(x))
        primal, tangent = torch.func.jvp(moe, (x,), (torch.ones_like(x),))
        expected = torch.func.jvp(plain, (x,), (torch.ones_like(x),))
        torch.testing.assert_close((primal, tangent), expected)
        traced = torch.jit.trace(moe, (x,))
        other = torch.randn(3, 10)
        torch.testing.assert_close(traced(other), plain(other))
    with torch.inference_mode():
        torch.testing.assert_close(moe(x), plain(x))


def test_functional_call_swaps_parameters(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    x = torch.randn(3, 10)
    state = {k: v * 2 for k, v in plain.state_dict().items()}
    with torch.no_grad():
        y = moe(x)
        torch.testing.assert_close(torch.func.functional_call(moe, state, (x,)),
                                   torch.func.functional_call(plain, state, (x,)))
        assert torch.equal(moe(x), y)


def test_import_of_moekit_leaves_torch_alone():
    code = "import sys, moekit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
