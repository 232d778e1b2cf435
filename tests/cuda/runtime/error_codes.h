// SPDX-License-Identifier: Apache-2.0
// The driver's result codes that the stand-in gives, under their published names and numbers.
#pragma once

namespace moekit::standin {

// X(name, number, text)
#define MOEKIT_STANDIN_ERRORS(X)                                                                               \
  X(SUCCESS, 0, "no error")                                                                                    \
  X(ERROR_INVALID_VALUE, 1, "invalid argument")                                                                \
  X(ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                                   \
  X(ERROR_NOT_INITIALIZED, 3, "initialization error")                                                          \
  X(ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                                \
  X(ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                       \
  X(ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                                                \
  X(ERROR_INVALID_CONTEXT, 201, "invalid device context")                                                      \
  X(ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")                  \
  X(ERROR_ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")                                       \
  X(ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                                      \
  X(ERROR_NOT_FOUND, 500, "named symbol not found")                                                            \
  X(ERROR_NOT_READY, 600, "device not ready")                                                                  \
  X(ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                                    \
  X(ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")                             \
  X(ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                                    \
  X(ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")                 \
  X(ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")          \
  X(ERROR_STREAM_CAPTURE_UNMATCHED, 903, "the capture was not begun on this stream")                           \
  X(ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")                                  \
  X(ERROR_STREAM_CAPTURE_ISOLATION, 905, "dependency created on uncaptured work in another stream")            \
  X(ERROR_STREAM_CAPTURE_IMPLICIT, 906, "operation would make the legacy stream depend on a capturing stream") \
  X(ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream")      \
  X(ERROR_UNKNOWN, 999, "unknown error")

enum Code : int {
#define X(name, number, text) name = number,
  MOEKIT_STANDIN_ERRORS(X)
#undef X
};

}  // namespace moekit::standin
