// SPDX-License-Identifier: Apache-2.0
// Devices, contexts and the handles of the runtime. A thread works in the context it was given; without one every call
// is refused (107002).
#pragma once

#include <memory>

#include "event.h"
#include "graph.h"
#include "handles.h"
#include "stream.h"

namespace ascend_double {

HandleTable<Context>& contexts();
HandleTable<Stream>& streams();
HandleTable<Event>& events();
HandleTable<Graph>& graphs();

bool initialized();
void set_initialized(bool on);
// 100001 before aclInit.
void require_initialized();

// The context of this thread. Throws Failure{kRtContextNull}.
std::shared_ptr<Context> current_context();
void* current_context_handle();
// NULL takes the thread's context away.
void set_current_context(void* handle);

// The device's primary context, which every thread that sets the device shares.
void set_device(int device);
void reset_device(int device);
void check_device(int64_t device);

// The stream of a handle, NULL being the default one. It must belong to the thread's context (107003).
std::shared_ptr<Stream> stream_of(void* handle);

// Everything of the device is done. Throws the first error.
void synchronize_device(int device);

}  // namespace ascend_double
