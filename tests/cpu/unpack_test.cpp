// SPDX-License-Identifier: Apache-2.0
// What no host without the instructions can see of them: streams unpacked to bfloat16 steps, and sweeps that take whole
// panels. The same templates, with the instructions of any CPU.
#include "backends/cpu/pack_tiles.h"
#include "backends/cpu/sweep.h"
#include "conformance/quantised.h"
#include "core/aligned_buffer.h"
#include "core/cpu_features.h"
#include "core/float_convert.h"
#include "formats/read.h"

#include <gtest/gtest.h>

namespace moekit::cpu {

#if defined(__x86_64__)
void unpack_avx512(const UnpackArgs& args);
#endif

namespace {

using conformance::QuantVariant;
using Unpack16 = void (*)(const UnpackArgs&);

// What unpacks to bfloat16: the instructions of any processor, and AVX-512 where it is.
std::vector<Unpack16> unpackers() {
  std::vector<Unpack16> list = {[](const UnpackArgs& args) { unpack_tiles<std::uint16_t>(args); }};
#if defined(__x86_64__)
  if ((cpu_features() & kAvx512) != 0) list.push_back(unpack_avx512);
#endif
  if (list.size() == 1) std::fprintf(stderr, "not tested: unpacking with AVX-512\n");
  return list;
}

struct Stream {
  Stream(const QuantVariant& variant, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    conformance::Rng rng(seed);
    const MatrixRef matrix = conformance::random_quantised(rng, variant, rows, cols);
    ReadScratch read;
    quant = read_quantised(matrix, variant.format, false, read);
    format = tile_format(variant.format, cols, false, !quant.column_groups.empty());
    columns.assign(static_cast<std::size_t>(format.steps * kQuantStep), 0);
    for (std::int64_t k = 0; k < cols; ++k)
      columns[static_cast<std::size_t>(k)] = static_cast<std::uint16_t>(quant.group_of(k));
    bytes = AlignedBuffer(static_cast<std::size_t>(2 * format.bytes()));
    StreamScratch scratch;
    for (int half = 0; half < 2; ++half)
      pack_stream(quant, half * kTileColumns, format, scratch, bytes.data() + half * format.bytes());
  }
  QuantRows quant;
  TileFormat format;
  std::vector<std::uint16_t> columns;
  AlignedBuffer bytes;  // one panel: rows 0 .. 15 and 16 .. 31
};

std::int64_t fit(std::int64_t size, std::int64_t multiple) { return round_up(size, multiple); }

std::uint16_t weight_at(const AlignedBuffer& steps, std::int64_t k, std::int64_t n) {
  std::uint16_t got;
  std::memcpy(&got, steps.data() + k / 32 * kStepBytes + k % 32 / 2 * kLineBytes + n * 4 + k % 2 * 2, 2);
  return got;
}

TEST(Unpack, Bfloat16StepsAreTheRoundedFloat32Ones) {
  for (const QuantVariant& variant : conformance::quant_variants()) {
    SCOPED_TRACE(variant.name);
    const std::int64_t cols = fit(200, variant.multiple);
    const Stream stream(variant, 32, cols, 5);
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (const Unpack16 unpack : unpackers()) {
      AlignedBuffer steps(static_cast<std::size_t>(stream.format.steps * kStepBytes));
      unpack({&stream.format, stream.columns.data(), stream.bytes.data(), 0, stream.format.steps, steps.data()});
      for (std::int64_t n = 0; n < kTileColumns; ++n) {
        dequantise_row(stream.quant, n, row.data());
        for (std::int64_t k = 0; k < cols; ++k)
          ASSERT_EQ(weight_at(steps, k, n), float_to_bf16(row[static_cast<std::size_t>(k)]))
              << "k " << k << ", column " << n;
      }
    }
  }
}

// Group g of column n has the scale 2^(16 g + n - 127): subnormal products, infinities and NaN among them.
TEST(Unpack, EveryPowerOfTwoScalesE2M1) {
  WeightFormat weight = {"mxfp4", Code::kE2M1, 32, DType::kFloat8E8M0};
  const TileFormat format = tile_format(weight, 16 * 32, false, false);
  AlignedBuffer stream(static_cast<std::size_t>(format.bytes()));
  conformance::Rng rng(8);
  for (std::size_t i = 0; i < stream.bytes(); ++i) stream.data()[i] = static_cast<std::byte>(rng());
  for (std::int64_t g = 0; g < 16; ++g) {
    const std::int64_t per_block = format.header_groups();
    std::byte* scales = stream.data() + format.head_bytes + g / per_block * format.block_bytes() + format.scales_at +
                        g % per_block * format.scale_bytes;
    for (std::int64_t n = 0; n < kTileColumns; ++n) scales[n] = static_cast<std::byte>(16 * g + n);
  }
  AlignedBuffer wide(static_cast<std::size_t>(2 * format.steps * kStepBytes));
  unpack_tiles<float>({&format, nullptr, stream.data(), 0, format.steps, wide.data()});
  for (const Unpack16 unpack : unpackers()) {
    AlignedBuffer steps(static_cast<std::size_t>(format.steps * kStepBytes));
    unpack({&format, nullptr, stream.data(), 0, format.steps, steps.data()});
    for (std::int64_t k = 0; k < 16 * 32; ++k)
      for (std::int64_t n = 0; n < kTileColumns; ++n) {
        float want;
        std::memcpy(&want, wide.data() + k / 16 * kStepBytes + k % 16 * kLineBytes + n * 4, 4);
        ASSERT_EQ(weight_at(steps, k, n), float_to_bf16(want)) << "k " << k << ", column " << n;
      }
  }
}

// Plain loops in the shape of a kernel with a matrix unit, or (kSlice > 0) of one that works slice by slice.
template <std::int64_t kSlice>
struct LoopGemm {
  using Activation = std::uint16_t;
  static constexpr std::int64_t kGroup = kBlockRows, kSegments = 1, kSliceSteps = kSlice;
  static constexpr int kStreamedRows = 0;
  static constexpr bool kBf16Pairs = false;

