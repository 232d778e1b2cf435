// SPDX-License-Identifier: Apache-2.0
#include "ascend/double_control.h"

#include <dlfcn.h>

#include "core/environment.h"

namespace moekit::ascend_test {
namespace {

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
}

Control load() {
  Control c;
  void* library = dlopen((environment("MOEKIT_ASCEND_LIBRARY_PATH") + "/libascendcl.so").c_str(), RTLD_LAZY);
  if (library == nullptr) return c;
  find(library, "ascend_double_set", c.set);
  find(library, "ascend_double_reset", c.reset);
  find(library, "ascend_double_violations", c.violations);
  find(library, "ascend_double_violation", c.violation);
  find(library, "ascend_double_live", c.live);
  find(library, "ascend_double_calls", c.calls);
  return c;
}

}  // namespace

const Control& control() {
  static const Control loaded = load();
  return loaded;
}

std::string violations() {
  std::string all;
  if (!control()) return all;
  for (std::uint64_t i = 0; i < control().violations(); ++i) {
    char text[400] = "";
    control().violation(i, text, sizeof text);
    all += std::string(text) + "\n";
  }
  return all;
}

}  // namespace moekit::ascend_test
