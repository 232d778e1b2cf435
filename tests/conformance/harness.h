// SPDX-License-Identifier: Apache-2.0
// Running a layer in a test, and comparing what it did with what is expected.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "conformance/cases.h"
#include "conformance/targets.h"

namespace moekit::conformance {

/// A configuration with random tensors, packed for a target.
struct Block {
  Block(const Target& target, const BlockConfig& config, const Mode& mode, const RouterParts& parts,
        std::uint64_t seed);
  BlockConfig config;
  Mode mode;
  BlockTensors tensors;
  MoeLayer layer;
};

/// Token ids, or expert ids and weights: what the router's source asks for.
struct Inputs {
  std::vector<std::int64_t> token_ids;
  std::vector<std::int32_t> expert_ids;
  std::vector<float> weights;

  static Inputs random(Rng& rng, const RouterConfig& config, std::int64_t tokens);
  Inputs take(const std::vector<std::int64_t>& rows, std::int64_t top_k) const;
  RouteInputs view() const;
};

struct Result {
  Matrix y;
  std::vector<std::int32_t> ids;  // [T, k]
  std::vector<float> weights;     // [T, k]
};
Result run(const MoeLayer& layer, const Matrix& x, const Inputs& inputs);

/// Bytes of an expert's matrices, one after the other, as MoeLayer::unpack writes them in this dtype.
std::vector<std::byte> unpacked(const MoeLayer& layer, std::int64_t expert, bool shared, DType dtype = DType::kFloat32);

/// Bits of one row of a result: output, ids and weights.
std::vector<std::byte> row_bits(const Result& result, std::int64_t row);

/// Rows whose routing agrees: the same ids, and weights that differ by rounding at most. For every other row the
/// router must have been at an edge: some change of its logits by at most 1e-5 makes the oracle's selection
/// agree with `got`; otherwise the test fails.
std::vector<std::int64_t> agreeing_rows(const Block& block, const Matrix& x, const Inputs& inputs, const Result& got,
                                        const Result& want);

/// MOEKIT_TEST_REDUCED is set: fewer sizes and repetitions of the same cases, for sanitizers and emulators, where each
/// costs ten to a hundred times as much.
bool reduced();

/// What the reference backend makes of a block. y is float32 whatever the dtype of x: not rounded to bfloat16, so that
/// a comparison sees one rounding and not two.
Result run_oracle(const Block& block, const Matrix& x, const Inputs& inputs);

/// Normalised mean squared error: sum (got - want)^2 / sum want^2 over the rows added.
class Nmse {
 public:
  void add(const Matrix& got, const Matrix& want, const std::vector<std::int64_t>& rows);
  /// 0 when both sums are 0.
  double value() const { return error_ == 0.0 ? 0.0 : error_ / power_; }

 private:
  double error_ = 0.0, power_ = 0.0;
};
double nmse(const Matrix& got, const Matrix& want, const std::vector<std::int64_t>& rows);
std::vector<std::int64_t> all_rows(const Matrix& x);

/// The block computed without the library's layer code: one token, one expert, one sum at a time, in float64; y
/// float32.
Matrix plain_block(const Block& block, const Matrix& x, const Result& routing);

/// Names for parametrised tests.
inline std::string target_name(const testing::TestParamInfo<Target>& info) { return info.param.name(); }

}  // namespace moekit::conformance
