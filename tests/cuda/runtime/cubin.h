// SPDX-License-Identifier: Apache-2.0
// What nvcc really made: the kernels of a fat binary with their parameter sizes, registers and limits, read from the
// machine code's own tables. NVIDIA does not document the format; the fields read here were found by comparing with
// what `cuobjdump -elf` prints, and a file that does not look as expected is refused.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace moekit::standin {

struct KernelImage {
  std::vector<std::size_t> parameter_bytes;  // in order
  int registers = 0;                         // per thread
  int static_shared_bytes = 0;
  int max_threads = 0;  // of __launch_bounds__; 0: not given
};

struct FatBinary {
  std::map<int, std::map<std::string, KernelImage>> machine_code;  // by capability, by kernel
  std::vector<int> ptx;                                            // capabilities
  /// Whether a device of this capability can run it: machine code of its major version and at most its minor one, or
  /// PTX of no higher capability.
  bool runs_on(int capability) const;
  /// The capability of the machine code a device would take; 0: none.
  int choose(int capability) const;
};

bool is_fat_binary(const void* data);
/// Throws std::runtime_error saying what is not as expected.
FatBinary read_fat_binary(const void* data);

}  // namespace moekit::standin
