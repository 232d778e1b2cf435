// SPDX-License-Identifier: Apache-2.0
// Grouped products against plain loops in float64; small and large tiles give the same bits; padding stays zero.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "backends/cuda/host_params.h"
#include "backends/cuda/pack.h"
#include "conformance/random_block.h"
#include "core/float_convert.h"
#include "cuda/simt/device_array.h"

namespace simt {
namespace {

using namespace moekit;
using namespace moekit::cuda;
using conformance::Matrix;
using conformance::Rng;

struct Case {
  DType element;
  bool gated;
  int input, columns;
  std::vector<int> rows;  // of each expert
  bool short_out, bias;   // output in `element`, or in float32
  Activation act;
};

constexpr DType kElements[] = {DType::kBFloat16, DType::kFloat16, DType::kFloat32};

DType out_dtype(const Case& c) { return c.short_out ? c.element : DType::kFloat32; }

// Of squared errors: one rounding of the output, 2^-8 or 2^-11 at most, or sums in float32.
double bound_of(const Case& c) { return !c.short_out ? 1e-11 : c.element == DType::kBFloat16 ? 6e-6 : 6e-6 / 64; }

// What a case needs, on both sides.
struct Problem {
  explicit Problem(const Case& of) : c(of) {
    Rng rng(static_cast<std::uint64_t>(c.input * 1000 + c.columns));
    const int experts = static_cast<int>(c.rows.size());
    for (int e = 0; e < experts; ++e) {
      gate.push_back(Matrix::random(rng, c.columns, c.input, DType::kBFloat16));
      up.push_back(Matrix::random(rng, c.columns, c.input, DType::kBFloat16));
      for (int r = 0; r < c.rows[static_cast<std::size_t>(e)]; ++r) row_expert.push_back(e);
    }
    tokens = static_cast<int>(row_expert.size()) / 2 + 1;
    x = std::make_unique<Matrix>(Matrix::random(rng, tokens, c.input, DType::kBFloat16));
    for (std::size_t r = 0; r < row_expert.size(); ++r) row_token.push_back(static_cast<int>(r * 7) % tokens);
    for (int i = 0; i < experts * c.columns; ++i) bias.push_back(conformance::normal(rng, 0.5f));
  }
  double product(const Matrix& w, int column, int row) const {
    double sum = 0.0;
    for (int k = 0; k < c.input; ++k)
      sum += static_cast<double>(w.at(column, k)) *
             static_cast<double>(x->at(row_token[static_cast<std::size_t>(row)], k));
    return sum;
  }
  Case c;
  std::vector<Matrix> gate, up;
  std::vector<int> row_expert, row_token;
  std::vector<float> bias;
  std::unique_ptr<Matrix> x;
  int tokens;
};

std::vector<std::byte> pack_all(const std::vector<Matrix>& experts, DType element, std::size_t each) {
  std::vector<std::byte> packed(each * experts.size());
  for (std::size_t e = 0; e < experts.size(); ++e)
    pack_plain(experts[e].view(), element, false, packed.data() + e * each);
  return packed;
}

// Rows of x in the kernel's element, padded.
std::vector<std::byte> padded_rows(const Matrix& x, DType element) {
  const auto width = static_cast<std::size_t>(padded(x.cols()));
  std::vector<std::byte> rows(static_cast<std::size_t>(x.rows()) * width * dtype_size(element));
  for (std::int64_t r = 0; r < x.rows(); ++r)
    for (std::int64_t k = 0; k < x.cols(); ++k)
      store_float(rows.data(), element, r * static_cast<std::int64_t>(width) + k, x.at(r, k));
  return rows;
}

// Output rows [rows, padded columns] as float32, and their bits.
std::vector<float> multiply(const Problem& problem, int tile_rows, bool uniform, std::vector<std::byte>* bits) {
  const Case& c = problem.c;
  const int rows = static_cast<int>(problem.row_expert.size()), experts = static_cast<int>(c.rows.size());
  const std::size_t each = packed_bytes(c.columns, c.input, c.element);
  const auto width = static_cast<std::size_t>(padded(c.columns));
  DeviceArray<std::byte> gate(pack_all(problem.gate, c.element, each)), up(pack_all(problem.up, c.element, each)),
      input(padded_rows(*problem.x, c.element)), out(static_cast<std::size_t>(rows) * width * dtype_size(out_dtype(c)));
  DeviceArray<int> tokens(problem.row_token);
  DeviceArray<float> bias(problem.bias);
  std::vector<Tile> tiles;
  for (int row = 0; row < rows;) {
    const int expert = problem.row_expert[static_cast<std::size_t>(row)];
    int last = row;
    while (last < rows && last - row < tile_rows && problem.row_expert[static_cast<std::size_t>(last)] == expert)
      ++last;
    tiles.push_back({expert, row, last - row});
    row = last;
  }
  DeviceArray<Tile> tile_list(tiles);
  DeviceArray<int> tile_count(std::vector<int>{static_cast<int>(tiles.size())});
  GemmParams p = {};
  p.input = input.data();
  p.input_stride = padded(c.input);
  p.input_row = tokens.data();
  p.tiles = tile_list.data();
  p.tile_count = tile_count.data();
  if (uniform) {
    p.uniform_rows = problem.tokens;
    p.experts = experts;
    p.same_input = true;
  }
  p.gate = c.gated ? gate.data() : nullptr;
  p.up = up.data();
  p.expert_bytes = static_cast<long long>(each);
  p.gate_bias = p.up_bias = c.bias ? bias.data() : nullptr;
  p.bias_stride = c.columns;
  p.k_steps = static_cast<int>(padded(c.input) / 32);
  p.row_tiles = static_cast<int>(width / 16);
  p.columns = c.columns;
  p.to = element_of(out_dtype(c));
  p.out = out.data();
  p.out_stride = static_cast<long long>(width);
  ExpertConfig config;
  config.act = c.act;
  config.limit = 1.5;
  p.activation = activation_params(config);
  const std::string form = c.gated ? "gated" : "plain";
  const auto row_tiles = static_cast<unsigned>(p.row_tiles);
  const unsigned y = 2;  // fewer than there are tiles: a block takes several
  if (c.element == DType::kFloat32) {
    const unsigned block_rows = c.gated ? 8 : 16;
    run(("moekit_gemm_f32_" + form).c_str(), {(row_tiles * 16 + block_rows - 1) / block_rows, y, 1}, 128, 0, p);
  } else {
    const unsigned warps = c.gated ? row_tiles : row_tiles / 2;
    const std::string type = c.element == DType::kBFloat16 ? "bf16_" : "f16_";
    run(("moekit_gemm_" + type + form + "_" + std::to_string(tile_rows)).c_str(), {(warps + 3) / 4, y, 1}, 128,
        static_cast<std::size_t>(ring_bytes(tile_rows)), p);
  }
  if (bits != nullptr) append_bits(*bits, out.get());
  std::vector<float> values(static_cast<std::size_t>(rows) * width);
  const std::vector<std::byte> raw = out.get();
  load_as_float(raw.data(), out_dtype(c), 0, 1, static_cast<std::int64_t>(values.size()), values.data());
  return values;
}

double activate(const Case& c, double gate, double up) {
  const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
  const auto limited = [](double v) { return std::min(1.5, std::max(-1.5, v)); };
  switch (c.act) {
    case Activation::kSilu: return gate * sigmoid(gate) * up;
    case Activation::kGelu: return 0.5 * gate * (1.0 + std::erf(gate / std::sqrt(2.0))) * up;
    case Activation::kGeluTanh:
      return 0.5 * gate * (1.0 + std::tanh(0.7978845608028654 * (gate + 0.044715 * gate * gate * gate))) * up;
    case Activation::kSiluClamp: gate = std::min(gate, 1.5); return gate * sigmoid(gate) * limited(up);
    case Activation::kSwigluOai: gate = std::min(gate, 1.5); return (limited(up) + 1.0) * gate * sigmoid(1.702 * gate);
    case Activation::kSwigluStep: return std::min(gate * sigmoid(gate), 1.5) * limited(up);
    case Activation::kRelu: return std::max(up, 0.0);
    case Activation::kRelu2: return std::max(up, 0.0) * std::max(up, 0.0);
    case Activation::kLinear: break;
  }
  return up;
}

void check(const Case& c) {
  SCOPED_TRACE(std::to_string(c.input) + " -> " + std::to_string(c.columns) + (c.gated ? " gated" : "") + " " +
               std::string(dtype_name(c.element)));
  const Problem problem(c);
  std::vector<float> got;
  expect_same_under_all_orders([&] {
    std::vector<std::byte> bits;
    got = multiply(problem, kSmallTile, false, &bits);
    return bits;
  });
  const auto width = static_cast<std::size_t>(padded(c.columns));
  double error = 0.0, power = 0.0;
  for (std::size_t r = 0; r < problem.row_expert.size(); ++r) {
    const auto expert = static_cast<std::size_t>(problem.row_expert[r]);
    for (std::size_t i = 0; i < width; ++i) {
      if (i >= static_cast<std::size_t>(c.columns)) {
        ASSERT_EQ(got[r * width + i], 0.0f);
        continue;
      }
      const int column = static_cast<int>(i), row = static_cast<int>(r);
      const double bias =
          c.bias ? static_cast<double>(problem.bias[expert * static_cast<std::size_t>(c.columns) + i]) : 0.0;
      const double want = activate(c, c.gated ? problem.product(problem.gate[expert], column, row) + bias : 0.0,
                                   problem.product(problem.up[expert], column, row) + bias);
      error += (static_cast<double>(got[r * width + i]) - want) * (static_cast<double>(got[r * width + i]) - want);
      power += want * want;
    }
  }
  EXPECT_LE(error, power * bound_of(c));
  if (c.element == DType::kFloat32) return;
  const std::vector<float> large = multiply(problem, kLargeTile, false, nullptr);
  EXPECT_EQ(std::memcmp(large.data(), got.data(), got.size() * sizeof(float)), 0);
}

TEST(CudaGemm, MatchesPlainLoops) {
  const std::vector<int> rows = {3, 0, 20, 8, 65, 1};
  for (const DType element : kElements) {
    const bool short_out = element != DType::kFloat32;
    check({element, true, 33, 17, rows, short_out, true, Activation::kSilu});
    check({element, false, 130, 66, rows, false, true, Activation::kLinear});
    check({element, true, 64, 96, {2, 9}, short_out, false, Activation::kSwigluOai});
    check({element, false, 1, 1, {1}, false, false, Activation::kRelu2});
    check({element, false, 300, 150, {5, 70}, short_out, false, Activation::kRelu});
  }
}

TEST(CudaGemm, EveryActivation) {
  for (const Activation act :
       {Activation::kGeluTanh, Activation::kGelu, Activation::kSiluClamp, Activation::kSwigluStep})
    check({DType::kFloat32, true, 40, 24, {3, 9}, false, true, act});
}

// Shared experts: the same rows through each of several experts, without lists.
TEST(CudaGemm, UniformRowsEqualAListOfTheSame) {
  for (const DType element : kElements) {
    Problem problem({element, true, 33, 17, {11, 11}, false, true, Activation::kSilu});
    problem.tokens = 11;
    for (std::size_t r = 0; r < problem.row_token.size(); ++r) problem.row_token[r] = static_cast<int>(r) % 11;
    std::vector<std::byte> list, uniform;
    multiply(problem, kSmallTile, false, &list);
    multiply(problem, kSmallTile, true, &uniform);
    EXPECT_EQ(list, uniform);
  }
}

TEST(CudaPack, ComesBack) {
  Rng rng(3);
  for (const DType element : kElements)
    for (const bool row_major : {false, true}) {
      const Matrix matrix = Matrix::random(rng, 37, 70, element);
      std::vector<std::byte> packed(packed_bytes(37, 70, element));
      pack_plain(matrix.view(), element, row_major, packed.data());
      Matrix back(37, 70, element);
      unpack_plain(packed.data(), element, row_major, back.out());
      EXPECT_EQ(back.bytes(), matrix.bytes());
    }
}

}  // namespace
}  // namespace simt
