// SPDX-License-Identifier: Apache-2.0
// What a call must satisfy before a backend sees it. Nothing here allocates unless it throws.
#pragma once

#include "moekit/layer.h"
#include "moekit/weight_format.h"

namespace moekit {

/// Shapes, dtypes, strides and pointers of a call of the layer. Throws std::invalid_argument.
void check_forward(const MoeLayer& layer, const MatrixView& x, const MutableMatrixView& y, const RoutingView* routing);

/// Index, shapes, dtypes and pointers of unpacking an expert packed in `formats`. Throws std::invalid_argument.
void check_unpack(const BlockConfig& config, const ExpertFormats& formats, std::int64_t expert, bool shared,
                  const ExpertViews& out);

/// Whether the memory between the first and the last element of x meets that of y. For valid views.
bool memory_overlaps(const MatrixView& x, const MutableMatrixView& y) noexcept;

}  // namespace moekit
