// SPDX-License-Identifier: Apache-2.0
// One rank as a process of its own: rank_process FILE RANKS RANK sums 2^rank over the ranks and exits with 0 where the
// sum is right; FILE holds the root information.
#include <cstdio>
#include <cstdlib>

#include "library.h"

using double_test::status;

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const auto ranks = static_cast<uint32_t>(std::atoi(arguments[2])),
             rank = static_cast<uint32_t>(std::atoi(arguments[3]));
  char root_info[4108];
  std::FILE* const file = std::fopen(arguments[1], "rb");
  if (file == nullptr || std::fread(root_info, 1, sizeof(root_info), file) != sizeof(root_info)) return 3;
  std::fclose(file);
  double_test::set("PROFILE", "normal");
  float value = static_cast<float>(1u << rank), sum = 0;
  void *stream = nullptr, *group = nullptr, *memory = nullptr;
  int failed = status("aclInit", static_cast<const char*>(nullptr)) |
               status("aclrtSetDevice", static_cast<int32_t>(rank)) | status("aclrtCreateStream", &stream) |
               status("aclrtMalloc", &memory, sizeof(float), 0);
  failed |= status("HcclCommInitRootInfo", ranks, static_cast<const void*>(root_info), rank, &group);
  failed |= status("aclrtMemcpy", memory, sizeof(float), static_cast<const void*>(&value), sizeof(float),
                   int{double_test::kHostToDevice});
  failed |= status("HcclAllReduce", memory, memory, uint64_t{1}, 4, 0, group, stream);
  failed |= status("aclrtSynchronizeStream", stream);
  failed |= status("aclrtMemcpy", static_cast<void*>(&sum), sizeof(float), static_cast<const void*>(memory),
                   sizeof(float), int{double_test::kDeviceToHost});
  failed |= status("HcclCommDestroy", group);
  return failed != 0 ? 4 : sum == static_cast<float>((1u << ranks) - 1) ? 0 : 5;
}
