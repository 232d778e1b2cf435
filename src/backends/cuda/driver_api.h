// SPDX-License-Identifier: Apache-2.0
// The CUDA driver as moekit sees it: a table of functions found at run time.
//
// How CUDA is reached
// - Nothing of CUDA is linked. libcuda.so.1 (it comes with the display driver) is opened on first use by dlopen and the
//   functions below are looked up by dlsym under the names they have here. The CUDA runtime (libcudart) is not used at
//   all. The library therefore starts on every machine, and says "cuda: not available: <reason>" where there is no
//   driver or no device.
// - MOEKIT_CUDA_LIBRARY_PATH=<folder> makes it open <folder>/libcuda.so.1 (and <folder>/libcublas.so.13) and nothing
//   else: for a driver in an unusual place, and for the stand-in of the tests.
// - Kernels: each src/backends/cuda/*.cu becomes a fatbin (nvcc -fatbin: machine code for several architectures and PTX
//   for later ones) that is embedded into the library (kernel_images.h) and handed to cuLibraryLoadData once a process.
//   Kernels are found by cuLibraryGetKernel; the CUkernel goes to cuLaunchKernel in place of a CUfunction, which is
//   valid in any context since CUDA 12.0.
// - Every kernel has C linkage, a name that begins with "moekit_", and exactly ONE parameter: a trivially copyable
// struct
//   by value (kernels.h lists names and structs). kernelParams is thus always an array of one pointer, to that struct.
//   All shared memory is dynamic.
// - Contexts: the primary context of the device (the one that the runtime and torch use), retained once and made
//   current around each call (cuCtxPushCurrent / cuCtxPopCurrent).
// - Streams are the caller's CUstream (a cudaStream_t is the same thing); a null Stream means the legacy default stream
//   and a synchronisation at the end of the call.
// - A build without nvcc has the host side and one line of text in place of the fatbins: a driver refuses it and the
//   backend says that it was built without kernels; a stand-in that knows the kernels by name may accept it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace moekit::cuda {

// The types of the driver's C interface. tests/cuda compares them with <cuda.h> where a toolkit is found.
using Result = int;                        // CUresult
using DeviceOrdinal = int;                 // CUdevice
using DevicePointer = unsigned long long;  // CUdeviceptr
struct ContextObject;
struct StreamObject;
struct EventObject;
struct LibraryObject;
struct KernelObject;
using Context = ContextObject*;        // CUcontext
using StreamHandle = StreamObject*;    // CUstream
using Event = EventObject*;            // CUevent
using KernelLibrary = LibraryObject*;  // CUlibrary
using Kernel = KernelObject*;          // CUkernel, and CUfunction in cuLaunchKernel

constexpr Result kSuccess = 0;
constexpr Result kOutOfMemory = 2;
constexpr Result kInvalidImage = 200;
constexpr Result kNoBinaryForGpu = 209;
// CUdevice_attribute, CUfunction_attribute, CUpointer_attribute, CUstreamCaptureStatus, flags
constexpr int kMaxSharedMemoryPerBlockOptin = 97;
constexpr int kMultiprocessorCount = 16;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;
constexpr int kMaxDynamicSharedSizeBytes = 8;
constexpr int kPointerMemoryType = 2;
constexpr int kPointerDeviceOrdinal = 9;
constexpr unsigned kMemoryTypeDevice = 2;
constexpr int kCaptureStatusNone = 0;
constexpr unsigned kStreamNonBlocking = 1;
constexpr unsigned kEventDisableTiming = 2;

