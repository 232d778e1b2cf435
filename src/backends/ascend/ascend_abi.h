// SPDX-License-Identifier: Apache-2.0
// The C interface of Huawei's CANN libraries as far as this backend calls it: opaque handles, the values of the
// enumerations and the shapes of the functions. These are interface facts, written down here by ourselves; no header of
// CANN is included, and nothing is linked. Public projects that call the same functions by name: Ascend/pytorch and
// Ascend/op-plugin (dlsym), ggml-org/ggml (src/ggml-cann), vllm-project/vllm-ascend.
//
// Every operator X is two functions. aclnnXGetWorkspaceSize(arguments, uint64_t* bytes, aclOpExecutor** executor)
// checks the arguments and plans; aclnnX(workspace, bytes, executor, stream) enqueues the plan and deletes it, unless
// it was made repeatable between the two.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moekit::ascend {

struct AclTensor;
struct AclTensorList;
struct AclIntArray;
struct AclScalar;
struct AclExecutor;
using AclStream = void*;
using AclEvent = void*;
using AclGraph = void*;  // aclmdlRI

enum AclDType : std::int32_t {
  kAclUndefined = -1,
  kAclFloat = 0,
  kAclFloat16 = 1,
  kAclInt8 = 2,
  kAclInt32 = 3,
  kAclInt64 = 9,
  kAclBool = 12,
  kAclBFloat16 = 27,
  kAclInt4 = 29,
};
constexpr std::int32_t kAclFormatNd = 2;
enum AclCopy : std::int32_t { kAclHostToDevice = 1, kAclDeviceToHost = 2, kAclDeviceToDevice = 3 };
constexpr std::int32_t kAclHugeFirst = 0;       // allocation policy
constexpr std::int32_t kAclCaptureRelaxed = 2;  // aclmdlRICaptureMode: other threads and streams stay free
constexpr std::int32_t kAclCaptureActive = 1;   // aclmdlRICaptureStatus
constexpr std::int32_t kAclRepeatInitialize = 100002;

/// R(required) and O(optional) functions: return type, name, parameters.
// clang-format off
#define MOEKIT_ASCEND_RUNTIME(R, O)                                                                            \
  R(int, aclInit, (const char* config))                                                                        \
  R(int, aclrtGetDeviceCount, (std::uint32_t*))                                                                \
  R(int, aclrtSetDevice, (std::int32_t))                                                                       \
  R(int, aclrtGetDevice, (std::int32_t*))                                                                      \
  R(int, aclrtCreateStream, (AclStream*))                                                                      \
  R(int, aclrtDestroyStream, (AclStream))                                                                      \
  R(int, aclrtSynchronizeStream, (AclStream))                                                                  \
  R(int, aclrtCreateEvent, (AclEvent*))                                                                        \
  R(int, aclrtDestroyEvent, (AclEvent))                                                                        \
  R(int, aclrtRecordEvent, (AclEvent, AclStream))                                                              \
  R(int, aclrtStreamWaitEvent, (AclStream, AclEvent))                                                          \
  R(int, aclrtSynchronizeEvent, (AclEvent))                                                                    \
  R(int, aclrtMalloc, (void**, std::size_t, std::int32_t policy))                                              \
  R(int, aclrtFree, (void*))                                                                                   \
  R(int, aclrtMemcpy, (void* to, std::size_t room, const void* from, std::size_t bytes, std::int32_t kind))     \
  R(int, aclrtMemcpyAsync, (void* to, std::size_t room, const void* from, std::size_t bytes, std::int32_t kind, AclStream)) \
  R(int, aclrtMemsetAsync, (void*, std::size_t room, std::int32_t value, std::size_t bytes, AclStream))         \
  O(const char*, aclGetRecentErrMsg, ())                                                                       \
  O(const char*, aclrtGetSocName, ())                                                                          \
  O(int, aclrtGetVersion, (std::int32_t*, std::int32_t*, std::int32_t*))                                       \
  O(int, aclmdlRICaptureBegin, (AclStream, std::int32_t mode))                                                 \
  O(int, aclmdlRICaptureGetInfo, (AclStream, std::int32_t* status, AclGraph*))                                 \
  O(int, aclmdlRICaptureEnd, (AclStream, AclGraph*))                                                           \
  O(int, aclmdlRIExecuteAsync, (AclGraph, AclStream))                                                          \
  O(int, aclmdlRIDestroy, (AclGraph))                                                                          \
  R(AclTensor*, aclCreateTensor, (const std::int64_t* dims, std::uint64_t rank, std::int32_t dtype,             \
                                  const std::int64_t* strides, std::int64_t offset, std::int32_t format,        \
                                  const std::int64_t* storage_dims, std::uint64_t storage_rank, void* data))    \
  R(AclTensorList*, aclCreateTensorList, (const AclTensor* const*, std::uint64_t))                             \
  R(AclIntArray*, aclCreateIntArray, (const std::int64_t*, std::uint64_t))                                     \
  R(AclScalar*, aclCreateScalar, (void*, std::int32_t dtype))                                                  \
  R(int, aclDestroyTensor, (const AclTensor*))                                                                 \
  R(int, aclDestroyTensorList, (const AclTensorList*))                                                         \
  R(int, aclDestroyIntArray, (const AclIntArray*))                                                             \
  R(int, aclDestroyScalar, (const AclScalar*))                                                                 \
  O(int, aclSetAclOpExecutorRepeatable, (AclExecutor*))                                                        \
  O(int, aclDestroyAclOpExecutor, (AclExecutor*))                                                              \
  O(int, aclSetInputTensorAddr, (AclExecutor*, std::size_t index, AclTensor*, void*))                          \
  O(int, aclSetOutputTensorAddr, (AclExecutor*, std::size_t index, AclTensor*, void*))                         \
  O(int, aclSetDynamicInputTensorAddr, (AclExecutor*, std::size_t index, std::size_t at, AclTensorList*, void*))

