// SPDX-License-Identifier: Apache-2.0
#include "models/quantised_projection.h"

#include <algorithm>

#include "checkpoint/text.h"

namespace moekit {
namespace {

using Take = QuantTensors (*)(const Quantisation&, const Projection&, const std::string&, Accounting&);

struct Codes {
  std::string name;
  Take take = nullptr;
};

bool is_plain(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 || dtype == DType::kFloat64;
}

/// Two codes of 4 bits share a byte when the last extent is half of the columns.
bool is_halved(const TensorRef& tensor, const Projection& projection) {
  return !tensor.shape.empty() && tensor.shape.back() == (projection.cols + 1) / 2 && projection.cols > 1;
}

/// Blocks of ggml have their scales inside.
QuantTensors take_ggml(const Quantisation&, const Projection& projection, const std::string& codes,
                       Accounting& tensors) {
  std::vector<std::int64_t> shape = {projection.rows, projection.cols};
  if (projection.count > 0) shape.insert(shape.begin(), projection.count);
  return *ggml_tensors(tensors.take(codes, shape, projection.why));
}

/// The codes of a projection and who reads them; nobody for plain or missing weights.
Codes find_codes(const Projection& projection, const Accounting& tensors) {
  const std::string words = projection.beside() + "qweight";
  if (tensors.peek(words) != nullptr) return {words, take_gptq_or_awq};
  const std::string packed = projection.weight + "_packed";
  if (const TensorRef* tensor = tensors.peek(packed))
    return {packed, tensor->dtype == DType::kInt32 ? take_packed_words : take_fp4};
  const std::string blocks = projection.weight + "_blocks";
  if (tensors.peek(blocks) != nullptr) return {blocks, take_fp4};
  const TensorRef* tensor = tensors.peek(projection.weight);
  if (tensor != nullptr && tensor->encoding != Encoding::kPlain) return {projection.weight, take_ggml};
  if (tensor == nullptr || is_plain(tensor->dtype)) return {};
  const bool integers = tensor->dtype == DType::kUInt8 || tensor->dtype == DType::kInt8;
  if (integers && is_halved(*tensor, projection)) return {projection.weight, take_fp4};
  if (tensor->dtype == DType::kFloat8E4M3 || tensor->dtype == DType::kInt8) return {projection.weight, take_bytes};
  tensors.fail("tensor " + in_quotes(tensor->name) + " has dtype " + std::string(dtype_name(tensor->dtype)) +
               " and shape " + shape_text(tensor->shape) +
               ", expected float32, bfloat16, float16, float64, float8_e4m3fn, int8, or two 4 bit codes a byte, for " +
               sizes_text(projection));
}

/// Codes that are missing, known by what lies beside them; for plain weights the plain name is told.
void refuse_missing_codes(const Projection& projection, Accounting& tensors) {
  if (tensors.peek(projection.weight) != nullptr) return;
  const auto has = [&](const std::string& name) { return tensors.peek(name) != nullptr; };
  const std::string& weight = projection.weight;
  if (has(projection.beside() + "qzeros") || has(projection.beside() + "scales"))
    tensors.take_any({projection.beside() + "qweight"}, "codes, beside its scales");
  if (has(weight + "_shape") || has(weight + "_global_scale"))
    tensors.take_any({weight + "_packed"}, "codes, beside its scales");
  if (has(weight + "_scales")) tensors.take_any({weight + "_blocks"}, "codes, beside its scales");
  if (const TensorRef* scale = tensors.peek(weight + "_scale"))
    tensors.fail("no tensor " + in_quotes(tensors.prefix() + weight) + " or " +
                 in_quotes(tensors.prefix() + weight + "_packed") + ", beside its scales " + in_quotes(scale->name));
}

/// Tensors of schemes that also quantise activations or the cache, which is not done here.
void leave_activation_scales(const Projection& projection, Accounting& tensors) {
  for (const char* name : {"input_scale", "input_global_scale", "activation_scale", "qscale_act", "input_zero_point",
                           "output_scale", "k_scale", "v_scale"})
    tensors.leave(projection.beside() + name, std::string("activation scales (") + name + ")");
}

bool all_zero(const TensorRef& tensor) {
  const bool integers = tensor.dtype == DType::kInt32 || tensor.dtype == DType::kInt8 || tensor.dtype == DType::kUInt8;
  if (integers) {
    const std::vector<std::int64_t> values = read_int64(tensor);
    return std::all_of(values.begin(), values.end(), [](std::int64_t value) { return value == 0; });
  }
  if (!is_plain(tensor.dtype) && tensor.dtype != DType::kFloat8E4M3) return false;
  const std::vector<float> values = read_float32(tensor);
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0.0f; });
}

/// Tools write biases of layers that have none, and zero points of symmetric codes, as zeros.
void leave_zeros(const std::string& name, const char* what, Accounting& tensors) {
  const TensorRef* tensor = tensors.peek(name);
  if (tensor != nullptr && all_zero(*tensor)) tensors.leave(name, what);
}

}  // namespace

std::string Projection::beside() const {
  constexpr std::string_view kSuffix = ".weight";
  const bool named =
      weight.size() > kSuffix.size() && weight.compare(weight.size() - kSuffix.size(), kSuffix.size(), kSuffix) == 0;
  return named ? weight.substr(0, weight.size() - kSuffix.size() + 1) : weight + "_";
}

std::string sizes_text(const Projection& projection) {
  std::string text = std::to_string(projection.rows) + " x " + std::to_string(projection.cols) + " weights";
  if (projection.count > 0) text = std::to_string(projection.count) + " x " + text;
  return text + " (" + projection.why + ")";
}

bool has_projection(const std::string& weight, const Accounting& tensors) {
  const Projection named{weight};
  return !tensors.find({weight, weight + "_packed", weight + "_blocks", named.beside() + "qweight"}).empty();
}

std::shared_ptr<const QuantTensors> take_quantised(const Quantisation& published, const Projection& projection,
                                                   Accounting& tensors) {
  const TensorRef* plain_name = tensors.peek(projection.weight);
  if (plain_name != nullptr && plain_name->encoding != Encoding::kPlain) {  // ggml's blocks have all inside
    std::vector<std::int64_t> shape = {projection.rows, projection.cols};
    if (projection.count > 0) shape.insert(shape.begin(), projection.count);
    return ggml_tensors(tensors.take(projection.weight, shape, projection.why));
  }
  const Codes codes = find_codes(projection, tensors);
  if (codes.take == nullptr) {
    refuse_missing_codes(projection, tensors);
    return nullptr;
  }
  auto taken = std::make_shared<QuantTensors>(codes.take(published, projection, codes.name, tensors));
  leave_activation_scales(projection, tensors);
  leave_zeros(projection.beside() + "bias", "biases that are zero (bias)", tensors);
  leave_zeros(projection.weight + "_zero_point", "zero points that are zero (weight_zero_point)", tensors);
  validate(*taken);
  return taken;
}

}  // namespace moekit
