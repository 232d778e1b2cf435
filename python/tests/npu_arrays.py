# SPDX-License-Identifier: Apache-2.0
"""Arrays in an NPU's memory without torch_npu: a type that offers DLPack capsules as torch_npu's tensors do, over the
double that MOEKIT_ASCEND_LIBRARY_PATH names, and a torch_npu that knows one stream. For test_ascend.py."""
import ctypes as c
import os
import sys
import types

import ml_dtypes
import numpy as np

import dlpack_structs as dl

acl = c.CDLL(os.path.join(os.environ["MOEKIT_ASCEND_LIBRARY_PATH"], "libascendcl.so"))
acl.ascend_double_calls.restype = c.c_uint64
acl.ascend_double_violations.restype = c.c_uint64
acl.aclGetRecentErrMsg.restype = c.c_char_p
TO_DEVICE, TO_HOST = 1, 2
EXTENSION = 12  # kDLExtDev

# What the library finds as module.dtype, as torch's users do.
float32, float16, int32, int64 = (np.dtype(t) for t in ("float32", "float16", "int32", "int64"))
bfloat16 = np.dtype(ml_dtypes.bfloat16)
CODES = {float32: (2, 32), float16: (2, 16), bfloat16: (4, 16), int32: (0, 32), int64: (0, 64)}


def call(name, *arguments):
    result = getattr(acl, name)(*arguments)
    assert result == 0, f"{name}: {result} {acl.aclGetRecentErrMsg()}"


def calls(*names):
    return sum(acl.ascend_double_calls(name.encode()) for name in names)


class NpuArray:
    """A C-ordered array on a device; `strides` (elements) may say something else."""

    versioned = True  # capsules of DLPack 1.x where the consumer asks for them
    live = {}  # address of what was handed out in a capsule -> its parts

    def __init__(self, shape, dtype, index=0, strides=None):
        self.shape, self.dtype, self.index, self.strides = tuple(shape), np.dtype(dtype), index, strides
        self.pointer = c.c_void_p()
        call("aclrtSetDevice", c.c_int32(index))
        call("aclrtMalloc", c.byref(self.pointer), c.c_size_t(max(1, self.nbytes)), c.c_int32(0))
        call("aclrtSetDevice", c.c_int32(0))

    nbytes = property(lambda self: int(np.prod(self.shape)) * self.dtype.itemsize)

    def free(self):
        call("aclrtFree", self.pointer)

    @classmethod
    def of(cls, values, **options):
        self = cls(values.shape, values.dtype, **options)
        values = np.ascontiguousarray(values)
        if self.nbytes and self.index == 0:
            call("aclrtMemcpy", self.pointer, c.c_size_t(self.nbytes), values.ctypes.data_as(c.c_void_p),
                 c.c_size_t(self.nbytes), c.c_int32(TO_DEVICE))
        return self

    def numpy(self):
        values = np.empty(self.shape, self.dtype)
        if self.nbytes:
            call("aclrtMemcpy", values.ctypes.data_as(c.c_void_p), c.c_size_t(self.nbytes), self.pointer,
                 c.c_size_t(self.nbytes), c.c_int32(TO_HOST))
        return values

    def new_empty(self, shape, *, dtype):
        return NpuArray(shape, dtype, self.index)

    def __dlpack_device__(self):
        return EXTENSION, self.index

    def __dlpack__(self, *, max_version=None):
        versioned = self.versioned and max_version is not None
        managed = dl.Managed() if versioned else dl.OldManaged()
        tensor = managed.tensor
        tensor.data, tensor.ndim = self.pointer.value, len(self.shape)
        tensor.device, tensor.dtype = dl.Device(EXTENSION, self.index), dl.Type(*CODES[self.dtype], 1)
        shape = (c.c_int64 * max(1, len(self.shape)))(*self.shape)
        strides = None if self.strides is None else (c.c_int64 * len(self.strides))(*self.strides)
        tensor.shape, tensor.strides = c.cast(shape, c.POINTER(c.c_int64)), c.cast(strides, c.POINTER(c.c_int64))
        managed.deleter = c.cast(delete, c.c_void_p)
        if versioned:
            managed.version = dl.Version(1, 1)
        NpuArray.live[c.addressof(managed)] = (managed, shape, strides, self)
        return new_capsule(c.addressof(managed), b"dltensor_versioned" if versioned else b"dltensor", None)


@c.CFUNCTYPE(None, c.c_void_p)
def delete(address):
    del NpuArray.live[address]


new_capsule = c.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = c.py_object, [c.c_void_p, c.c_char_p, c.c_void_p]
stream = c.c_void_p()


def start(torch_npu=True):
    """The first device for this thread, a stream, and a torch_npu whose current stream it is."""
    call("aclInit", None)
    call("aclrtSetDevice", c.c_int32(0))
    call("aclrtCreateStream", c.byref(stream))
    if torch_npu:
        module = types.ModuleType("torch_npu")
        module.npu = types.SimpleNamespace(
            current_stream=lambda index: types.SimpleNamespace(npu_stream=stream.value, device_index=index))
        sys.modules["torch_npu"] = module


def synchronize():
    call("aclrtSynchronizeStream", stream)
