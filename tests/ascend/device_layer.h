// SPDX-License-Identifier: Apache-2.0
// A layer on the device, called with device memory.
#pragma once

#include <memory>

#include "ascend/double_control.h"
#include "conformance/harness.h"

namespace moekit::ascend_test {

constexpr conformance::RouterParts kBiased = {false, true, false, false};

inline const conformance::Target kAscend{"ascend", ""};
constexpr Device kDevice{DeviceKind::kAscend, 0};

inline const Backend& backend() { return backend_by_name("ascend"); }

/// Device memory that holds a matrix, rows `gap` elements further apart than they are long.
class OnDevice {
 public:
  explicit OnDevice(const conformance::Matrix& host, std::int64_t gap = 0, int device = 0);
  OnDevice(std::int64_t rows, std::int64_t cols, DType dtype, std::int64_t gap = 0, int device = 0);
  MatrixView view() const;
  MutableMatrixView out() const;
  void write(const conformance::Matrix& host) const;
  conformance::Matrix read() const;

 private:
  std::int64_t rows_, cols_, stride_;
  DType dtype_;
  Buffer memory_;
};

/// DeepSeek-V3.2-Exp's router (256 experts in 8 groups of which 4 are kept, top 8, scale 2.5) and shared expert over
/// small dimensions.
BlockConfig deepseek_v32(std::int64_t hidden = 64, std::int64_t intermediate = 32);
/// The same form with 16 experts.
BlockConfig small_block();

/// Every test: the device is there, and the double saw no violation.
struct OnAscend : testing::Test {
  void SetUp() override;
  void TearDown() override;
};

}  // namespace moekit::ascend_test
