// SPDX-License-Identifier: Apache-2.0
// What a launch must keep to, and how it runs here.
#pragma once

#include "cuda/runtime/machine.h"

namespace moekit::standin {

bool has_twin(const std::string& kernel);
int static_shared_bytes(const cuda::KernelObject& kernel, int capability);

/// The driver's answer to a launch of this shape: limits of the device, of the kernel's registers and of its launch
/// bounds as nvcc compiled it.
int check_launch(const cuda::KernelObject& kernel, int device, const LaunchShape& shape);

/// Queues the twin with a copy of the parameter. Notes a problem where the parameter's size is not the one of nvcc's
/// kernel, or where one of its words points to host memory, released memory or another device's.
int launch_twin(const Entry& entry, cuda::StreamObject& stream, const cuda::KernelObject& kernel,
                const LaunchShape& shape, const void* parameter);

}  // namespace moekit::standin
