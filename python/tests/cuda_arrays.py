# SPDX-License-Identifier: Apache-2.0
"""Arrays in device memory without torch: a type that offers the DLPack exchange table as torch's tensors do, over the
driver that MOEKIT_CUDA_LIBRARY_PATH names (the tests' stand-in, or a real one). For test_cuda.py."""
import ctypes as c
import os

import numpy as np

from dlpack_structs import Device, Managed, Tensor, Type, Version

cuda = c.CDLL(os.path.join(os.environ["MOEKIT_CUDA_LIBRARY_PATH"], "libcuda.so.1"))
POINTER = c.c_uint64
for name in ("cuMemAlloc_v2", "cuMemFree_v2", "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2", "cuStreamCreate",
             "cuStreamSynchronize", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"):
    getattr(cuda, name).restype = c.c_int


def call(name, *arguments):
    result = getattr(cuda, name)(*arguments)
    assert result == 0, f"{name}: {result}"


ALLOCATE = c.CFUNCTYPE(c.c_int, c.POINTER(Tensor), c.POINTER(c.POINTER(Managed)), c.c_void_p, c.c_void_p)
FROM_MANAGED = c.CFUNCTYPE(c.c_int, c.POINTER(Managed), c.POINTER(c.c_void_p))
BORROW = c.CFUNCTYPE(c.c_int, c.py_object, c.POINTER(Tensor))
STREAM = c.CFUNCTYPE(c.c_int, c.c_int32, c.c_int32, c.POINTER(c.c_void_p))


class Exchange(c.Structure):
    _fields_ = [("version", Version), ("previous", c.c_void_p), ("allocate", ALLOCATE), ("to_managed", c.c_void_p),
                ("from_managed", FROM_MANAGED), ("borrow", BORROW), ("current_stream", STREAM)]


TYPES = {(2, 32): np.dtype(np.float32), (2, 16): np.dtype(np.float16), (0, 32): np.dtype(np.int32), (0, 64): np.dtype(np.int64)}
CODES = {dtype: code for code, dtype in TYPES.items()}


class DeviceArray:
    """A C-ordered array on a device; `strides` (elements) and `kind` (of the device: 2 is CUDA) may say something else."""

    live = {}  # address of what was allocated for the library -> its Managed

    def __init__(self, shape, dtype, index=0, strides=None, kind=2):
        self.shape, self.dtype, self.strides = tuple(shape), np.dtype(dtype), strides
        self.kind, self.index = kind, index
        self.pointer = POINTER()
        call("cuMemAlloc_v2", c.byref(self.pointer), c.c_size_t(max(1, self.nbytes)))
        self._shape = (c.c_int64 * max(1, len(self.shape)))(*self.shape)
        self._strides = None if strides is None else (c.c_int64 * len(strides))(*strides)

    nbytes = property(lambda self: int(np.prod(self.shape)) * self.dtype.itemsize)

    @classmethod
    def of(cls, values, **options):
        self = cls(values.shape, values.dtype, **options)
        values = np.ascontiguousarray(values)
        call("cuMemcpyHtoD_v2", self.pointer, values.ctypes.data_as(c.c_void_p), c.c_size_t(self.nbytes))
        return self

    def numpy(self):
        values = np.empty(self.shape, self.dtype)
        call("cuMemcpyDtoH_v2", values.ctypes.data_as(c.c_void_p), self.pointer, c.c_size_t(self.nbytes))
        return values

    def describe(self, tensor):
        tensor.data, tensor.byte_offset, tensor.ndim = self.pointer.value, 0, len(self.shape)
        tensor.device = Device(self.kind, self.index)
        tensor.dtype = Type(*CODES[self.dtype], 1)
        tensor.shape = c.cast(self._shape, c.POINTER(c.c_int64))
        tensor.strides = c.cast(self._strides, c.POINTER(c.c_int64))


stream = c.c_void_p()


@ALLOCATE
def allocate(prototype, out, _context, _set_error):
    p = prototype.contents
    array = DeviceArray([p.shape[i] for i in range(p.ndim)], TYPES[(p.dtype.code, p.dtype.bits)], p.device.index)
    managed = Managed()
    array.describe(managed.tensor)
    DeviceArray.live[c.addressof(managed)] = (managed, array)
    out[0] = c.pointer(managed)
    return 0


@FROM_MANAGED
def from_managed(managed, out):
    _, array = DeviceArray.live.pop(c.addressof(managed.contents))
    c.pythonapi.Py_IncRef(c.py_object(array))
    out[0] = id(array)
    return 0


@BORROW
def borrow(array, out):
    array.describe(out.contents)
    return 0


@STREAM
def current_stream(_type, _index, out):
    out[0] = stream.value
    return 0


def start():
    """A current context, a stream that the library shall use, and the exchange table on DeviceArray."""
    context = c.c_void_p()
    call("cuInit", c.c_uint(0))
    call("cuDevicePrimaryCtxRetain", c.byref(context), c.c_int(0))
    call("cuCtxPushCurrent_v2", context)
    call("cuStreamCreate", c.byref(stream), c.c_uint(1))
    table = Exchange(Version(1, 3), None, allocate, None, from_managed, borrow, current_stream)
    c.pythonapi.PyCapsule_New.restype = c.py_object
    c.pythonapi.PyCapsule_New.argtypes = [c.c_void_p, c.c_char_p, c.c_void_p]
    DeviceArray.table = table
    DeviceArray.__dlpack_c_exchange_api__ = c.pythonapi.PyCapsule_New(c.addressof(table), b"dlpack_exchange_api", None)


def synchronize():
    call("cuStreamSynchronize", stream)


def use_stream_of(device):
    """The library is told a new stream of this device from now on, whatever device it asks for."""
    context = c.c_void_p()
    call("cuDevicePrimaryCtxRetain", c.byref(context), c.c_int(device))
    call("cuCtxPushCurrent_v2", context)
    call("cuStreamCreate", c.byref(stream), c.c_uint(1))
    call("cuCtxPopCurrent_v2", c.byref(context))
