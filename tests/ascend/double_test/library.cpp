// SPDX-License-Identifier: Apache-2.0
#include "library.h"

#include <dlfcn.h>

namespace double_test {

void* find(const char* name) {
  static const std::vector<void*> libraries = [] {
    std::vector<void*> opened;
    for (const char* file : {"libascendcl.so", "libnnopbase.so", "libopapi.so", "libhccl.so"}) {
      const std::string path = std::string(MOEKIT_ASCEND_DOUBLE_LIBRARIES) + "/" + file;
      if (void* const library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL)) opened.push_back(library);
    }
    return opened;
  }();
  for (void* const library : libraries) {
    if (void* const address = dlsym(library, name)) return address;
  }
  return nullptr;
}

int violations(const std::string& kind) {
  int count = 0;
  char text[512];
  for (uint64_t i = 0; call<uint64_t>("ascend_double_violation", i, static_cast<char*>(text), uint64_t{512}) > 0; ++i) {
    count += std::string(text).rfind(kind, 0) == 0;
  }
  return count;
}

void set(const char* name, const char* value) { status("ascend_double_set", name, value); }

uint64_t live(const char* kind) { return call<uint64_t>("ascend_double_live", kind); }

std::string recent_message() {
  const char* const text = call<const char*>("aclGetRecentErrMsg");
  return text == nullptr ? "" : text;
}

}  // namespace double_test
