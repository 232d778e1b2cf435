# SPDX-License-Identifier: Apache-2.0
"""Quantised weights from arrays: each packing against its formula written out in NumPy, and layers made of them."""
from __future__ import annotations

import gc
import weakref

import ml_dtypes
import numpy as np
import pytest
from conftest import nmse, nmse_bound
from hypothesis import given, settings
from hypothesis import strategies as st

import moekit
from moekit import QuantTensor

E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float32)
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def e8m0(codes):
    return np.exp2(codes.astype(np.float32) - 127)


def along(scales, group, cols):
    """[.., groups] of groups of `group` columns, to [.., cols]."""
    return np.repeat(scales, group or cols, axis=-1)[..., :cols]


def words(codes, axis):
    """4 bit codes, eight to an int32 along an axis, lowest bits first; the last word is filled with zeros."""
    codes = np.moveaxis(codes.astype(np.uint32), axis, -1)
    pad = -codes.shape[-1] % 8
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, pad)])
    packed = (codes.reshape(*codes.shape[:-1], -1, 8) << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return np.ascontiguousarray(np.moveaxis(packed.view(np.int32), -1, axis))


def fp8_codes(rng, shape):
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    return np.where((codes & 127) == 127, codes ^ 1, codes)  # without NaN


def of_kind(kind, rng, stack, n, k):
    """(arguments of QuantTensor, weights) of random matrices [stack..., n, k]."""
    shape = (*stack, n, k)
    grid = lambda share, group: (*stack, -(-n // share), -(-k // group) if group else 1)  # noqa: E731
    f32 = lambda *dims: rng.uniform(0.01, 0.1, dims).astype(np.float32)  # noqa: E731
    if kind.startswith("fp8") or kind.startswith("mxfp8"):
        share, group = {"fp8": (128, 128), "fp8 blocks": (32, 64), "fp8 e8m0": (128, 128), "fp8 rows": (1, 0),
                        "fp8 tensor": (n, 0), "mxfp8": (1, 32)}[kind]
        codes = fp8_codes(rng, shape)
        scales, args = f32(*grid(share, group)), dict(format="fp8", scale_rows=share, group=group)
        if kind == "fp8":
            args = dict(format="fp8")
        if kind == "mxfp8":
            args = dict(format="mxfp8")
        values = scales
        if kind in ("fp8 e8m0", "mxfp8"):
            scales = rng.integers(118, 126, scales.shape).astype(np.uint8)
            values = e8m0(scales)
        weights = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * along(
            np.repeat(values, share, axis=-2)[..., :n, :], group, k)
        return (codes.view(ml_dtypes.float8_e4m3fn), scales, args), weights
    if kind == "int8":
        codes, scales = rng.integers(-128, 128, shape).astype(np.int8), f32(*stack, n, 1)
        return (codes, scales, dict(format="int8")), codes.astype(np.float32) * scales
    if kind in ("mxfp4", "mxfp4 in four dimensions", "nvfp4"):
        codes = rng.integers(0, 16, shape).astype(np.uint8)
        packed = codes[..., ::2] | codes[..., 1::2] << 4
        if kind == "nvfp4":
            scales = rng.uniform(0.1, 1, grid(1, 16)).astype(ml_dtypes.float8_e4m3fn)
            tensor = f32(1)
            args = dict(format="nvfp4", row_scales=tensor)
            return (packed, scales, args), E2M1[codes] * along(scales.astype(np.float32) * tensor, 16, k)
        scales = rng.integers(118, 126, grid(1, 32)).astype(np.uint8)
        weights = E2M1[codes] * along(e8m0(scales), 32, k)
        if kind != "mxfp4":
            packed = packed.reshape(*packed.shape[:-1], -1, 16)
        return (packed, scales, dict(format="mxfp4")), weights
    codes = rng.integers(0, 16, shape)
    if kind == "int4":
        scales = f32(*grid(1, 32)).astype(ml_dtypes.bfloat16)
        return ((words(codes, -1), scales, dict(format="int4", shape=list(shape))),
                (codes - 8) * along(scales.astype(np.float32), 32, k))
    scales, zeros = f32(*grid(1, 64)).astype(np.float16), rng.integers(0, 16, grid(1, 64))
    weights = ((codes - along(zeros, 64, k)) * along(scales.astype(np.float32), 64, k)).astype(np.float32)
    args = dict(format="int4", group=64)
    turned = lambda a: np.ascontiguousarray(np.swapaxes(a, -1, -2))  # noqa: E731
    if kind == "int4 with zeros":
        return (words(codes, -1), scales, dict(args, shape=shape, zeros=words(zeros, -2))), weights
    if kind == "gptq":
        args.update(packing="gptq", zeros=words(turned((zeros - 1) % 16), -1), zero_add=1, shape=shape)
        weights = ((codes - along((zeros - 1) % 16 + 1, 64, k)) * along(scales.astype(np.float32), 64, k))
        return (words(turned(codes), -2), turned(scales), args), weights.astype(np.float32)
    assert kind == "awq"
    order = np.argsort(np.arange(n) // 8 * 8 + np.tile(np.argsort(AWQ_ORDER), n // 8))
    swap = lambda a: words(turned(a)[..., order], -1)  # noqa: E731
    return (swap(codes), turned(scales), dict(args, packing="awq", zeros=swap(zeros))), weights


KINDS = ["fp8", "fp8 blocks", "fp8 e8m0", "fp8 rows", "fp8 tensor", "mxfp8", "int8", "mxfp4",
         "mxfp4 in four dimensions", "nvfp4", "int4", "int4 with zeros", "gptq", "awq"]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), experts=st.integers(0, 3), n=st.integers(1, 5), k=st.integers(1, 9))
def test_dequantised_bit_for_bit(kind, seed, experts, n, k):
    rng = np.random.default_rng(seed)
    if kind == "mxfp4 in four dimensions" or experts:
        experts = max(experts, 1)
    n, k = (n * 40, k * 32) if kind != "awq" else (n * 8, k * 32)
    n -= 0 if kind in ("awq", "gptq") else rng.integers(0, 8)
    k -= rng.integers(0, 8) if kind in ("fp8", "fp8 rows", "int8", "int4", "fp8 blocks") else 0
    (codes, scales, args), weights = of_kind(kind, rng, (experts,) if experts else (), int(n), int(k))
    tensor = QuantTensor(codes, scales, **args)
    assert tensor.shape == weights.shape and tensor.format == args["format"]
    assert np.array_equal(tensor.dequantise(), weights)
    first, step = rng.integers(0, n), rng.integers(1, 4)
    count = rng.integers(1, (n - 1 - first) // step + 2)
    part = tensor.rows(int(first), int(count), int(step))
    rows = np.arange(count) * step + first
    assert np.array_equal(part.dequantise(), weights[..., rows, :])
    if experts:
        assert len(tensor) == experts
        assert np.array_equal(part[experts - 1].dequantise(), weights[experts - 1][rows])


CONFIG = {"router": {"num_experts": 3, "top_k": 2}, "expert": {"input": 96, "intermediate": 64, "output": 96}}


def block(kind, rng, fused=False):
    """Quantised and plain tensors of the same block."""
    def part(n, k):
        (codes, scales, args), weights = of_kind(kind, rng, (3,), n, k)
        return QuantTensor(codes, scales, **args), weights.astype(np.float32)

    router = rng.standard_normal((3, 96), dtype=np.float32)
    down, down_plain = part(96, 64)
    if fused:
        both, plain = part(128, 96)
        quantised = {"experts.gate": both.rows(0, 64, 2), "experts.up": both.rows(1, 64, 2)}
        gate, up = np.ascontiguousarray(plain[:, ::2]), np.ascontiguousarray(plain[:, 1::2])
    else:
        (a, gate), (b, up) = part(64, 96), part(64, 96)
        quantised = {"experts.gate": a, "experts.up": b}
    quantised.update({"router.weight": router, "experts.down": down})
    return quantised, {"router.weight": router, "experts.gate": gate, "experts.up": up, "experts.down": down_plain}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_quantised_arrays(kind, fused):
    rng = np.random.default_rng(7)
    quantised, plain = block(kind, rng, fused)
    x = rng.standard_normal((9, 96), dtype=np.float32)
    for backend in ("auto", "reference"):
        layer = moekit.MoeLayer.from_arrays(CONFIG, quantised, backend=backend)
        assert layer.dtype == quantised["experts.down"].format
        want = moekit.MoeLayer.from_arrays(CONFIG, plain, backend="reference")(x)
        # The oracle computes with the very same weights.
        assert nmse(layer(x), want) <= (nmse_bound(layer) if backend == "auto" else 0)
    single = {"router.weight": plain["router.weight"]}
    for e in range(3):
        single.update({f"experts.{e}.{part}": quantised[f"experts.{part}"][e] for part in ("gate", "up", "down")})
    again = moekit.MoeLayer.from_arrays(CONFIG, single)
    assert np.array_equal(again(x), moekit.MoeLayer.from_arrays(CONFIG, quantised)(x))


@pytest.mark.parametrize("kind", ["fp8", "int8", "mxfp4", "int4"])
def test_dtype_converts(kind):
    rng = np.random.default_rng(3)
    quantised, plain = block(kind, rng)
    x = rng.standard_normal((5, 96), dtype=np.float32)
    wide = moekit.MoeLayer.from_arrays(CONFIG, quantised, dtype="float32", backend="reference")
    assert wide.dtype == "float32"
    assert np.array_equal(wide(x), moekit.MoeLayer.from_arrays(CONFIG, plain, backend="reference")(x))
    small = moekit.MoeLayer.from_arrays(CONFIG, quantised, dtype="int8", backend="reference")
    assert small.dtype == "int8" and nmse(small(x), wide(x)) <= (0 if kind == "int8" else 1e-3)


def test_arrays_are_neither_copied_nor_let_go():
    codes, scales = np.ones((4, 128), np.uint8), np.ones((1, 1), np.float32)
    tensor = QuantTensor(codes, scales, format="fp8")
    codes[0, 0] = 0x38
    assert tensor.dequantise()[0, 0] == 1
    part, alive = tensor.rows(0, 2), weakref.ref(codes)
    del codes, tensor
    gc.collect()
    assert alive() is not None and part.dequantise()[0, 0] == 1
    del part
    gc.collect()
    assert alive() is None


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    (codes, scales, args), weights = of_kind("fp8", rng, (2,), 130, 200)
    for same in (torch.from_numpy(codes.view(np.uint8)),
                 torch.from_numpy(codes.view(np.uint8)).view(torch.float8_e4m3fn)):
        assert np.array_equal(QuantTensor(same, torch.from_numpy(scales), **args).dequantise(), weights)
    exponents = torch.full((2, 2, 2), 0.25).to(torch.float8_e8m0fnu)
    for same in (exponents, exponents.view(torch.uint8)):
        got = QuantTensor(codes, same, format="fp8").dequantise()
        assert np.array_equal(got, codes.astype(np.float32) * 0.25)


@pytest.mark.parametrize("change, error", [
    (dict(scales=np.ones((2, 2), np.float32)), r"scales: shape \[2, 2\], expected \[3, 1, 1\]"),
    (dict(scales=np.ones((3, 1, 1), np.int64)), "scales: dtype int64"),
    (dict(codes=np.ones((3, 64, 96), np.int32)), "codes: dtype int32"),
    (dict(codes=np.ones(5, np.uint8)), "1 dimensions"),
    (dict(codes=np.ones((3, 0, 96), np.uint8)), "3 matrices of 0 x 96"),
    (dict(format="float32"), "plain weights"),
    (dict(format="q4_k"), "GGUF"),
    (dict(format="nothing"), "not one of auto"),
    (dict(packing="bits"), "packing is 'bits', not one of bytes, nibbles"),
    (dict(packing="words"), "codes: dtype uint8, expected int32"),
    (dict(group=-1), "group is -1"),
    (dict(scale_rows=0), "scale_rows 0"),
    (dict(group=32), r"scales: shape .* expected \[3, 1, 3\]"),
    (dict(shape=[3, 64, 95]), r"codes: shape \[3, 64, 96\], expected \[3, 64, 95\]"),
    (dict(shape=[2, 64, 96]), "shape has 3 dimensions"),
    (dict(zeros=np.ones((3, 64, 1), np.float32)), "zeros: dtype float32"),
    (dict(zeros=np.ones((3, 64, 1), np.int8), zero=3), "both given"),
    (dict(row_scales=np.ones(2, np.float32)), "row_scales: shape"),
    (dict(column_groups=np.zeros(95, np.int32)), "column_groups: shape"),
])
def test_what_does_not_fit_is_named(change, error):
    arguments = dict(codes=np.ones((3, 64, 96), np.uint8), scales=np.ones((3, 1, 1), np.float32), format="fp8")
    assert QuantTensor(**arguments).shape == (3, 64, 96)
    with pytest.raises(ValueError, match=error):
        QuantTensor(**{**arguments, **change})


def test_errors_of_layers_name_the_tensor():
    rng = np.random.default_rng(0)
    quantised, _ = block("fp8", rng)

    def made(**changes):
        return moekit.MoeLayer.from_arrays(CONFIG, {**quantised, **changes})

    (codes, scales, args), _ = of_kind("fp8", rng, (3,), 96, 64)
    scales[1] = np.nan
    with pytest.raises(moekit.CheckpointError, match=r"experts\.down\.scales: scale 0 of row 0 is nan"):
        made(**{"experts.down": QuantTensor(codes, scales, **args)})
    two = QuantTensor(codes[:2], np.ones((2, 1, 1), np.float32), **args)
    with pytest.raises(moekit.CheckpointError, match=r"experts\.down is a stack of 2 quantised matrices, expected 3"):
        made(**{"experts.down": two})
    with pytest.raises(moekit.CheckpointError, match=r"experts\.0\.down is a stack of 2"):
        made(**{"experts.0.down": two})
    with pytest.raises(moekit.CheckpointError, match=r"shape \[64, 96\], expected \[96, 64\]"):
        made(**{"experts.down": quantised["experts.gate"]})
    with pytest.raises(moekit.CheckpointError, match="router.weight' is quantised"):
        made(**{"router.weight": two[0]})
    with pytest.raises(moekit.CheckpointError, match="'experts.more.gate' is not a tensor"):
        made(**{"experts.more.gate": two[0]})
    with pytest.raises(moekit.CheckpointError, match="one format"):
        made(**{"experts.1.down": QuantTensor(codes[0].view(np.int8), np.ones(96, np.float32), format="int8")})
    for bad in ((64, 1), (-1, 2), (0, 65), (0, 33, 2), (0, 0), (0, 1, 0)):
        with pytest.raises(ValueError, match=r"\[QuantTensor\]"):
            quantised["experts.gate"].rows(*bad)
    with pytest.raises(IndexError):
        quantised["experts.gate"][3]
    with pytest.raises(TypeError):
        quantised["experts.gate"][0][0]
    assert made()(np.ones((2, 96), np.float32)).shape == (2, 96)
