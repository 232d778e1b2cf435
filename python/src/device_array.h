// SPDX-License-Identifier: Apache-2.0
// Arrays in device memory as their libraries describe them: types with the DLPack C exchange table, and on Ascend also
// those that only offer capsules (torch_npu before torch had the table).
#pragma once

#include <string>
#include <vector>

#include "arrays.h"
#include "moekit/device.h"

namespace moekit::python {

/// Lives as long as `source` does. Created and destroyed with the GIL held.
struct DeviceArray {
  DeviceArray() = default;
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray();

  const dl::Exchange* exchange = nullptr;  // null: of a capsule
  dl::Tensor tensor{};
  py::object source;
  dl::Managed* managed = nullptr;  // of a capsule, one of the two
  dl::ManagedVersioned* versioned = nullptr;

  DType dtype(const char* name) const;
  char* data() const noexcept { return static_cast<char*>(tensor.data) + tensor.byte_offset; }
  std::int64_t elements() const;
  /// Whether strides are those of C order; a dimension of one element may have any.
  bool contiguous() const noexcept;
};

/// False for arrays in host memory, and for objects whose place in memory is not known. Throws ValueError for what is
/// not a tensor.
bool read_device_array(py::handle object, const char* name, DeviceArray& out);

/// Throws ValueError when the array is not on the device.
void check_on_device(const Device& device, const DeviceArray& array, const char* name);

/// An uninitialised array of the kind of `like`, on its device; `out` describes it. Throws TypeError where the kind
/// offers no way to make one.
py::object new_device_array(const DeviceArray& like, DType dtype, const std::vector<std::int64_t>& shape,
                            DeviceArray& out);

/// The stream on which the array's library works just now. Throws UnsupportedError on Ascend without torch_npu, which
/// alone knows it.
void* current_stream(const DeviceArray& array);

}  // namespace moekit::python
