// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/backend.h"

namespace moekit::cuda {

/// What the kernels take: the same questions that packing and launching ask.
Support supports_block(const BlockConfig& config, const BlockFormats& formats);

}  // namespace moekit::cuda
