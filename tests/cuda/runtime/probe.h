// SPDX-License-Identifier: Apache-2.0
// Parameters of the small kernels that the tests of the stand-in itself launch.
#pragma once

namespace moekit::standin {

struct AddParams {
  const float* a;
  const float* b;
  float* sum;
  int count;
};

struct FillParams {
  float* out;
  float value;
  int count;
};

}  // namespace moekit::standin