/// Functions of HCCL, the collectives between devices. Counts are elements; X(return type, name, parameters).
struct HcclRootInfo {
  char internal[4108];
};
using HcclComm = void*;
enum HcclDType : std::int32_t { kHcclFloat16 = 3, kHcclFloat = 4, kHcclBFloat16 = 11 };
constexpr std::int32_t kHcclSum = 0;
#define MOEKIT_ASCEND_COLLECTIVES(X)                                                                           \
  X(int, HcclGetRootInfo, (HcclRootInfo*))                                                                     \
  X(int, HcclCommInitRootInfo, (std::uint32_t ranks, const HcclRootInfo*, std::uint32_t rank, HcclComm*))       \
  X(int, HcclCommDestroy, (HcclComm))                                                                          \
  X(int, HcclGetCommName, (HcclComm, char* name))                                                              \
  X(int, HcclAllGather, (void* send, void* receive, std::uint64_t count, std::int32_t dtype, HcclComm, AclStream)) \
  X(int, HcclReduceScatter, (void* send, void* receive, std::uint64_t count, std::int32_t dtype, std::int32_t reduction, \
                             HcclComm, AclStream))                                                             \
  X(const char*, HcclGetErrorString, (int))

/// X(member, symbol, parameter types before the workspace size). In brackets: the lowest generation of chips.
#define MOEKIT_ASCEND_OPERATORS(X)                                                                             \
  /* x [T,E], finished, k, y, ids, rows: softmax, then top-k; not renormalised */                              \
  X(gating_softmax, aclnnMoeGatingTopKSoftmax, In, In, std::int64_t, In, In, In)                               \
  /* x, finished, k, renorm (1: softmax of the top k), keep the softmax, y, ids, softmax */                     \
  X(gating_softmax_v2, aclnnMoeGatingTopKSoftmaxV2, In, In, std::int64_t, std::int64_t, bool, In, In, In)       \
  /* x, bias, k, groups kept, groups, group rule (0 max, 1 sum of two), renorm, rule (0 softmax, 1 sigmoid),    \
     keep scores, scale, eps, y, ids, scores */                                                                \
  X(gating_top_k, aclnnMoeGatingTopK, In, In, std::int64_t, std::int64_t, std::int64_t, std::int64_t,           \
    std::int64_t, std::int64_t, bool, double, double, In, In, In)                                              \
  /* x, ids, rows kept, capacity, experts, drop mode, counts (1 cumsum, 2 count), before capacity, expanded,    \
     row index, counts int32, counts before capacity */                                                        \
  X(init_routing_v2, aclnnMoeInitRoutingV2, In, In, std::int64_t, std::int64_t, std::int64_t, std::int64_t,     \
    std::int64_t, bool, In, In, In, In)                                                                        \
  /* x, ids, scale, offset, rows kept, capacity, experts, drop mode, counts (0 cumsum, 1 count), want counts,   \
     quantise (-1 no, 1 dynamic int8), experts' range, row index form (0 gather), expanded, row index,          \
     counts int64, scales */                                                                                   \
  X(init_routing_v3, aclnnMoeInitRoutingV3, In, In, In, In, std::int64_t, std::int64_t, std::int64_t,           \
    std::int64_t, std::int64_t, bool, std::int64_t, const AclIntArray*, std::int64_t, In, In, In, In)          \
  /* rows, row index, probabilities, padded, shape, out */                                                     \
  X(token_unpermute, aclnnMoeTokenUnpermute, In, In, In, bool, const AclIntArray*, Out)                         \
  /* x, weight, bias, scale, offset, antiquant scale, antiquant offset, per-token scale, group list,            \
     activation input, its scale and offset, split, group axis, list form (0 cumsum, 1 count), activation,      \
     out, activation out, dynamic scale out */                                                                 \
  X(grouped_matmul_v4, aclnnGroupedMatmulV4, List, List, List, List, List, List, List, List, In, List, List,    \
    List, std::int64_t, std::int64_t, std::int64_t, std::int64_t, OutList, OutList, OutList)                   \
  /* the same with a tuning array before out */                                                                \
  X(grouped_matmul_v5, aclnnGroupedMatmulV5, List, List, List, List, List, List, List, List, In, List, List,    \
    List, std::int64_t, std::int64_t, std::int64_t, std::int64_t, const AclIntArray*, OutList, OutList, OutList) \
  /* x, ids, smooth scales, mask, weights, group, ranks, rank, experts, tensor-parallel group, its size and rank,  \
     experts' shard form, shared experts, ranks of shared experts, quantise (0 no, 2 dynamic int8), tokens of all    \
     ranks, counts (0 cumsum, 1 count), algorithm, rows, scales, assist, counts int64, counts of ranks, the same of   \
     the tensor-parallel group, weights of the rows */                                                         \
  X(dispatch, aclnnMoeDistributeDispatchV2, In, In, In, In, In, const char*, std::int64_t, std::int64_t,        \
    std::int64_t, const char*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, \
    std::int64_t, std::int64_t, const char*, Out, Out, Out, Out, Out, Out, Out)                                \
  /* rows, ids, assist, counts of ranks, weights, counts of the tensor-parallel group, mask, activation scale,  \
     weight scale, group list, weights of the rows, shared experts' rows, then group .. tokens of all ranks as   \
     above, dtype of out, quantise, list form, algorithm, out */                                               \
  X(combine, aclnnMoeDistributeCombineV2, In, In, In, In, In, In, In, In, In, In, In, In, const char*,          \
    std::int64_t, std::int64_t, std::int64_t, const char*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, \
    std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, const char*, Out)                    \
  X(swiglu, aclnnSwiGlu, In, std::int64_t, Out)                     /* silu(first half) * second half along dim */ \
  X(dynamic_quant, aclnnDynamicQuant, In, In, Out, Out)             /* x, smooth scales, int8, scale */        \
  X(cast, aclnnCast, In, std::int32_t, Out)                                                                    \
  X(inplace_copy, aclnnInplaceCopy, Out, In)                        /* any strides on both sides */             \
  X(mm, aclnnMm, In, In, Out, std::int8_t)                          /* last: 0 keeps the dtype's precision */  \
  X(softmax, aclnnSoftmax, In, std::int64_t, Out)                                                              \
  X(add, aclnnAdd, In, In, const AclScalar*, Out)                   /* self + alpha * other */                 \
  X(mul, aclnnMul, In, In, Out)                                                                                \
  X(div, aclnnDiv, In, In, Out)                                                                                \
  X(adds, aclnnAdds, In, const AclScalar*, const AclScalar*, Out)   /* self + alpha * other */                 \
  X(muls, aclnnMuls, In, const AclScalar*, Out)                                                                \
  X(sigmoid, aclnnSigmoid, In, Out)                                                                            \
  X(erf, aclnnErf, In, Out)                                                                                    \
  X(relu, aclnnRelu, In, Out)                                                                                  \
  X(clamp, aclnnClamp, In, const AclScalar*, const AclScalar*, Out) /* either bound may be null */             \
  X(reduce_sum, aclnnReduceSum, In, const AclIntArray*, bool, std::int32_t, Out)                               \
  X(gather, aclnnGather, In, std::int64_t, In, Out)                                                            \
  X(nan_to_num, aclnnNanToNum, In, float, float, float, Out)        /* values for NaN, +Inf, -Inf */           \
  X(ge_scalar, aclnnGeScalar, In, const AclScalar*, Out)                                                       \
  X(lt_scalar, aclnnLtScalar, In, const AclScalar*, Out)                                                       \
  X(masked_fill, aclnnInplaceMaskedFillScalar, Out, In, const AclScalar*)
// clang-format on

/// What the lists above write: parameters of the operators.
using In = const AclTensor*;
using Out = AclTensor*;
using List = const AclTensorList*;
using OutList = AclTensorList*;

}  // namespace moekit::ascend