  static void multiply(const std::byte* a, std::int64_t rows, const std::byte* panel, std::int64_t steps, float* c) {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t n = 0; n < kPanelColumns; ++n)
        for (std::int64_t k = 0; k < steps * 32; ++k) {
          std::uint16_t x, w;
          std::memcpy(&x, a + k / 32 * kSegmentBytes + r * kLineBytes + k % 32 * 2, 2);
          std::memcpy(
              &w,
              panel + k / 32 * kStepBytes + n / 16 * kSegmentBytes + k % 32 / 2 * kLineBytes + n % 16 * 4 + k % 2 * 2,
              2);
          c[r * kPanelColumns + n] += bf16_to_float(x) * bf16_to_float(w);
        }
  }
  template <class Prefetch, class Side>
  static void block(const std::byte* a, std::int64_t, std::int64_t rows, const std::byte* panel, std::int64_t steps,
                    float* c, const Prefetch&, std::int64_t, Side& side) {
    std::fill_n(c, rows * kPanelColumns, 0.0f);
    for (std::int64_t s = 0; s < steps; ++s) side.step(steps);
    multiply(a, rows, panel, steps, c);
  }
  template <class Slices, class Side>
  static void sliced(const std::byte* a, std::int64_t, std::int64_t rows, const Slices& slices, std::int64_t steps,
                     float* c, Side& side) {
    std::fill_n(c, rows * kPanelColumns, 0.0f);
    for (std::int64_t s = 0; s < steps; s += 3) {
      const std::int64_t count = std::min<std::int64_t>(3, steps - s);
      const std::byte* piece = slices(s, count);
      for (std::int64_t i = 0; i < count; ++i) side.step(steps);
      multiply(a + s * kSegmentBytes, rows, piece, count, c);
    }
  }
  static void block(const std::byte* a, std::int64_t rows, const std::byte* panel, std::int64_t steps, float* c,
                    bool accumulate, Upcoming) {
    if (!accumulate) std::fill_n(c, rows * kPanelColumns, 0.0f);
    multiply(a, rows, panel, steps, c);
  }
};

template <std::int64_t kSlice>
std::vector<float> sweep_panel(const Stream& stream, const AlignedBuffer& a, std::int64_t rows) {
  const auto count = static_cast<std::size_t>(rows * kPanelColumns);
  AlignedBuffer out(count * sizeof(float));
  const TileFormat halves[2] = {stream.format, stream.format};
  const QuantPanels quant = {halves, {stream.columns.data(), stream.columns.data()}};
  AlignedBuffer unpacked(static_cast<std::size_t>(stream.format.steps * kStepBytes));
  AlignedBuffer scratch(static_cast<std::size_t>(accumulator_floats(rows)) * sizeof(float));
  DownArgs args;
  args.a = a.data();
  args.rows = rows;
  args.steps = stream.format.steps;
  args.panels = stream.bytes.data();
  args.last = 1;
  args.out = reinterpret_cast<float*>(out.data());
  args.out_stride = kPanelColumns;
  args.quant = &quant;
  args.unpacked = unpacked.data();
  args.scratch = reinterpret_cast<float*>(scratch.data());
  down_sweep<GemmSweep<LoopGemm<kSlice>>>(args);
  return {args.out, args.out + count};
}

TEST(Sweep, WholePanelsAndSlicesOfQuantisedWeights) {
  constexpr std::int64_t kRows = 21, kFew = 9, kCols = 600;  // two blocks of rows, and one
  for (const QuantVariant& variant : conformance::quant_variants()) {
    SCOPED_TRACE(variant.name);
    const Stream stream(variant, 32, kCols, 7);
    const std::int64_t segments = stream.format.steps;
    AlignedBuffer a(static_cast<std::size_t>(2 * segments * kSegmentBytes));
    conformance::Rng rng(8);
    std::vector<std::vector<double>> x(kRows, std::vector<double>(kCols));
    for (std::int64_t r = 0; r < kRows; ++r)
      for (std::int64_t k = 0; k < kCols; ++k) {
        const float value = conformance::normal(rng);
        const std::uint16_t bits = float_to_bf16(value);
        std::memcpy(
            a.data() + r / 16 * segments * kSegmentBytes + k / 32 * kSegmentBytes + r % 16 * kLineBytes + k % 32 * 2,
            &bits, 2);
        x[static_cast<std::size_t>(r)][static_cast<std::size_t>(k)] = static_cast<double>(value);
      }
    const std::vector<float> whole = sweep_panel<0>(stream, a, kRows), slices = sweep_panel<12>(stream, a, kRows);
    const std::vector<float> few = sweep_panel<0>(stream, a, kFew);
    ASSERT_TRUE(std::equal(few.begin(), few.end(), whole.begin()));
    std::vector<float> row(kCols);
    for (std::int64_t n = 0; n < kPanelColumns; ++n) {
      dequantise_row(stream.quant, n, row.data());
      for (std::int64_t r = 0; r < kRows; ++r) {
        double want = 0.0, size = 0.0;
        for (std::int64_t k = 0; k < kCols; ++k) {
          const double product = x[static_cast<std::size_t>(r)][static_cast<std::size_t>(k)] *
                                 static_cast<double>(round_to_bf16(row[static_cast<std::size_t>(k)]));
          want += product;
          size += std::abs(product);
        }
        const auto at = static_cast<std::size_t>(r * kPanelColumns + n);
        // float32 sums of 600 terms: 600 * 2^-24 of the sum of magnitudes at most.
        ASSERT_NEAR(static_cast<double>(whole[at]), want, 4e-5 * size);
        ASSERT_NEAR(static_cast<double>(slices[at]), want, 4e-5 * size);
      }
    }
  }
}

}  // namespace
}  // namespace moekit::cpu
