// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>
#include <string>

#include "layer/forward_checks.h"

namespace moekit {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument("[unpack] " + what); }

void check_part(const char* name, const MutableMatrixView& out, bool exists, DType dtype, std::int64_t rows,
                std::int64_t cols, bool codes = false) {
  if (out.data == nullptr) return;
  if (!exists) fail(std::string(name) + " asked for, this form has none");
  if (out.rows != rows || out.cols != cols)
    fail(std::string(name) + " is [" + std::to_string(out.rows) + ", " + std::to_string(out.cols) + "], expected [" +
         std::to_string(rows) + ", " + std::to_string(cols) + "]");
  if (out.dtype != dtype && !(codes && out.dtype == DType::kUInt8))
    fail(std::string(name) + " has dtype " + std::string(dtype_name(out.dtype)) + ", expected " +
         std::string(dtype_name(dtype)) + (codes ? ", or uint8 for its codes" : ""));
  if (out.rows > 1 && out.row_stride < out.cols)
    fail(std::string(name) + " has row stride " + std::to_string(out.row_stride) + ", expected at least its " +
         std::to_string(out.cols) + " columns");
}

}  // namespace

void check_unpack(const BlockConfig& config, const ExpertFormats& formats, std::int64_t expert, bool shared,
                  const ExpertViews& out) {
  const std::int64_t count = shared ? config.shared.count : config.router.num_experts;
  if (expert < 0 || expert >= count)
    fail(std::string(shared ? "shared expert " : "expert ") + std::to_string(expert) + " of " + std::to_string(count));
  const ExpertConfig& e = shared ? config.shared.expert : config.expert;
  const bool linear = e.act == Activation::kLinear, gated = is_gated(e.act);
  check_part("gate", out.gate, gated, formats.gate.element(), e.intermediate, e.input, !formats.gate.plain());
  check_part("up", out.up, !linear, formats.up.element(), e.intermediate, e.input, !formats.up.plain());
  check_part("down", out.down, true, formats.down.element(), e.output, linear ? e.input : e.intermediate,
             !formats.down.plain());
  check_part("gate bias", out.gate_bias, gated && e.up_bias, DType::kFloat32, 1, e.intermediate);
  check_part("up bias", out.up_bias, !linear && e.up_bias, DType::kFloat32, 1, e.intermediate);
  check_part("down bias", out.down_bias, e.down_bias, DType::kFloat32, 1, e.output);
}

}  // namespace moekit
