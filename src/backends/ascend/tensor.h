// SPDX-License-Identifier: Apache-2.0
// Views of device memory, as operators get them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "backends/ascend/ascend_abi.h"
#include "moekit/core.h"

namespace moekit::ascend {

/// Memory of the caller, whose address may differ in the next call.
enum class Foreign : std::uint8_t { kNo, kInput, kOutput };

constexpr std::size_t kMaxRank = 4;

struct Tensor {
  void* data = nullptr;
  AclDType dtype = kAclFloat;
  std::size_t rank = 0;
  std::array<std::int64_t, kMaxRank> dims{};
  std::array<std::int64_t, kMaxRank> strides{};  // elements
  Foreign foreign = Foreign::kNo;

  explicit operator bool() const noexcept { return data != nullptr; }
  std::int64_t elements() const noexcept {
    std::int64_t count = 1;
    for (std::size_t i = 0; i < rank; ++i) count *= dims[i];
    return count;
  }
  bool contiguous() const noexcept;
  /// Of a contiguous tensor.
  std::size_t bytes() const noexcept;

  /// The same memory in another shape, contiguous.
  Tensor reshaped(std::initializer_list<std::int64_t> shape) const noexcept;
  /// Columns first .. first + count of the last dimension.
  Tensor columns(std::int64_t first, std::int64_t count) const noexcept;
  /// Entries first .. first + count of the first dimension.
  Tensor slice(std::int64_t first, std::int64_t count) const noexcept;
  /// The last two dimensions exchanged.
  Tensor transposed() const noexcept;
};

/// A contiguous tensor over memory.
Tensor tensor_over(const void* data, AclDType dtype, std::initializer_list<std::int64_t> shape) noexcept;

/// Bytes of `elements` elements; two int4 share one.
std::size_t dtype_bytes(AclDType dtype, std::int64_t elements) noexcept;

/// float32, bfloat16 and float16 only.
AclDType acl_dtype(DType dtype) noexcept;
DType host_dtype(AclDType dtype) noexcept;

}  // namespace moekit::ascend
