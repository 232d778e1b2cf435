// SPDX-License-Identifier: Apache-2.0
// Driver functions that the library does not call but its users do (torch captures graphs): the tests call them.
#pragma once

#include "backends/cuda/driver_api.h"

namespace moekit::cuda {
struct GraphObject;
struct GraphExecObject;
using Graph = GraphObject*;          // CUgraph
using GraphExec = GraphExecObject*;  // CUgraphExec
}  // namespace moekit::cuda

// X(exported name, parameters), as MOEKIT_CUDA_DRIVER_FUNCTIONS
#define MOEKIT_STANDIN_EXTRA_FUNCTIONS(X)                                                   \
  X(cuCtxGetCurrent, (Context * context))                                                   \
  X(cuCtxGetDevice, (DeviceOrdinal * device))                                               \
  X(cuCtxSynchronize, ())                                                                   \
  X(cuDevicePrimaryCtxRelease_v2, (DeviceOrdinal device))                                   \
  X(cuMemAllocHost_v2, (void** pointer, std::size_t bytes))                                 \
  X(cuMemFreeHost, (void* pointer))                                                         \
  X(cuMemGetInfo_v2, (std::size_t * available, std::size_t * total))                        \
  X(cuMemcpyHtoD_v2, (DevicePointer to, const void* from, std::size_t bytes))               \
  X(cuMemcpyDtoH_v2, (void* to, DevicePointer from, std::size_t bytes))                     \
  X(cuStreamQuery, (StreamHandle stream))                                                   \
  X(cuEventQuery, (Event event))                                                            \
  X(cuEventSynchronize, (Event event))                                                      \
  X(cuStreamBeginCapture_v2, (StreamHandle stream, int mode))                               \
  X(cuStreamEndCapture, (StreamHandle stream, Graph * graph))                               \
  X(cuGraphGetNodes, (Graph graph, void** nodes, std::size_t* count))                       \
  X(cuGraphInstantiateWithFlags, (GraphExec * exec, Graph graph, unsigned long long flags)) \
  X(cuGraphLaunch, (GraphExec exec, StreamHandle stream))                                   \
  X(cuGraphDestroy, (Graph graph))                                                          \
  X(cuGraphExecDestroy, (GraphExec exec))

extern "C" {
namespace moekit::cuda {
#define X(name, params) int name params;
MOEKIT_STANDIN_EXTRA_FUNCTIONS(X)
#undef X
#define X(member, name, params) int name params;
MOEKIT_CUDA_DRIVER_FUNCTIONS(X)
#undef X
}  // namespace moekit::cuda
}
