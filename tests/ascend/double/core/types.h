// SPDX-License-Identifier: Apache-2.0
// Numbers of the CANN C interface that the double speaks: interface facts, declared anew. Nothing of moekit is used
// here: the double is independent evidence, so a wrong number on one side is not silently shared with the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ascend_double {

namespace code {
inline constexpr int kSuccess = 0;
inline constexpr int kInvalidParam = 100000;  // acl
inline constexpr int kUninitialized = 100001;
inline constexpr int kRepeatInitialize = 100002;
inline constexpr int kRepeatFinalize = 100037;
inline constexpr int kUnaligned = 200003;
inline constexpr int kFeatureUnsupported = 200006;
inline constexpr int kFailure = 500001;
inline constexpr int kRtParamInvalid = 107000;  // runtime
inline constexpr int kRtInvalidDevice = 107001;
inline constexpr int kRtContextNull = 107002;
inline constexpr int kRtStreamContext = 107003;
inline constexpr int kRtStreamCaptured = 107027;
inline constexpr int kRtOutOfMemory = 207001;
inline constexpr int kRtAicoreException = 507015;
inline constexpr int kRtSyncTimeout = 507046;
inline constexpr int kNullptr = 161001;  // aclnn
inline constexpr int kParamInvalid = 161002;
inline constexpr int kRuntimeError = 361001;
inline constexpr int kTiling = 561002;
inline constexpr int kFindKernel = 561003;
inline constexpr int kInnerNullptr = 561103;
}  // namespace code

enum class DataType : int {
  kUndefined = -1,
  kFloat = 0,
  kFloat16 = 1,
  kInt8 = 2,
  kInt32 = 3,
  kUint8 = 4,
  kInt16 = 6,
  kUint16 = 7,
  kUint32 = 8,
  kInt64 = 9,
  kUint64 = 10,
  kDouble = 11,
  kBool = 12,
  kBFloat16 = 27,
  kInt4 = 29,
};

inline constexpr int kFormatNd = 2;

enum class MemcpyKind : int { kHostToHost, kHostToDevice, kDeviceToHost, kDeviceToDevice, kDefault };

// Bits of one element; 0 for a type the double does not compute with.
int element_bits(DataType dtype);
const char* name_of(DataType dtype);
bool is_floating(DataType dtype);
// Bytes of `elements` elements, the last one rounded up to a whole byte (INT4 holds two elements a byte).
int64_t bytes_of(DataType dtype, int64_t elements);

// "[2, 3]"
std::string text_of(const std::vector<int64_t>& dims);

}  // namespace ascend_double
