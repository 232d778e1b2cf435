# SPDX-License-Identifier: Apache-2.0
"""device="ascend": without CANN, and over the double that the C++ tests build. One process each: libraries are opened
once."""
import pytest

from own_process import built
from own_process import run as run_code

DOUBLE = built("tests/ascend/double/lib/libascendcl.so")


def run(code, library_path):
    run_code("import ml_dtypes, pickle\n" + code, MOEKIT_ASCEND_LIBRARY_PATH=library_path)


@pytest.fixture
def double():
    if DOUBLE is None:
        pytest.skip("not tested: ascend from Python, the double of its libraries is not built")
    return DOUBLE


def test_without_libraries_the_error_says_what_was_tried(tmp_path):
    run("""
for make in (lambda: moekit.load_layer(path, 0, device="ascend"), lambda: moekit.MoE(2, 3, 4, device="npu:0")):
    try:
        make()
    except moekit.UnsupportedError as error:
        assert "ascend: not available: tried libascendcl.so" in str(error), error
    else:
        raise SystemExit("no error")
assert moekit.MoE(2, 3, 4)(np.ones((1, 3), np.float32)).shape == (1, 4)
""", tmp_path)


def test_layer_on_host_arrays(double):
    run("""
npu, cpu = (moekit.load_layer(path, 0, device=d) for d in ("ascend", "cpu"))
assert npu.backend == "ascend" and "routes on the device" in npu.explain()
x = np.random.default_rng(0).standard_normal((37, npu.hidden_size)).astype(np.float32)
for array in (x, x.astype(ml_dtypes.bfloat16), x[::-2], x[:0], x.reshape(37, 1, -1)):
    y, routing = npu(array, return_routing=True)
    want, _ = cpu(array, return_routing=True)
    assert y.shape == want.shape and y.dtype == want.dtype
    error = np.square(y.astype(np.float64) - want.astype(np.float64)).sum()
    assert error <= 1e-4 * np.square(want.astype(np.float64)).sum(), error
assert np.array_equal(npu(x), npu(x))
try:
    npu(x[:, :-1])
except ValueError as error:
    assert "last dimension" in str(error)
else:
    raise SystemExit("no error")
""", double)


def test_dense_module(double):
    run("""
cpu, npu = moekit.MoE(4, 10, 5), moekit.MoE(4, 10, 5, device="ascend")
npu.load_state_dict(cpu.state_dict())
x = np.random.default_rng(1).standard_normal((32, 10)).astype(np.float32)
assert np.allclose(npu(x), cpu(x), rtol=1e-5, atol=1e-5)
assert "ascend" in repr(npu) and "ascend" in repr(pickle.loads(pickle.dumps(npu)))
""", double)


def test_arrays_of_torch_npu_give_the_bits_of_host_arrays_without_a_copy(double):
    run("""
import npu_arrays as npu
npu.start()
layer = moekit.load_layer(path, 0, device="ascend")
x = np.random.default_rng(0).standard_normal((5, layer.hidden_size)).astype(np.float32)
for dtype in (npu.float32, npu.float16, npu.bfloat16):
    host = x.astype(dtype)
    want, routing = layer(host, return_routing=True)
    for versioned in (True, False):
        npu.NpuArray.versioned = versioned
        given = npu.NpuArray.of(host)
        warm = layer(given)                                  # a workspace is there
        npu.synchronize()
        warm.free()
        copies = npu.calls("aclrtMemcpy", "aclrtSynchronizeStream")
        got, where = layer(given, return_routing=True)
        assert npu.calls("aclrtMemcpy", "aclrtSynchronizeStream") == copies
        npu.synchronize()
        assert isinstance(got, npu.NpuArray) and got.dtype == dtype and got.shape == x.shape
        assert np.array_equal(got.numpy(), want)
        assert np.array_equal(where.expert_ids.numpy(), routing.expert_ids)
        assert np.array_equal(where.weights.numpy(), routing.weights)
third = layer(npu.NpuArray.of(x.reshape(5, 1, -1)))
npu.synchronize()
assert third.shape == (5, 1, layer.hidden_size) and np.array_equal(third.numpy().reshape(x.shape), layer(x))
assert not npu.NpuArray.live                                 # every capsule was given back
assert npu.acl.ascend_double_violations() == 0
""", double)


def test_arrays_of_torch_npu_that_do_not_fit_are_refused(double):
    run("""
from device_refusals import refused, refuses_arrays_that_do_not_fit
import npu_arrays as npu
npu.start()
layer = moekit.load_layer(path, 0, device="ascend")
x = np.ones((4, layer.hidden_size), np.float32)

refuses_arrays_that_do_not_fit(layer, npu.NpuArray, "ascend")
npu.NpuArray.new_empty, kept = None, npu.NpuArray.new_empty
del npu.NpuArray.new_empty
refused(layer, TypeError, "without new_empty", x=npu.NpuArray.of(x))
npu.NpuArray.new_empty = kept
import sys
sys.modules["torch_npu"] = None                              # what import finds where the package is not installed
refused(layer, moekit.UnsupportedError, "torch_npu", "cannot be imported", x=npu.NpuArray.of(x))
try:
    moekit.load_layer(path, 0)(npu.NpuArray.of(x))
except ValueError as error:
    assert "device type 12" in str(error), error
else:
    raise SystemExit("taken by a layer on the CPU")
assert not npu.NpuArray.live
assert np.isfinite(layer(x)).all()                           # still usable
""", double)


def test_quantised_products_by_name(double):
    run("""
rng = np.random.default_rng(2)
config = {"router": {"num_experts": 8, "top_k": 2}, "expert": {"input": 64, "intermediate": 32, "output": 64}}
tensors = {"router.weight": rng.standard_normal((8, 64)).astype(np.float32)}
for part, shape in (("gate", (8, 32, 64)), ("up", (8, 32, 64)), ("down", (8, 64, 32))):
    tensors["experts." + part] = (rng.standard_normal(shape) / 8).astype(np.float32)
x = rng.standard_normal((37, 64)).astype(np.float32)
kinds = (("int8", False, "A16W8", 1e-3), ("int4", False, "A16W4", 1e-3), ("int8", True, "A8W8", 1e-2),
         ("float16", False, "weights and rows in float16", 1e-5))
for dtype, int8_activations, name, bound in kinds:
    want = moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype, backend="reference")(x)
    layers = [moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype, device="ascend",
                                          int8_activations=int8_activations)]
    if dtype != "int4":
        layers.append(moekit.load_layer(path, 0, dtype=dtype, device="ascend", int8_activations=int8_activations))
    for layer in layers:
        assert name in layer.explain(), layer.explain()
    y = layers[0](x)
    error = np.square(y - want).sum() / np.square(want).sum()
    assert error < bound, (dtype, int8_activations, error)
half = x.astype(np.float16)
y = moekit.MoeLayer.from_arrays(config, {n: t.astype(np.float16) for n, t in tensors.items()}, device="ascend")(half)
assert y.dtype == np.float16
npu = moekit.MoE(4, 64, 32, dtype="int8", device="ascend", int8_activations=False)
assert "A16W8" in npu.explain(), npu.explain()
for dtype in ("float32", "int4"):
    try:
        moekit.MoeLayer.from_arrays(config, tensors, dtype=dtype, device="ascend", int8_activations=True)
    except moekit.UnsupportedError as error:
        assert "int8" in str(error), error
    else:
        raise SystemExit("no error for int8 activations with " + dtype)
""", double)
