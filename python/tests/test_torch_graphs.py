# SPDX-License-Identifier: Apache-2.0
"""torch.compile and torch.export: one custom op with a fake implementation."""
import copy
import gc
import io

import pytest
import torch
from conftest import PlainMoE

import moekit.torch
from moekit import _torch_op


def targets(graph):
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compile_fullgraph_is_one_op(plain, dtype):
    moe = moekit.torch.MoE.from_torch(plain.to(dtype))
    seen = []

    def backend(module, _inputs):
        seen.extend(targets(module.graph))
        return module

    compiled = torch.compile(moe, fullgraph=True, backend=backend)
    x = torch.randn(6, 10, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(compiled(x), moe(x))
        assert [t for t in seen if "moekit" in t] == seen and len(seen) == 1
        moe.gate.weight.add_(1.0)
        assert torch.equal(compiled(x), moe(x))


def test_inductor_dynamic_shapes(plain):
    moe = moekit.torch.MoE.from_torch(plain)
    model = torch.nn.Sequential(moe, torch.nn.Tanh())
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for shape in ((4, 10), (7, 10), (1, 10)):
            x = torch.randn(shape)
            torch.testing.assert_close(compiled(x), model(x))


def test_compiled_training(plain):
    moe = moekit.torch.MoE.from_torch(copy.deepcopy(plain))
    compiled = torch.compile(moe, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 10, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    compiled(x).square().sum().backward()
    plain(twin).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-5)
    for a, b in zip(moe.parameters(), plain.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_export_save_load(plain, bias):
    if not bias:
        for linear in (*plain.experts, plain.gate):
            linear.register_parameter("bias", None)
    moe = moekit.torch.MoE.from_torch(plain).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(moe, (torch.randn(4, 10),), dynamic_shapes=({0: batch},))
    assert [t for t in targets(program.graph) if "moekit" in t or "linear" in t] == ["moekit.moe.default"]
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()
    x = torch.randn(9, 10)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), plain(x))


@pytest.mark.parametrize("bias", [True, False])
def test_op_is_well_formed(bias):
    """The library's own checks of schema, fake implementation and autograd registration."""
    torch.manual_seed(1)
    x = torch.randn(3, 6, requires_grad=True)
    weights = [torch.randn(4, 6, requires_grad=True) for _ in range(2)]
    biases = [torch.randn(4, requires_grad=True) for _ in range(2)] if bias else []
    gate = torch.randn(2, 6, requires_grad=True), torch.randn(2, requires_grad=True) if bias else None
    torch.library.opcheck(torch.ops.moekit.moe.default, (x, *gate, weights, biases), rtol=1e-4, atol=1e-5)


def test_gradient_formula_in_double():
    torch.manual_seed(1)
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)  # noqa: E731
    x, weights, biases, gate, gate_bias = make(3, 6), [make(4, 6), make(4, 6)], [make(4), make(4)], make(2, 6), make(2)
    flat = (x, gate, gate_bias, *weights, *biases)
    call = lambda x, g, gb, w0, w1, b0, b1: torch.ops.moekit.moe(x, g, gb, [w0, w1], [b0, b1])  # noqa: E731
    assert torch.autograd.gradcheck(call, flat)


def test_packed_weights_of_dead_modules_are_dropped():
    gc.collect()
    x = torch.randn(2, 6)
    with torch.no_grad():
        for seed in range(40):
            torch.manual_seed(seed)
            plain = PlainMoE(2, 6, 4)
            tensors = moekit.torch.MoE.from_torch(plain)._tensors()
            torch.testing.assert_close(_torch_op.call(x, *tensors), plain(x))
            del plain, tensors
    gc.collect()
    assert sum(entry.alive() for entry in _torch_op._packed.values()) <= 2
    assert len(_torch_op._packed) < 20
