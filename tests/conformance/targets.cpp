// SPDX-License-Identifier: Apache-2.0
#include "conformance/targets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "backends/cpu/isa.h"
#include "core/environment.h"
#include "formats/format.h"

namespace moekit::conformance {
namespace {

std::vector<std::string> host_isas() {
  const auto host = cpu::host_isas();
  for (const std::string_view isa : cpu::known_isas())
    if (std::find(host.begin(), host.end(), isa) == host.end())
      std::fprintf(stderr, "not tested: %s\n", std::string(isa).c_str());
  return {host.begin(), host.end()};
}

// Packs under a forced ISA and restores the automatic choice.
struct ForcedIsa {
  explicit ForcedIsa(const std::string& isa) { cpu::force_isa(isa); }
  ~ForcedIsa() { cpu::force_isa(""); }
};

std::vector<Target> find_targets() {
  std::vector<Target> found;
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name(list[i]->name());
    if (const Support support = list[i]->available(); !support) {
      std::fprintf(stderr, "not tested: %s (%s)\n", name.c_str(), support.reason.c_str());
    } else if (name == "cpu") {
      for (const std::string& isa : host_isas()) found.push_back({name, isa});
    } else {
      found.push_back({name, ""});
    }
  }
  return found;
}

std::atomic<int> survived{0};

// A run with faults in which nothing failed has shown nothing.
struct Faults : testing::Environment {
  void TearDown() override {
    if (!with_faults()) return;
    std::printf("errors of the device that ended an action, which was repeated: %d\n", survived.load());
    EXPECT_GT(survived.load(), 0);
  }
};
const auto* const kFaults = testing::AddGlobalTestEnvironment(new Faults);

}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> list = find_targets();
  return list;
}

std::vector<Target> cpu_targets() {
  std::vector<Target> found;
  for (const Target& target : targets())
    if (target.backend == "cpu") found.push_back(target);
  return found;
}

double slack() {
  static const std::string text = environment("MOEKIT_TEST_SLACK");
  return text.empty() ? 1.0 : std::stod(text);
}

double nmse_bound(const Target& target, const Mode& mode) {
  if (target.backend != "ascend" || mode.weights == DType::kFloat32) return mode.nmse;
  // Its operators hand rows of the weights' dtype to each other: gates, ups, their product and the experts' outputs are
  // rounded, each for 1.3e-6 in bfloat16, twice that behind an activation, where other backends keep float32. At most
  // 2.2e-5 was seen.
  return 3.0 * mode.nmse * slack();
}

std::vector<Mode> modes(const Target& target) {
  const bool float16 = backend_by_name(target.backend).takes_float16();
  std::vector<Mode> chosen;
  for (const Mode& mode : modes())
    if (float16 || (mode.weights != DType::kFloat16 && mode.data != DType::kFloat16)) chosen.push_back(mode);
  return chosen;
}

bool with_faults() {
  static const bool value = !environment("MOEKIT_TEST_FAULTS").empty();
  return value;
}

void survive(const DeviceError&, int attempt) {
  constexpr int kMost = 100;
  if (!with_faults() || attempt >= kMost) throw;
  ++survived;
}

MoeLayer make_layer(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                    const std::string& dtype, bool int8_activations) {
  LayerOptions options;
  options.int8_activations = int8_activations;
  options.bf16_split = true;
  options.dtype = dtype;
  return make_layer(target, config, tensors, options);
}

MoeLayer make_layer(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                    LayerOptions options) {
  const ForcedIsa forced(target.isa);
  options.backend = target.backend;
  options.device.kind = backend_by_name(target.backend).device();
  return despite_faults([&] { return MoeLayer(config, tensors, options); });
}

std::unique_ptr<PackedBlock> pack_block(const Target& target, const BlockConfig& config, const BlockTensors& tensors,
                                        const std::string& dtype) {
  const ForcedIsa forced(target.isa);
  const Backend& backend = backend_by_name(target.backend);
  return despite_faults([&] {
    BlockFormats formats = uniform_formats(weight_format(dtype));
    formats.bf16_split = true;
    return backend.pack(config, tensors, formats, {backend.device(), 0});
  });
}

}  // namespace moekit::conformance
