# SPDX-License-Identifier: Apache-2.0
"""device="cuda": without a driver, and over the stand-in driver that the C++ tests build. One process each: the driver
is opened once."""
import pytest

from own_process import built
from own_process import run as run_code

DRIVER = built("tests/cuda/runtime/driver/libcuda.so.1")


def run(code, library_path):
    run_code(code, MOEKIT_CUDA_LIBRARY_PATH=library_path)


@pytest.fixture
def driver():
    if DRIVER is None:
        pytest.skip("not tested: cuda from Python, the stand-in driver is not built")
    return DRIVER


def test_without_a_driver_the_error_says_why(tmp_path):
    run("""
for make in (lambda: moekit.load_layer(path, 0, device="cuda"), lambda: moekit.MoE(2, 3, 4, device="cuda:0")):
    try:
        make()
    except moekit.UnsupportedError as error:
        assert "cuda: not available: no driver" in str(error), error
    else:
        raise SystemExit("no error")
assert moekit.MoE(2, 3, 4)(np.ones((1, 3), np.float32)).shape == (1, 4)
""", tmp_path)


def test_host_arrays_and_device_arrays_give_the_same_bits(driver):
    run("""
import cuda_arrays as cu
cu.start()
gpu, cpu = (moekit.load_layer(path, 0, device=d) for d in ("cuda", "cpu"))
assert gpu.backend == "cuda"
x = np.random.default_rng(0).standard_normal((5, gpu.hidden_size)).astype(np.float32)
y, routing = gpu(x, return_routing=True)
want, _ = cpu(x, return_routing=True)
assert np.square(y - want).sum() <= 1e-4 * np.square(want).sum()

got, where = gpu(cu.DeviceArray.of(x), return_routing=True)
plain = gpu(cu.DeviceArray.of(x))
cu.synchronize()
assert isinstance(got, cu.DeviceArray)
assert np.array_equal(got.numpy(), y) and np.array_equal(plain.numpy(), y)
assert np.array_equal(where.expert_ids.numpy(), routing.expert_ids)
assert np.array_equal(where.weights.numpy(), routing.weights)

third = gpu(cu.DeviceArray.of(x.reshape(5, 1, -1)))
cu.synchronize()
assert third.shape == (5, 1, gpu.hidden_size) and np.array_equal(third.numpy().reshape(y.shape), y)
""", driver)


def test_what_does_not_fit_is_refused(driver):
    run("""
from device_refusals import refused, refuses_arrays_that_do_not_fit
import cuda_arrays as cu
cu.start()
gpu = moekit.load_layer(path, 0, device="cuda")
x = np.ones((4, gpu.hidden_size), np.float32)

refuses_arrays_that_do_not_fit(gpu, cu.DeviceArray, "cuda")
for kind in (10, 13, 3):                                     # ROCm, managed memory, pinned host memory
    refused(gpu, ValueError, f"x is on DLPack device {kind}:0, the layer on cuda:0", x=cu.DeviceArray.of(x, kind=kind))
ids = np.zeros((4, gpu.config["router"]["top_k"]), np.int32)
refused(gpu, ValueError, "expert_ids is on cuda:1, the layer on cuda:0", x=cu.DeviceArray.of(x),
        expert_ids=cu.DeviceArray.of(ids, index=1))
refused(gpu, TypeError, "expert_ids on a device must be contiguous int32", x=cu.DeviceArray.of(x),
        expert_ids=cu.DeviceArray.of(ids.astype(np.int64)))
refused(moekit.load_layer(path, 0), ValueError, "DLPack device type 2", x=cu.DeviceArray.of(x))
for ordinal in (2, 7):                                       # the stand-in has two
    try:
        moekit.load_layer(path, 0, device=f"cuda:{ordinal}")
    except RuntimeError as error:
        assert f"cuda:{ordinal} does not exist: the driver finds 2 devices" in str(error), error
    else:
        raise SystemExit(f"no error for cuda:{ordinal}")
for name in ("cuda:-1", "cuda:x", "gpu"):
    try:
        moekit.load_layer(path, 0, device=name)
    except ValueError as error:
        assert name in str(error), error
    else:
        raise SystemExit("no error for " + name)
other = moekit.load_layer(path, 0, device="cuda:1")
refused(other, ValueError, "x is on cuda:0, the layer on cuda:1", x=cu.DeviceArray.of(x))
y = gpu(x)                                                   # still usable
assert np.isfinite(y).all()
""", driver)


def test_a_stream_of_another_device_is_refused(driver):
    run("""
from device_refusals import refused
import cuda_arrays as cu
cu.start()
gpu = moekit.load_layer(path, 0, device="cuda")
x = np.ones((4, gpu.hidden_size), np.float32)
want = gpu(x)
cu.use_stream_of(1)
refused(gpu, ValueError, "stream", "another device than cuda:0", x=cu.DeviceArray.of(x))
cu.use_stream_of(0)
y = gpu(cu.DeviceArray.of(x))
cu.synchronize()
assert np.array_equal(y.numpy(), want)
""", driver)


def test_float16_in_and_out(driver):
    run("""
import cuda_arrays as cu
cu.start()
gpu, cpu = moekit.load_layer(path, 0, device="cuda", dtype="float16"), moekit.load_layer(path, 0, dtype="float32")
assert "weights: float16" in gpu.explain() and "m16n8k16 on float16" in gpu.explain(), gpu.explain()
x = np.random.default_rng(0).standard_normal((5, gpu.hidden_size)).astype(np.float16)
y = gpu(x)
want = cpu(x.astype(np.float32))
assert y.dtype == np.float16
assert np.square(y.astype(np.float32) - want).sum() <= 1e-5 * np.square(want).sum()
got = gpu(cu.DeviceArray.of(x))
cu.synchronize()
assert got.dtype == np.float16 and np.array_equal(got.numpy(), y)
try:
    cpu(x)
except TypeError as error:
    assert "float16" in str(error), error
else:
    raise SystemExit("the CPU's kernels took float16")
""", driver)
