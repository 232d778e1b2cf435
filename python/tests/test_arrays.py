# SPDX-License-Identifier: Apache-2.0
"""Kinds of arrays, odd layouts, and the DLPack protocol's corners."""
import ctypes

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import moekit

MOE = moekit.MoE(4, 10, 5, seed=1)


def expected(x):
    return MOE(np.ascontiguousarray(x, dtype=np.float32))


def test_numpy_reference_formula():
    x, state = np.random.default_rng(0).standard_normal((7, 10)), MOE.state_dict()
    z = x @ state["gate.weight"].T.astype(float) + state["gate.bias"]
    g = np.exp(z - z.max(-1, keepdims=True))
    g /= g.sum(-1, keepdims=True)
    y = sum(g[:, [i]] * (x @ state[f"experts.{i}.weight"].T.astype(float) + state[f"experts.{i}.bias"]) for i in range(4))
    np.testing.assert_allclose(MOE(x.astype(np.float32)), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(10,), (0, 10), (1, 10), (3, 10), (2, 3, 10), (2, 0, 3, 10), (1, 1, 1, 2, 10)])
def test_shapes_and_kinds(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = MOE(x)
    assert type(y) is np.ndarray and y.dtype == np.float32 and y.shape == (*shape[:-1], 5) and y.flags.c_contiguous
    t = MOE(torch.from_numpy(x))
    assert type(t) is torch.Tensor and t.dtype == torch.float32 and np.array_equal(t.numpy(), y)
    b = MOE(x.astype(ml_dtypes.bfloat16))
    assert b.dtype == ml_dtypes.bfloat16 and b.shape == y.shape
    tb = MOE(torch.from_numpy(x).bfloat16())
    assert tb.dtype == torch.bfloat16
    assert np.array_equal(tb.view(torch.uint16).numpy(), b.view(np.uint16))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_view_gives_what_its_copy_gives(data):
    """Slices with steps of any sign, transposed and broadcast views; the bits are those of a contiguous copy."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    base = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((*shape, 23)).astype(np.float32)
    kind = data.draw(st.sampled_from(["rows", "columns", "transpose", "broadcast"]))
    x = base[..., :10]
    if kind == "rows":
        x = x[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, 3, -1, -2]))) for _ in shape)]
    elif kind == "columns":
        x = base[..., :20:2] if data.draw(st.booleans()) else base[..., 22:2:-2]
    elif kind == "transpose":
        x = np.moveaxis(x, data.draw(st.integers(0, len(shape) - 1)), 0)
    else:
        x = np.broadcast_to(x[:1], (3, *x.shape[1:]))
    before = x.copy()
    assert np.array_equal(MOE(x), expected(x))
    assert np.array_equal(x, before)
    if all(s >= 0 for s in x.strides):
        t = torch.from_numpy(base).as_strided(x.shape, [s // 4 for s in x.strides],
                                              (x.__array_interface__["data"][0] - base.ctypes.data) // 4)
        assert np.array_equal(MOE(t).numpy(), expected(x))


def test_rows_are_not_copied():
    """A huge stride: a copy of the whole span, or a view read past its rows, would need memory that is not there."""
    base = np.zeros((4, 1 << 20), np.float32)
    base[:, :10] = np.random.default_rng(0).standard_normal((4, 10))
    assert np.array_equal(MOE(base[:, :10]), expected(base[:, :10]))
    assert np.array_equal(MOE(base[::-1, :10]), expected(base[::-1, :10]))


def test_odd_numpy_arrays():
    x = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
    y = MOE(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    packed = np.zeros(6, dtype=[("pad", "u1"), ("v", "f4", (10,))])  # unaligned, stride 41
    packed["v"] = x
    memory = np.frombuffer(b"\0" + x.tobytes(), dtype="u1")[1:].view(np.float32).reshape(6, 10)
    for odd in (frozen, x.astype(">f4"), packed["v"], memory, np.asfortranarray(x), x.view(np.recarray)):
        assert np.array_equal(MOE(odd), y)
    swapped = x.astype(ml_dtypes.bfloat16)
    assert np.array_equal(MOE(np.asfortranarray(swapped)).view("u2"), MOE(swapped).view("u2"))


@pytest.mark.parametrize("x, error, message", [
    (np.zeros((2, 10)), TypeError, "float64"),
    (np.zeros((2, 10), np.float16), TypeError, "float16"),
    (np.zeros((2, 10), np.int32), TypeError, "int32"),
    (np.zeros((2, 10), np.complex64), TypeError, "complex64"),
    (np.zeros((2, 10), object), TypeError, "object"),
    (np.zeros((2, 10), ml_dtypes.float8_e5m2), TypeError, "float8_e5m2"),
    (np.zeros((2, 11), np.float32), ValueError, r"\[2, 11\].*10"),
    (np.zeros((10, 2), np.float32), ValueError, r"\[10, 2\]"),
    (np.array(1.0, np.float32), ValueError, r"\[\]"),
    (np.zeros(0, np.float32), ValueError, r"\[0\]"),
    (np.ma.masked_array(np.zeros((2, 10), np.float32)), TypeError, "mask"),
    ([[0.0] * 10], TypeError, "list"),
    (None, TypeError, "NoneType"),
    ("x" * 10, TypeError, "str"),
    (torch.zeros(2, 10, dtype=torch.float64), TypeError, "float64"),
    (torch.zeros(2, 10, device="meta"), (TypeError, ValueError), "x"),
    (torch.zeros(2, 10, requires_grad=True), TypeError, "requires grad"),
    (torch.zeros(2, 10).to_sparse(), TypeError, "x"),
    (torch.zeros(2, 9), ValueError, r"\[2, 9\]"),
])
def test_refused_by_name(x, error, message):
    with pytest.raises(error, match=message):
        MOE(x)
    assert MOE(np.zeros((1, 10), np.float32)).shape == (1, 5)


def test_requires_grad_is_fine_without_gradients():
    x = torch.ones(2, 10, requires_grad=True)
    with torch.no_grad():
        assert np.array_equal(MOE(x).numpy(), expected(np.ones((2, 10))))
    assert not MOE(torch.nn.Parameter(x.detach(), requires_grad=False)).requires_grad


def test_negated_views_of_torch():
    z = torch.randn(3, 10, dtype=torch.complex64).conj().imag
    assert z.is_neg() and np.array_equal(MOE(z).numpy(), expected(z.resolve_neg().numpy()))
    flipped = torch._neg_view(torch.ones(1, 1))
    one = moekit.MoE(2, 1, 1)
    assert np.array_equal(one(flipped).numpy(), one(np.full((1, 1), -1, np.float32)))


# --- DLPack -----------------------------------------------------------------------------------------------------------

class DlTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64)]


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Legacy(ctypes.Structure):
    _fields_ = [("tensor", DlTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", DlTensor)]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Producer:
    """A DLPack exporter with every field in the test's hands."""

    NAMES = {Legacy: b"dltensor", Versioned: b"dltensor_versioned"}

    def __init__(self, array, struct=Versioned, *, strides=True, deleter=True, offset=0, major=1, name=None, device=1,
                 old_signature=False, **tensor):
        self.array, self.deleted, self.device, self.old = array, 0, device, old_signature
        self._shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
        self._strides = (ctypes.c_int64 * max(array.ndim, 1))(*(s // array.itemsize for s in array.strides))
        self._managed = struct()
        t = self._managed.tensor
        t.data, t.device_type, t.ndim, t.code, t.bits, t.lanes = array.ctypes.data - offset, 1, array.ndim, 2, 32, 1
        t.shape, t.byte_offset = self._shape, offset
        if strides:
            t.strides = self._strides
        for key, value in tensor.items():
            setattr(t, key, value)
        if struct is Versioned:
            self._managed.major = major
        self._deleter = DELETER(self._delete)
        if deleter:
            self._managed.deleter = ctypes.cast(self._deleter, ctypes.c_void_p).value
        self.name = name or self.NAMES[struct]

    def _delete(self, _):
        self.deleted += 1

    def __dlpack_device__(self):
        return self.device, 0

    def __dlpack__(self, **kwargs):
        if self.old and kwargs:
            raise TypeError("unexpected keyword argument 'max_version'")
        return _new_capsule(ctypes.addressof(self._managed), self.name, None)


@pytest.mark.parametrize("options", [
    dict(), dict(struct=Legacy), dict(struct=Legacy, old_signature=True), dict(strides=False),
    dict(offset=64), dict(struct=Legacy, offset=8), dict(deleter=False), dict(struct=Legacy, deleter=False)])
def test_dlpack_producers(options):
    x = np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)
    producer = Producer(x, **options)
    assert np.array_equal(MOE(producer), expected(x))
    assert producer.deleted == (1 if options.get("deleter", True) else 0)


@pytest.mark.parametrize("options, error, message", [
    (dict(major=2), ValueError, "version 2"),
    (dict(name=b"used_dltensor_versioned"), ValueError, "fresh"),
    (dict(struct=Legacy, name=b"used_dltensor"), ValueError, "fresh"),
    (dict(device=2), ValueError, "device type 2"),
    (dict(device_type=10), ValueError, "device type 10"),
    (dict(lanes=4), TypeError, "lanes"),
    (dict(bits=64), TypeError, "float64"),
    (dict(code=5), TypeError, "code 5"),
    (dict(ndim=-1), ValueError, "-1 dimensions"),
    (dict(ndim=1000), ValueError, "1000 dimensions"),
    (dict(data=None), ValueError, "NULL"),
    (dict(shape=None), ValueError, "shape is NULL"),
    (dict(byte_offset=2), ValueError, "aligned"),
])
def test_dlpack_faults(options, error, message):
    producer = Producer(np.zeros((3, 10), np.float32), **options)
    with pytest.raises(error, match=message):
        MOE(producer)
    taken = "name" not in options and "device" not in options
    assert producer.deleted == (1 if taken else 0)  # exactly once, also after an error
    producer = Producer(np.zeros((3, 10), np.float32))
    producer._shape[0] = -3
    with pytest.raises(ValueError, match="-3"):
        MOE(producer)
    assert producer.deleted == 1


def test_dlpack_exporter_that_raises():
    class Broken:
        def __dlpack__(self, **_):
            raise RuntimeError("no export today")

    with pytest.raises(TypeError, match="x cannot be read: no export today") as info:
        MOE(Broken())
    assert isinstance(info.value.__cause__, RuntimeError)


def test_output_through_the_producers_library():
    class Namespace:
        @staticmethod
        def from_dlpack(array):
            return "mine", np.from_dlpack(array)

    class Array(Producer):
        def __array_namespace__(self):
            return Namespace

    x = np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)
    kind, y = MOE(Array(x))
    assert kind == "mine" and np.array_equal(y, expected(x))
    kept = y.copy()
    for _ in range(100):
        MOE(Array(x * 2))
    assert np.array_equal(y, kept)


def test_outputs_own_their_memory():
    x = torch.randn(64, 10)
    outs = [MOE(x * i) for i in range(50)]
    arrays = [MOE((x * i).numpy()) for i in range(50)]
    for a, b in zip(outs, arrays):
        assert np.array_equal(a.numpy(), b)
    outs[0].add_(1)
    assert outs[0].is_contiguous() and not outs[0].requires_grad
