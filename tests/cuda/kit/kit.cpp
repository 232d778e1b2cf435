// SPDX-License-Identifier: Apache-2.0
#include "cuda/kit/kit.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "core/float_convert.h"
#include "cuda/kit/kit_kernels.h"

namespace moekit::kit {
namespace {

using Rng = std::mt19937;

template <typename Params>
std::vector<std::byte> bytes_of(const Params& params) {
  std::vector<std::byte> bytes(sizeof params);
  std::memcpy(bytes.data(), &params, sizeof params);
  return bytes;
}

float float_of(std::uint32_t bits) { return float_from_bits(bits); }

// Units in the last place between two floats; 0 for two NaN, infinite for one.
double ulps(std::uint32_t a, std::uint32_t b) {
  const float x = float_of(a), y = float_of(b);
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && std::isnan(y) ? 0.0 : HUGE_VAL;
  const auto ordered = [](std::uint32_t bits) {
    const auto magnitude = static_cast<std::int64_t>(bits & 0x7fffffffu);
    return (bits >> 31) != 0 ? -magnitude : magnitude;
  };
  return static_cast<double>(std::abs(ordered(a) - ordered(b)));
}

Finding compare(std::string name, const Words& device, const Words& host, double allowed,
                double (*distance)(std::uint32_t, std::uint32_t)) {
  Finding finding;
  finding.name = std::move(name);
  finding.compared = host.size();
  finding.allowed = allowed;
  finding.passed = true;
  for (std::size_t i = 0; i < host.size(); ++i) {
    if (device[i] == host[i]) continue;
    ++finding.different;
    const double far = distance(device[i], host[i]);
    finding.worst = std::max(finding.worst, far);
    if (far <= allowed) continue;
    if (finding.passed) {
      char text[120];
      std::snprintf(text, sizeof text, "word %zu: device %08x, host %08x", i, device[i], host[i]);
      finding.detail = text;
    }
    finding.passed = false;
  }
  return finding;
}

double bits_differ(std::uint32_t, std::uint32_t) { return HUGE_VAL; }
double bf16_distance(std::uint32_t a, std::uint32_t b) { return ulps(a << 16, b << 16); }
double f16_distance(std::uint32_t a, std::uint32_t b) {
  const auto widened = [](std::uint32_t bits) {
    return bits_from_float(fp16_to_float(static_cast<std::uint16_t>(bits)));
  };
  return ulps(widened(a), widened(b));
}

// Two 16-bit numbers in a word.
std::uint32_t pair(Rng& rng, bool bf16, bool whole) {
  std::uint32_t word = 0;
  for (int half = 0; half < 2; ++half) {
    const float value =
        whole ? static_cast<float>(static_cast<int>(rng() % 17) - 8) : std::normal_distribution<float>()(rng);
    word |= std::uint32_t{bf16 ? float_to_bf16(value) : float_to_fp16(value)} << (16 * half);
  }
  return word;
}

// Whole numbers have one right sum, so fragments in the wrong place show as other bits. Sums of others are rounded as
// the hardware does it: 16 products and an addend of magnitude about 1 to 10, compared to 2^-18 of that.
Finding mma(Runner& device, Runner& host, bool bf16, bool whole) {
  constexpr int kCases = 32;
  Rng rng(bf16 ? 1 : 2);
  Words a(kCases * 32 * 4), b(kCases * 32 * 2), c(kCases * 32 * 4);
  for (std::uint32_t& word : a) word = pair(rng, bf16, whole);
  for (std::uint32_t& word : b) word = pair(rng, bf16, whole);
  for (std::uint32_t& word : c) word = bits_from_float(static_cast<float>(static_cast<int>(rng() % 33) - 16));
  const Fill fill = [](const std::vector<void*>& in, void* out, const void* more) {
    return bytes_of(MmaParams{static_cast<const std::uint32_t*>(in[0]), static_cast<const std::uint32_t*>(in[1]),
                              static_cast<const float*>(in[2]), static_cast<float*>(out), kCases,
                              *static_cast<const bool*>(more)});
  };
  const Launch launch{"moekit_kit_mma", 1, 32, 0};
  const Words got = device.run(launch, {a, b, c}, c.size(), fill, &bf16);
  const Words want = host.run(launch, {a, b, c}, c.size(), fill, &bf16);
  const std::string name = std::string("mma.m16n8k16 ") + (bf16 ? "bf16" : "f16") + (whole ? ", whole numbers" : "");
  if (whole) return compare(name, got, want, 0.0, bits_differ);
  return compare(name, got, want, 10.0 * 32.0, [](std::uint32_t x, std::uint32_t y) {
    return static_cast<double>(std::fabs(float_of(x) - float_of(y))) * (1 << 23);
  });
}

Finding copies(Runner& device, Runner& host) {
  Rng rng(3);
  Words in(kCopyThreads * 8);
  for (std::uint32_t& word : in) word = static_cast<std::uint32_t>(rng());
  const Fill fill = [](const std::vector<void*>& inputs, void* out, const void*) {
    return bytes_of(CopyParams{static_cast<const std::uint32_t*>(inputs[0]), static_cast<std::uint32_t*>(out)});
  };
  const Launch launch{"moekit_kit_copy", 1, kCopyThreads, 2 * kCopyThreads * 16};
  return compare("cp.async in groups, zero fill", device.run(launch, {in}, in.size(), fill, nullptr),
                 host.run(launch, {in}, in.size(), fill, nullptr), 0.0, bits_differ);
}

Finding warps(Runner& device, Runner& host) {
  Rng rng(4);
  Words in(32);
  for (std::uint32_t& word : in) word = static_cast<std::uint32_t>(rng());
  const Fill fill = [](const std::vector<void*>& inputs, void* out, const void*) {
    return bytes_of(WarpParams{static_cast<const std::uint32_t*>(inputs[0]), static_cast<std::uint32_t*>(out)});
  };
  const Launch launch{"moekit_kit_warp", 1, 32, 0};
  return compare("shuffles, votes, match, sums of a warp", device.run(launch, {in}, 32 * kWarpWords, fill, nullptr),
                 host.run(launch, {in}, 32 * kWarpWords, fill, nullptr), 0.0, bits_differ);
}

struct Elementwise {
  const char* name;
  Op op;
  float low, high;  // of random inputs; equal: all bits are taken
  double allowed;   // units in the last place: CUDA C++ programming guide, "Mathematical Functions", plus glibc's own 1
  double (*distance)(std::uint32_t, std::uint32_t);
};

Finding map(Runner& device, Runner& host, const Elementwise& e) {
  Rng rng(5);
  Words in(1 << 14);
  const bool all_shorts = e.op == Op::kFromBf16 || e.op == Op::kFromF16;
  if (all_shorts) in.resize(1 << 16);
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (all_shorts)
      in[i] = static_cast<std::uint32_t>(i);
    else if (e.low == e.high)
      in[i] = static_cast<std::uint32_t>(rng());
    else
      in[i] = bits_from_float(std::uniform_real_distribution<float>(e.low, e.high)(rng));
  }
  const std::pair<int, Op> more{static_cast<int>(in.size()), e.op};
  const Fill fill = [](const std::vector<void*>& inputs, void* out, const void* given) {
    const auto& [count, op] = *static_cast<const std::pair<int, Op>*>(given);
    return bytes_of(
        MapParams{static_cast<const std::uint32_t*>(inputs[0]), static_cast<std::uint32_t*>(out), count, op});
  };
  const Launch launch{"moekit_kit_map", static_cast<unsigned>(in.size() / kMapThreads), kMapThreads, 0};
  return compare(e.name, device.run(launch, {in}, in.size(), fill, &more),
                 host.run(launch, {in}, in.size(), fill, &more), e.allowed, e.distance);
}

}  // namespace

