// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Python.h>
#include <unistd.h>

namespace moekit::python {

/// Lets go of the GIL for a scope. A daemon thread that comes back while the interpreter shuts down is ended by Python
/// (before 3.14) with pthread_exit, whose unwinding would run our destructors without the GIL or end in std::terminate:
/// such a thread is stopped here instead, as later Pythons do, and ends with the process.
class ReleaseGil {
 public:
  ReleaseGil() : state_(PyEval_SaveThread()) {}
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;
  ~ReleaseGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // only the forced unwinding of pthread_exit comes through C code
      for (;;) pause();
    }
  }

 private:
  PyThreadState* state_;
};

}  // namespace moekit::python
