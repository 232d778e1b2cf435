// SPDX-License-Identifier: Apache-2.0
#include "moekit/core.h"

#include <array>
#include <stdexcept>

namespace moekit {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t size;
};

// In the order of enum DType.
constexpr std::array<DTypeInfo, 16> kDTypes = {{{"float64", 8},
                                                {"float32", 4},
                                                {"bfloat16", 2},
                                                {"float16", 2},
                                                {"float8_e4m3fn", 1},
                                                {"float8_e5m2", 1},
                                                {"float8_e8m0fnu", 1},
                                                {"int64", 8},
                                                {"int32", 4},
                                                {"int16", 2},
                                                {"int8", 1},
                                                {"uint64", 8},
                                                {"uint32", 4},
                                                {"uint16", 2},
                                                {"uint8", 1},
                                                {"bool", 1}}};

}  // namespace

std::size_t dtype_size(DType dtype) noexcept { return kDTypes[static_cast<std::size_t>(dtype)].size; }

std::string_view dtype_name(DType dtype) noexcept { return kDTypes[static_cast<std::size_t>(dtype)].name; }

DType dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kDTypes.size(); ++i)
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  throw std::invalid_argument("[dtype] unknown dtype '" + std::string(name) + "'");
}

std::int64_t checked_mul(std::int64_t a, std::int64_t b, std::string_view what) {
  std::int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product))
    throw std::invalid_argument("[size] " + std::string(what) + ": " + std::to_string(a) + " * " + std::to_string(b) +
                                " is negative or passes 2^63 - 1");
  return product;
}

std::string_view version() noexcept { return MOEKIT_VERSION; }

}  // namespace moekit