// X(member, exported name, parameters)
#define MOEKIT_CUDA_DRIVER_FUNCTIONS(X)                                                                           \
  X(init, cuInit, (unsigned flags))                                                                               \
  X(driver_version, cuDriverGetVersion, (int* version))                                                           \
  X(error_name, cuGetErrorName, (Result error, const char** name))                                                \
  X(error_string, cuGetErrorString, (Result error, const char** text))                                            \
  X(device_count, cuDeviceGetCount, (int* count))                                                                 \
  X(device_get, cuDeviceGet, (DeviceOrdinal * device, int ordinal))                                               \
  X(device_name, cuDeviceGetName, (char* name, int length, DeviceOrdinal device))                                 \
  X(device_attribute, cuDeviceGetAttribute, (int* value, int attribute, DeviceOrdinal device))                    \
  X(primary_context_retain, cuDevicePrimaryCtxRetain, (Context * context, DeviceOrdinal device))                  \
  X(context_push, cuCtxPushCurrent_v2, (Context context))                                                         \
  X(context_pop, cuCtxPopCurrent_v2, (Context * context))                                                         \
  X(memory_allocate, cuMemAlloc_v2, (DevicePointer * pointer, std::size_t bytes))                                 \
  X(memory_free, cuMemFree_v2, (DevicePointer pointer))                                                           \
  X(memory_set, cuMemsetD8Async, (DevicePointer to, unsigned char value, std::size_t bytes, StreamHandle stream)) \
  X(copy_to_device, cuMemcpyHtoDAsync_v2,                                                                         \
    (DevicePointer to, const void* from, std::size_t bytes, StreamHandle stream))                                 \
  X(copy_to_host, cuMemcpyDtoHAsync_v2, (void* to, DevicePointer from, std::size_t bytes, StreamHandle stream))   \
  X(copy_on_device, cuMemcpyDtoDAsync_v2,                                                                         \
    (DevicePointer to, DevicePointer from, std::size_t bytes, StreamHandle stream))                               \
  X(pointer_attribute, cuPointerGetAttribute, (void* value, int attribute, DevicePointer pointer))                \
  X(stream_create, cuStreamCreate, (StreamHandle * stream, unsigned flags))                                       \
  X(stream_destroy, cuStreamDestroy_v2, (StreamHandle stream))                                                    \
  X(stream_synchronize, cuStreamSynchronize, (StreamHandle stream))                                               \
  X(stream_wait_event, cuStreamWaitEvent, (StreamHandle stream, Event event, unsigned flags))                     \
  X(stream_is_capturing, cuStreamIsCapturing, (StreamHandle stream, int* status))                                 \
  X(stream_context, cuStreamGetCtx, (StreamHandle stream, Context * context))                                     \
  X(event_create, cuEventCreate, (Event * event, unsigned flags))                                                 \
  X(event_destroy, cuEventDestroy_v2, (Event event))                                                              \
  X(event_record, cuEventRecord, (Event event, StreamHandle stream))                                              \
  X(library_load, cuLibraryLoadData,                                                                              \
    (KernelLibrary * library, const void* image, int* jit_options, void** jit_values, unsigned jit_count,         \
     int* library_options, void** library_values, unsigned library_count))                                        \
  X(library_unload, cuLibraryUnload, (KernelLibrary library))                                                     \
  X(library_kernel, cuLibraryGetKernel, (Kernel * kernel, KernelLibrary library, const char* name))               \
  X(kernel_set_attribute, cuKernelSetAttribute, (int attribute, int value, Kernel kernel, DeviceOrdinal device))  \
  X(launch, cuLaunchKernel,                                                                                       \
    (Kernel kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,        \
     unsigned block_z, unsigned shared_bytes, StreamHandle stream, void** params, void** extra))

struct DriverApi {
#define MOEKIT_CUDA_MEMBER(member, name, params) Result(*member) params = nullptr;
  MOEKIT_CUDA_DRIVER_FUNCTIONS(MOEKIT_CUDA_MEMBER)
#undef MOEKIT_CUDA_MEMBER
};

/// The table, opened on first use and kept; null with `reason` set when the driver cannot be used here (library not
/// found, a function missing, cuInit failed, no device).
const DriverApi* driver_api(std::string* reason);

/// Throws DeviceError "[call] NAME (code): text" when `result` is not success; std::bad_alloc is never thrown: a device
/// that is out of memory is a DeviceError too.
void check(const DriverApi& driver, Result result, const char* call, const std::string& detail = "");

}  // namespace moekit::cuda
