// SPDX-License-Identifier: Apache-2.0
// What tests of whole layers over the stand-in share: a small layer on a device, and its inputs there.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "conformance/harness.h"
#include "cuda/runtime/control.h"
#include "cuda/runtime/error_codes.h"
#include "cuda/runtime/extra_api.h"
#include "moekit/error.h"

namespace moekit::standin {

using conformance::Matrix;
using conformance::Mode;
using conformance::Result;
using conformance::Rng;

/// Of the conformance suite's modes, or float16 throughout, whose steps are an eighth of bfloat16's.
inline const Mode& mode_named(const char* name) {
  static const Mode float16{"f16", DType::kFloat16, DType::kFloat16, 2e-7};
  if (std::string(name) == float16.name) return float16;
  for (const Mode& mode : conformance::modes())
    if (std::string(mode.name) == name) return mode;
  throw std::invalid_argument(name);
}

/// A configuration with groups, biases and a shared expert: every kernel but those of rare routers runs.
inline BlockConfig rich_config() {
  const conformance::Rule* rule = nullptr;
  for (const conformance::Rule& one : conformance::rules())
    if (std::string(one.name) == "sigmoid_groups_top2") rule = &one;
  for (const conformance::Form& form : conformance::forms())
    if (std::string(form.name) == "shared_sigmoid") return conformance::make_config(*rule, form, 16, {40, 24, 40});
  throw std::invalid_argument("shared_sigmoid");
}
inline BlockConfig plain_config() {
  return conformance::make_config(conformance::rules()[0], conformance::forms()[2], 4, {24, 16, 24});
}

inline Matrix random_x(const BlockConfig& config, std::int64_t tokens, const Mode& mode, std::uint64_t seed = 5) {
  Rng rng(seed);
  return Matrix::random(rng, tokens, config.expert.input, mode.data);
}

class LayerSession : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_library_twins()) GTEST_SKIP() << "not tested: layers over the stand-in driver (no kernels for the host)";
    take_launches();
  }
  void TearDown() override {
    clear_failures();
    set_schedule(Schedule::kRandom, 1);
    set_thread_order(ThreadOrder::kAscending);
    set_memory_limit(0, std::size_t{1} << 30);
    for (const std::string& problem : take_problems()) ADD_FAILURE() << problem;
  }

  static MoeLayer make(const BlockConfig& config, const Mode& mode, int device = 0) {
    Rng rng(11);
    const BlockTensors tensors = conformance::random_tensors(rng, config, mode.weights, {false, true, false, false});
    return make(config, tensors, mode, device);
  }
  static MoeLayer make(const BlockConfig& config, const BlockTensors& tensors, const Mode& mode, int device = 0) {
    LayerOptions options;
    options.dtype = std::string(dtype_name(mode.weights));
    options.device = {DeviceKind::kCuda, device};
    return MoeLayer(config, tensors, options);
  }
  // Output, ids and weights of all rows.
  static std::vector<std::byte> bits(const Result& result) {
    std::vector<std::byte> all;
    for (std::int64_t row = 0; row < result.y.rows(); ++row) {
      const std::vector<std::byte> one = conformance::row_bits(result, row);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }
};

/// x and y of a call in device memory, as torch would hold them.
class OnDevice {
 public:
  OnDevice(const BlockConfig& config, std::int64_t tokens, DType dtype, int device = 0)
      : backend_(backend_by_name("cuda")),
        tokens_(tokens),
        input_(config.expert.input),
        output_(config.expert.output),
        dtype_(dtype),
        x_(backend_.allocate(bytes(input_), {DeviceKind::kCuda, device})),
        y_(backend_.allocate(bytes(output_), {DeviceKind::kCuda, device})) {}
  void set(const Matrix& x) {
    backend_.copy(x_.data(), x.bytes().data(), bytes(input_), CopyKind::kHostToDevice, nullptr);
  }
  MatrixView x() const { return {x_.data(), dtype_, tokens_, input_, input_, 1}; }
  MutableMatrixView y() const { return {y_.data(), dtype_, tokens_, output_, output_}; }
  std::vector<std::byte> download() const {
    std::vector<std::byte> result(bytes(output_));
    backend_.copy(result.data(), y_.data(), result.size(), CopyKind::kDeviceToHost, nullptr);
    return result;
  }

 private:
  std::size_t bytes(std::int64_t cols) const { return static_cast<std::size_t>(tokens_ * cols) * dtype_size(dtype_); }
  const Backend& backend_;
  std::int64_t tokens_, input_, output_;
  DType dtype_;
  Buffer x_, y_;
};

/// Two batches of different sizes, and what the layer makes of each when it has the device for itself.
struct TwoBatches {
  TwoBatches(const MoeLayer& layer, const Mode& mode, std::int64_t tokens_a, std::int64_t tokens_b)
      : a(layer.config(), tokens_a, mode.data), b(layer.config(), tokens_b, mode.data) {
    a.set(random_x(layer.config(), tokens_a, mode, 1));
    b.set(random_x(layer.config(), tokens_b, mode, 2));
    layer.forward(a.x(), a.y());
    layer.forward(b.x(), b.y());
    want_a = a.download();
    want_b = b.download();
  }
  OnDevice a, b;
  std::vector<std::byte> want_a, want_b;
};

inline cuda::StreamHandle native(Stream& stream) { return static_cast<cuda::StreamHandle>(stream.native()); }

/// Makes a device's context current, as torch does for its thread.
class Current {
 public:
  explicit Current(int device) {
    cuda::Context context = nullptr;
    EXPECT_EQ(cuda::cuDevicePrimaryCtxRetain(&context, device), SUCCESS);
    EXPECT_EQ(cuda::cuCtxPushCurrent_v2(context), SUCCESS);
  }
  ~Current() {
    cuda::Context context = nullptr;
    EXPECT_EQ(cuda::cuCtxPopCurrent_v2(&context), SUCCESS);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
};

}  // namespace moekit::standin
