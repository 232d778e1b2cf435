// SPDX-License-Identifier: Apache-2.0
// Compressed bfloat16 on every ISA: the weights and the results have the bits of plain bfloat16, whatever the weights.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "conformance/harness.h"

namespace moekit::conformance {
namespace {

struct Bf16z : testing::TestWithParam<Target> {};

// Weights by bit pattern, every matrix anew.
using Bits = std::function<std::uint16_t(Rng&)>;

std::uint16_t normal_bits(Rng& rng) {
  const float value = 0.05f * normal(rng);
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<std::uint16_t>(bits >> 16);
}

// The kinds of weights that compression could get wrong. `often`: of 4096 weights so many are `odd`, the others normal.
Bits mixed(std::uint32_t often, Bits odd) {
  return [often, odd = std::move(odd)](Rng& rng) { return rng() % 4096 < often ? odd(rng) : normal_bits(rng); };
}
std::uint16_t any_bits(Rng& rng) { return static_cast<std::uint16_t>(rng()); }
std::uint16_t finite_bits(Rng& rng) {  // of all exponents; small enough that sums stay finite
  return static_cast<std::uint16_t>((rng() & 0x807f) | rng() % 140 << 7);
}
std::uint16_t zero_or_subnormal(Rng& rng) { return static_cast<std::uint16_t>(rng() & 0x807f); }
std::uint16_t infinity_or_nan(Rng& rng) { return static_cast<std::uint16_t>((rng() & 0x807f) | 0x7f80); }

const std::map<std::string, Bits>& kinds() {
  static const std::map<std::string, Bits> all = {
      {"normal", normal_bits},
      {"a few of all exponents", mixed(20, finite_bits)},
      {"many of all exponents", mixed(300, finite_bits)},
      {"zeros and subnormal numbers", mixed(2000, zero_or_subnormal)},
      {"nothing but zeros and subnormal numbers", zero_or_subnormal},
      {"infinities and NaNs of all payloads", mixed(3, infinity_or_nan)},
      {"any bits", any_bits},
  };
  return all;
}

struct Weights {
  std::vector<std::vector<std::uint16_t>> matrices;
  BlockTensors tensors;
};

void fill(Weights& w, const ExpertConfig& config, std::vector<ExpertTensors>& experts, Rng& rng, const Bits& bits) {
  const auto matrix = [&](std::int64_t rows, std::int64_t cols) {
    std::vector<std::uint16_t>& m = w.matrices.emplace_back(static_cast<std::size_t>(rows * cols));
    for (std::uint16_t& x : m) x = bits(rng);
    return matrix_of(memory_tensor("weights", m.data(), DType::kBFloat16, {rows, cols}));
  };
  for (ExpertTensors& expert : experts) {
    if (expert.gate) expert.gate = matrix(config.intermediate, config.input);
    if (expert.up) expert.up = matrix(config.intermediate, config.input);
    expert.down = matrix(config.output, expert.up ? config.intermediate : config.input);
  }
}

Weights weights_of(const BlockConfig& config, const RouterParts& parts, Rng& rng, const Bits& bits) {
  Weights w;
  w.tensors = random_tensors(rng, config, DType::kBFloat16, parts);
  fill(w, config.expert, w.tensors.experts, rng, bits);
  fill(w, config.shared.expert, w.tensors.shared, rng, bits);
  return w;
}

void expect_same(const MoeLayer& plain, const MoeLayer& compressed, std::int64_t experts, bool shared) {
  for (std::int64_t e = 0; e < experts; ++e) {
    ASSERT_EQ(unpacked(compressed, e, false, DType::kBFloat16), unpacked(plain, e, false, DType::kBFloat16))
        << "expert " << e;
    if (shared && e == 0) {
      ASSERT_EQ(unpacked(compressed, 0, true, DType::kBFloat16), unpacked(plain, 0, true, DType::kBFloat16));
    }
  }
}

// Bit for bit, but for NaNs: which of several a sum keeps depends on the order in which an instruction has its
// operands.
void expect_same_rows(const Matrix& got, const Matrix& want) {
  if (got.bytes() == want.bytes()) return;
  for (std::int64_t r = 0; r < want.rows(); ++r)
    for (std::int64_t c = 0; c < want.cols(); ++c) {
      if (std::isnan(got.at(r, c)) && std::isnan(want.at(r, c))) continue;
      ASSERT_EQ(got.at(r, c), want.at(r, c)) << "row " << r << ", column " << c;
      ASSERT_EQ(std::signbit(got.at(r, c)), std::signbit(want.at(r, c))) << "row " << r << ", column " << c;
    }
}

TEST_P(Bf16z, HasTheBitsOfBfloat16WhateverTheWeights) {
  // Tails of steps, tiles and panels, and sizes without any; 33 steps end slices in the middle.
  const Size kSizes[] = {{64, 32, 64}, {130, 50, 70}, {1056, 40, 33}};
  for (const auto& [name, bits] : kinds()) {
    for (const char* form_name : {"silu", "relu2", "linear_bias", "swiglu_oai_biases", "shared_sigmoid"}) {
      for (const Size& size : kSizes) {
        if (reduced() && size.input != 130 && std::string(form_name) != "silu") continue;
        const Form& form = *std::find_if(forms().begin(), forms().end(),
                                         [&](const Form& f) { return f.name == std::string(form_name); });
        SCOPED_TRACE(name + ", " + form_name + ", " + std::to_string(size.input));
        const BlockConfig config = make_config(rules()[0], form, 3, size);
        Rng rng(21);
        const Weights w = weights_of(config, rules()[0].parts, rng, bits);
        const MoeLayer plain = make_layer(GetParam(), config, w.tensors, "bfloat16");
        const MoeLayer compressed = make_layer(GetParam(), config, w.tensors, "bf16z");
        if (name == "normal") {
          EXPECT_EQ(compressed.format(), "bf16z");
          EXPECT_LT(compressed.packed_bytes(), plain.packed_bytes());
        }
        if (name == "any bits") {
          EXPECT_EQ(compressed.format(), "bfloat16") << "more exceptions than are worth it";
          EXPECT_NE(compressed.explain().find("bf16z: plain bfloat16 instead"), std::string::npos)
              << compressed.explain();
        }
        EXPECT_EQ(plain.format(), "bfloat16");
        expect_same(plain, compressed, 3, config.shared.count != 0);
        for (const std::int64_t tokens : {1, 2, 3, 4, 7, 12, 40}) {
          const Matrix x =
              Matrix::random(rng, tokens, config.expert.input, tokens % 2 == 0 ? DType::kFloat32 : DType::kBFloat16);
          SCOPED_TRACE(std::to_string(tokens) + " tokens");
          const Matrix want = run(plain, x, {}).y;
          for (const int threads : {1, 3}) {
            set_num_threads(threads);
            expect_same_rows(run(compressed, x, {}).y, want);
          }
          set_num_threads(0);
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(On, Bf16z, testing::ValuesIn(cpu_targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