std::vector<Finding> run_kit(Runner& device, Runner& host) {
  std::vector<Finding> findings;
  for (const bool bf16 : {true, false})
    for (const bool whole : {true, false}) findings.push_back(mma(device, host, bf16, whole));
  findings.push_back(copies(device, host));
  findings.push_back(warps(device, host));
  const Elementwise list[] = {
      {"float32 to bfloat16", Op::kToBf16, 0, 0, 0.0, bf16_distance},
      {"bfloat16 to float32", Op::kFromBf16, 0, 0, 0.0, ulps},
      {"float32 to float16", Op::kToF16, -1e5f, 1e5f, 0.0, f16_distance},
      {"float32 to float16, small", Op::kToF16, -1e-4f, 1e-4f, 0.0, f16_distance},
      {"float16 to float32", Op::kFromF16, 0, 0, 0.0, ulps},
      {"expf", Op::kExp, -80, 80, 3.0, ulps},
      {"log1pf", Op::kLog1p, 0, 1e6f, 2.0, ulps},
      {"sqrtf", Op::kSqrt, 0, 1e6f, 0.0, ulps},
      {"reciprocal", Op::kReciprocal, 1, 1e20f, 2.0, ulps},
      {"division", Op::kDivide, -1e6f, 1e6f, 0.0, ulps},
      {"fmaf", Op::kFma, -1e6f, 1e6f, 0.0, ulps},
  };
  for (const Elementwise& e : list) findings.push_back(map(device, host, e));
  return findings;
}

std::string to_json(const std::vector<Finding>& findings, const std::string& device, int driver) {
  nlohmann::json list = nlohmann::json::array();
  bool passed = true;
  for (const Finding& f : findings) {
    passed = passed && f.passed;
    list.push_back({{"name", f.name},
                    {"compared", f.compared},
                    {"different", f.different},
                    {"worst", std::isfinite(f.worst) ? nlohmann::json(f.worst) : nlohmann::json("bits")},
                    {"allowed", f.allowed},
                    {"passed", f.passed},
                    {"detail", f.detail}});
  }
  return nlohmann::json{{"device", device}, {"driver", driver}, {"findings", list}, {"passed", passed}}.dump(2);
}

}  // namespace moekit::kit
