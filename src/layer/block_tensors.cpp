// SPDX-License-Identifier: Apache-2.0
// Every tensor of a block against its configuration.
#include <string>

#include "moekit/error.h"
#include "moekit/layer.h"
#include "moekit/quantised.h"
#include "routing/routing.h"

namespace moekit {
namespace {

std::string shape_text(std::int64_t rows, std::int64_t cols) {
  return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

// Where a matrix stands, kept apart from its text: a layer has thousands of matrices and none of them fails.
struct Role {
  const char* list;  // "expert", "shared expert", or null for a single matrix
  std::int64_t index;
  const char* name;
};

[[noreturn]] void fail(const Role& role, const MatrixRef& matrix, const std::string& problem) {
  std::string text = role.name;
  if (role.list != nullptr) text = std::string(role.list) + " " + std::to_string(role.index) + " " + text;
  if (!matrix.tensor.name.empty()) text = matrix.tensor.name + " (" + text + ")";
  throw CheckpointError("[block] " + text + ": " + problem);
}

bool is_plain_float(DType dtype) {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16;
}

// Offsets of a quantised matrix count rows of its stack; it stays inside one matrix of it.
void check_quantised(const Role& role, const MatrixRef& matrix) {
  const QuantTensors& tensors = *matrix.quant;
  validate(tensors);
  std::int64_t span = 0;
  if (matrix.cols != tensors.cols || matrix.offset < 0 || matrix.row_stride < 1 ||
      matrix.offset / tensors.rows >= tensors.count ||
      __builtin_mul_overflow(matrix.rows - 1, matrix.row_stride, &span) ||
      span > tensors.rows - 1 - matrix.offset % tensors.rows)
    fail(role, matrix, "the matrix reaches past the " + std::to_string(tensors.count) + " x " +
                           shape_text(tensors.rows, tensors.cols) + " of its tensors");
}

void check_matrix(const Role& role, const MatrixRef& matrix, bool wanted, std::int64_t rows, std::int64_t cols) {
  if (!wanted) {
    if (matrix) fail(role, matrix, "shape " + shape_text(matrix.rows, matrix.cols) + " given, this form has none");
    return;
  }
  if (!matrix) fail(role, matrix, "missing, expected shape " + shape_text(rows, cols));
  if (matrix.rows != rows || matrix.cols != cols)
    fail(role, matrix, "shape " + shape_text(matrix.rows, matrix.cols) + ", expected " + shape_text(rows, cols));
  if (matrix.quant != nullptr) return check_quantised(role, matrix);
  if (!is_plain_float(matrix.tensor.dtype))
    fail(role, matrix,
         "dtype " + std::string(dtype_name(matrix.tensor.dtype)) + ", expected float32, bfloat16, float16 or float64");
  if (matrix.offset < 0 || matrix.row_stride < 0 || matrix.col_stride < 0)
    fail(role, matrix, "a negative offset or stride");
  std::int64_t row_span = 0, col_span = 0, last = 0;
  if (__builtin_mul_overflow(rows - 1, matrix.row_stride, &row_span) ||
      __builtin_mul_overflow(cols - 1, matrix.col_stride, &col_span) ||
      __builtin_add_overflow(row_span, col_span, &last) || __builtin_add_overflow(last, matrix.offset, &last) ||
      last >= matrix.tensor.elements())
    fail(role, matrix,
         "the matrix reaches past the " + std::to_string(matrix.tensor.elements()) + " elements of its tensor");
}

void check_expert(const char* list, std::int64_t index, const ExpertConfig& e, const ExpertTensors& tensors) {
  const bool gated = is_gated(e.act), linear = e.act == Activation::kLinear;
  const auto role = [&](const char* name) { return Role{list, index, name}; };
  check_matrix(role("gate"), tensors.gate, gated, e.intermediate, e.input);
  check_matrix(role("up"), tensors.up, !linear, e.intermediate, e.input);
  check_matrix(role("down"), tensors.down, true, e.output, linear ? e.input : e.intermediate);
  check_matrix(role("gate bias"), tensors.gate_bias, gated && e.up_bias, 1, e.intermediate);
  check_matrix(role("up bias"), tensors.up_bias, e.up_bias, 1, e.intermediate);
  check_matrix(role("down bias"), tensors.down_bias, e.down_bias, 1, e.output);
}

void check_list(const char* list, std::int64_t wanted, const ExpertConfig& e,
                const std::vector<ExpertTensors>& experts) {
  if (static_cast<std::int64_t>(experts.size()) != wanted)
    throw CheckpointError("[block] " + std::to_string(experts.size()) + " " + list + "s given, expected " +
                          std::to_string(wanted));
  for (std::int64_t i = 0; i < wanted; ++i) check_expert(list, i, e, experts[static_cast<std::size_t>(i)]);
}

}  // namespace

void validate(const BlockConfig& config, const BlockTensors& tensors) {
  validate(config.router, tensors.router, config.expert.input);
  check_list("expert", config.router.num_experts, config.expert, tensors.experts);
  check_list("shared expert", config.shared.count, config.shared.expert, tensors.shared);
  check_matrix({nullptr, 0, "shared gate"}, tensors.shared_gate,
               config.shared.count > 0 && config.shared.gate == SharedGate::kSigmoid, 1, config.expert.input);
}

}  // namespace moekit
