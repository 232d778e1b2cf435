// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "moekit/weight_format.h"

namespace moekit {

/// Why experts' inputs cannot be int8 beside these weights; empty: they can. Plain shared experts keep theirs.
std::string int8_activations_reason(const BlockFormats& formats);

}  // namespace moekit
