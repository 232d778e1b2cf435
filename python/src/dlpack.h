// SPDX-License-Identifier: Apache-2.0
// The DLPack 1.x binary interface, as far as it is used here: https://dmlc.github.io/dlpack/latest/c_api.html
// and the C exchange table that array types offer as `__dlpack_c_exchange_api__` (DLPack 1.3).
#pragma once

#include <cstdint>

namespace moekit::python::dl {

constexpr std::int32_t kCpu = 1;
constexpr std::int32_t kCuda = 2;
constexpr std::int32_t kExtension = 12;  // kDLExtDev: torch's PrivateUse1
constexpr std::uint32_t kMajor = 1;
constexpr std::uint32_t kMinor = 1;
constexpr const char* kCapsule = "dltensor";
constexpr const char* kUsedCapsule = "used_dltensor";
constexpr const char* kVersionedCapsule = "dltensor_versioned";
constexpr const char* kUsedVersionedCapsule = "used_dltensor_versioned";
constexpr const char* kExchangeCapsule = "dlpack_exchange_api";

struct Device {
  std::int32_t type;
  std::int32_t index;
};

struct Type {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  Type dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // elements; null: C order
  std::uint64_t byte_offset;
};

struct Managed {  // before 1.0
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

/// Functions of one array type. They set a Python error and answer non-zero on failure (allocate calls set_error).
struct Exchange {
  Version version;
  Exchange* previous;
  int (*allocate)(Tensor* prototype, ManagedVersioned** out, void* context,
                  void (*set_error)(void* context, const char* kind, const char* message));
  int (*to_managed)(void* object, ManagedVersioned** out);
  int (*from_managed)(ManagedVersioned* tensor, void** object);
  int (*borrow)(void* object, Tensor* out);  // may be null
  int (*current_stream)(std::int32_t device, std::int32_t index, void** out);
};

}  // namespace moekit::python::dl
