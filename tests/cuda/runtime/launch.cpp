// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/launch.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "cuda/runtime/twins.h"

namespace moekit::standin {
namespace {

// CUDA C++ programming guide, technical specifications: the same for every capability from 5.0 on.
constexpr std::uint64_t kMaxGrid[3] = {0x7FFFFFFF, 65535, 65535};
constexpr std::uint64_t kMaxBlock[3] = {1024, 1024, 64};
constexpr std::uint64_t kMaxBlockThreads = 1024;
constexpr std::uint64_t kRegisters = 65536;  // of a block, given to warps in units of 256
constexpr std::uint64_t kRegisterUnit = 256, kWarp = 32;

// The machine code that a device takes. One that compiles PTX itself is held against the first: launch bounds are the
// same, registers about.
const KernelImage* image_for(const cuda::KernelObject& kernel, int capability) {
  const KernelImage* best = kernel.images.empty() ? nullptr : &kernel.images.begin()->second;
  for (const auto& [version, image] : kernel.images)
    if (version / 10 == capability / 10 && version <= capability) best = &image;
  return best;
}

// Whether the host could read there: every page of the process is either mapped or not, which msync tells.
bool is_host_memory(std::uint64_t word) {
  constexpr std::uint64_t kLowest = 1 << 16, kUserSpace = std::uint64_t{1} << 47;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (word < kLowest || word >= kUserSpace) return false;
  return msync(reinterpret_cast<void*>(word / page * page), page, MS_ASYNC) == 0;
}

// Looks at each word of a parameter that could be a pointer.
void check_pointers(const std::string& kernel, const void* parameter, std::size_t bytes, int device) {
  Machine& m = machine();
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(parameter) + at, 8);
    const void* pointer = reinterpret_cast<const void*>(word);
    const std::string where = "launch of " + kernel + ": byte " + std::to_string(at) + " of the parameter points ";
    const Allocation* allocation = m.memory.find(pointer);
    if (allocation != nullptr) {
      if (allocation->device != device && allocation->device != kHost)
        m.problem(where + "to another device: " + m.memory.describe(pointer));
    } else if (const std::string place = m.memory.describe(pointer); !place.empty()) {
      // One past the end is where a list of nothing begins.
      if (place.rfind("0 bytes after allocation", 0) != 0) m.problem(where + "to no live memory: " + place);
    } else if (is_host_memory(word)) {
      m.problem(where + "to memory of the host");
    }
  }
}

}  // namespace

bool has_twin(const std::string& kernel) {
  if (machine().twins.count(kernel) != 0) return true;
  if (Twin twin = library_twin(kernel); twin.run) {
    machine().twins[kernel] = std::move(twin);
    return true;
  }
  machine().problem("kernel '" + kernel + "' has no twin in the stand-in");
  return false;
}

int static_shared_bytes(const cuda::KernelObject& kernel, int capability) {
  const KernelImage* image = image_for(kernel, capability);
  return image != nullptr ? image->static_shared_bytes : 0;
}

int check_launch(const cuda::KernelObject& kernel, int device, const LaunchShape& shape) {
  const DeviceModel& model = *machine().devices[static_cast<std::size_t>(device)];
  for (int i = 0; i < 3; ++i)
    if (shape.grid[i] == 0 || shape.grid[i] > kMaxGrid[i] || shape.block[i] == 0 || shape.block[i] > kMaxBlock[i])
      return ERROR_INVALID_VALUE;
  const std::uint64_t threads = std::uint64_t{shape.block[0]} * shape.block[1] * shape.block[2];
  if (threads > kMaxBlockThreads) return ERROR_INVALID_VALUE;
  const int fixed = static_shared_bytes(kernel, model.capability);
  const auto allowed = kernel.dynamic_shared_limit.find(device);
  const int limit = allowed != kernel.dynamic_shared_limit.end() && allowed->second > kSharedDefault - fixed
                        ? allowed->second
                        : kSharedDefault - fixed;
  if (shape.shared_bytes > static_cast<unsigned>(limit)) return ERROR_INVALID_VALUE;
  if (const KernelImage* image = image_for(kernel, model.capability)) {
    if (image->max_threads != 0 && threads > static_cast<std::uint64_t>(image->max_threads)) return ERROR_INVALID_VALUE;
    const std::uint64_t warps = (threads + kWarp - 1) / kWarp;
    const std::uint64_t of_warp =
        (static_cast<std::uint64_t>(image->registers) * kWarp + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
    if (warps * of_warp > kRegisters) return ERROR_LAUNCH_OUT_OF_RESOURCES;
  }
  return SUCCESS;
}

int launch_twin(const Entry& entry, cuda::StreamObject& stream, const cuda::KernelObject& kernel,
                const LaunchShape& shape, const void* parameter) {
  Machine& m = machine();
  const Twin twin = m.twins.find(kernel.name)->second;
  for (const auto& [capability, image] : kernel.images)
    if (image.parameter_bytes.size() != 1 || image.parameter_bytes[0] != twin.parameter_bytes)
      m.problem("kernel " + kernel.name + " for sm_" + std::to_string(capability) + " takes " +
                std::to_string(image.parameter_bytes.size()) + " parameters, the first of " +
                std::to_string(image.parameter_bytes.empty() ? 0 : image.parameter_bytes[0]) +
                " bytes; the host gives one of " + std::to_string(twin.parameter_bytes));
  check_pointers(kernel.name, parameter, twin.parameter_bytes, entry.ordinal());
  const auto* begin = static_cast<const std::byte*>(parameter);
  auto copy = std::make_shared<std::vector<std::byte>>(begin, begin + twin.parameter_bytes);
  const int device = entry.ordinal();
  const int result = enqueue(entry, stream, "kernel " + kernel.name, [copy, twin, shape, device] {
    Machine& now = machine();
    for (auto fault = now.faults.begin(); fault != now.faults.end(); ++fault) {
      if (!fault->function.empty() || --fault->remaining > 0) continue;
      now.devices[static_cast<std::size_t>(device)]->broken = fault->code;
      now.faults.erase(fault);
      return;
    }
    ++now.statistics.kernels;
    twin.run(shape, copy->data());
  });
  if (result == SUCCESS)
    m.launches.push_back({kernel.name,
                          {shape.grid[0], shape.grid[1], shape.grid[2]},
                          {shape.block[0], shape.block[1], shape.block[2]},
                          shape.shared_bytes,
                          device});
  return result;
}

}  // namespace moekit::standin
