// SPDX-License-Identifier: Apache-2.0
// Runs a kernel of the kit where it is asked to: on the device that the driver gives, or on the host's emulation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moekit::kit {

using Words = std::vector<std::uint32_t>;

struct Launch {
  const char* kernel = nullptr;
  unsigned grid = 1, threads = 32, shared_bytes = 0;
};

/// Takes inputs to where the kernel can read them; `fill` receives their addresses, and that of the output, and gives
/// the parameter's bytes.
using Fill = std::vector<std::byte> (*)(const std::vector<void*>& inputs, void* out, const void* more);

class Runner {
 public:
  virtual ~Runner() = default;
  /// Answers out_words words. Throws.
  virtual Words run(const Launch& launch, const std::vector<Words>& inputs, std::size_t out_words, Fill fill,
                    const void* more) = 0;
};

/// Throws DeviceError where there is no device.
Runner& device_runner();
Runner& host_runner();
/// "stand-in sm_90", "NVIDIA H100 ...".
std::string device_name();
int driver_version();

}  // namespace moekit::kit
