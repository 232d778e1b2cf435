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
