// SPDX-License-Identifier: Apache-2.0
// The dense softmax module: three rows as one batch, then the second of them alone. The bits agree.
#include <moekit/moekit.h>

#include <algorithm>
#include <iostream>
#include <vector>

int main() {
  const moekit::MoE moe(8, 64, 32);  // experts, input, output
  std::vector<float> x(3 * 64), batch(3 * 32), alone(32);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3.0f;
  const auto f32 = moekit::DType::kFloat32;
  moe.forward({x.data(), f32, 3, 64, 64, 1}, {batch.data(), f32, 3, 32, 32});
  moe.forward({x.data() + 64, f32, 1, 64, 64, 1}, {alone.data(), f32, 1, 32, 32});
  const bool agree = std::equal(alone.begin(), alone.end(), batch.begin() + 32);
  std::cout << "moekit " << moekit::version() << " on " << moe.layer().backend() << ": y[1][0] = " << alone[0]
            << ", batch and single row: bits " << (agree ? "agree" : "differ") << "\n";
  return agree ? 0 : 1;
}
