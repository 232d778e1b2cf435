// SPDX-License-Identifier: Apache-2.0
// Elements of device memory as numbers, and back with one rounding to nearest even.
#pragma once

#include <cstddef>
#include <cstdint>

#include "types.h"

namespace ascend_double {

float float_of_half(uint16_t bits);
uint16_t half_of_float(float value);
float float_of_bfloat(uint16_t bits);
uint16_t bfloat_of_float(float value);

// Element `index` behind data as a double: exact for every type but the 64-bit integers beyond 2^53.
double load_number(DataType dtype, const std::byte* data, int64_t index);
int64_t load_integer(DataType dtype, const std::byte* data, int64_t index);
// Floating types: rounded to nearest even. Integers: rounded to nearest even and clamped to the type's range.
void store_number(DataType dtype, std::byte* data, int64_t index, double value);
void store_integer(DataType dtype, std::byte* data, int64_t index, int64_t value);

// The profile "jitter": the value moved by up to one unit in the last place of a 16-bit type, or by 2^-20 of itself for
// FLOAT, as another order of summation would. Other profiles and types: the value itself.
double jittered(DataType dtype, double value);

}  // namespace ascend_double
