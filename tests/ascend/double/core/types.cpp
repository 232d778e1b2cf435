// SPDX-License-Identifier: Apache-2.0
#include "types.h"

namespace ascend_double {

int element_bits(DataType dtype) {
  switch (dtype) {
    case DataType::kInt4: return 4;
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kBool: return 8;
    case DataType::kFloat16:
    case DataType::kBFloat16:
    case DataType::kInt16:
    case DataType::kUint16: return 16;
    case DataType::kFloat:
    case DataType::kInt32:
    case DataType::kUint32: return 32;
    case DataType::kInt64:
    case DataType::kUint64:
    case DataType::kDouble: return 64;
    case DataType::kUndefined: break;
  }
  return 0;
}

const char* name_of(DataType dtype) {
  switch (dtype) {
    case DataType::kUndefined: return "UNDEFINED";
    case DataType::kFloat: return "FLOAT";
    case DataType::kFloat16: return "FLOAT16";
    case DataType::kInt8: return "INT8";
    case DataType::kInt32: return "INT32";
    case DataType::kUint8: return "UINT8";
    case DataType::kInt16: return "INT16";
    case DataType::kUint16: return "UINT16";
    case DataType::kUint32: return "UINT32";
    case DataType::kInt64: return "INT64";
    case DataType::kUint64: return "UINT64";
    case DataType::kDouble: return "DOUBLE";
    case DataType::kBool: return "BOOL";
    case DataType::kBFloat16: return "BFLOAT16";
    case DataType::kInt4: return "INT4";
  }
  return "a type outside the double";
}

bool is_floating(DataType dtype) {
  return dtype == DataType::kFloat || dtype == DataType::kFloat16 || dtype == DataType::kBFloat16 ||
         dtype == DataType::kDouble;
}

int64_t bytes_of(DataType dtype, int64_t elements) { return (elements * element_bits(dtype) + 7) / 8; }

std::string text_of(const std::vector<int64_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

}  // namespace ascend_double
