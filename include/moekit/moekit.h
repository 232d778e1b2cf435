// SPDX-License-Identifier: Apache-2.0
// Everything public in one include.
#pragma once

#include "moekit/checkpoint.h"
#include "moekit/convert.h"
#include "moekit/core.h"
#include "moekit/device.h"
#include "moekit/error.h"
#include "moekit/layer.h"
#include "moekit/model.h"
#include "moekit/moe.h"
#include "moekit/permutation.h"
#include "moekit/router.h"
#include "moekit/tensor.h"
