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
import cuda_arrays as cu
cu.start()
gpu = moekit.load_layer(path, 0, device="cuda")
x = np.ones((4, gpu.hidden_size), np.float32)

def refused(error, *parts, **call):
    try:
        gpu(call.pop("x"), **call)
    except error as e:
        assert all(part in str(e) for part in parts), e
    else:
        raise SystemExit("not refused: " + str(parts))

refused(ValueError, "x is on cuda:1, the layer on cuda:0", x=cu.DeviceArray.of(x, index=1))
refused(ValueError, "last dimension", x=cu.DeviceArray.of(x[:, :-1]))
refused(ValueError, "strided", x=cu.DeviceArray.of(x, strides=(1, 4)))
refused(TypeError, "int32", x=cu.DeviceArray.of(x.astype(np.int32)))
refused(ValueError, "expert_ids must be on cuda:0", x=cu.DeviceArray.of(x),
        expert_ids=np.zeros((4, gpu.config["router"]["top_k"]), np.int32))
try:
    moekit.load_layer(path, 0, device="cuda:7")
except RuntimeError as error:
    assert "cuda:7 does not exist" in str(error), error
else:
    raise SystemExit("no error for cuda:7")
y = gpu(x)                                                   # still usable
assert np.isfinite(y).all()
""", driver)
