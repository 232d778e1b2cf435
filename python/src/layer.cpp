// SPDX-License-Identifier: Apache-2.0
// Calling a layer on Python arrays.
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "array_types.h"
#include "arrays.h"
#include "bindings.h"
#include "core/float_convert.h"
#include "device_layer.h"
#include "gil.h"

namespace moekit::python {
namespace {

// Below this many multiplications (about 5 us on one core) letting go of the GIL costs more than it gives others.
constexpr std::int64_t kReleaseGilWork = 1 << 18;

std::int64_t work_of(const MoeLayer& layer, std::int64_t tokens) {
  const BlockConfig& c = layer.config();
  const std::int64_t expert =
      c.expert.input * (c.expert.intermediate > 0 ? 3 * c.expert.intermediate : c.expert.output);
  return tokens * (c.router.top_k + c.shared.count) * expert;
}

/// x as a matrix with its checks, and the output's shape.
struct Input {
  ArrayView array;
  std::unique_ptr<std::byte[]> copy;
  MatrixView view;

  Input(const MoeLayer& layer, py::handle x, Gradients gradients = Gradients::kRefuse) {
    borrow(x, "x", array, gradients);
    const std::int64_t hidden = layer.config().expert.input;
    check_dtype(layer, array.dtype);
    if (array.ndim == 0 || array.shape[array.ndim - 1] != hidden)
      throw py::value_error("[layer] x has shape " + array.shape_text() + ", the last dimension must be " +
                            std::to_string(hidden));
    view = as_matrix(array, copy);
  }
};

NewArray new_output(const MoeLayer& layer, const ArrayView& x) {
  std::int64_t shape[kMaxDims];
  std::memcpy(shape, x.shape, sizeof(std::int64_t) * static_cast<std::size_t>(x.ndim));
  shape[x.ndim - 1] = layer.config().expert.output;
  return {x, x.dtype, shape, x.ndim};
}

void run(const MoeLayer& layer, const MatrixView& x, void* y, const RouteInputs& inputs, const RoutingView* routing) {
  const std::int64_t cols = layer.config().expert.output;
  const MutableMatrixView out{y, x.dtype, x.rows, cols, cols};
  const bool host = layer.device().kind == DeviceKind::kCpu;
  if (host && work_of(layer, x.rows) < kReleaseGilWork) return layer.forward(x, out, inputs, routing);
  const ReleaseGil released;
  layer.forward_host(x, out, inputs, routing);
}

/// An array of the caller as rows x k values, converted where its dtype asks for it.
template <class T>
class SideInput {
 public:
  SideInput(const py::object& object, const char* name, std::int64_t rows, std::int64_t k) {
    if (object.is_none()) return;
    borrow(object, name, array_);
    const bool flat = k < 0;  // one value a token, any leading shape
    const bool fits = flat ? array_.elements() == rows
                           : array_.ndim >= 1 && array_.shape[array_.ndim - 1] == k && array_.elements() == rows * k;
    if (!fits)
      throw py::value_error(
          "[layer] " + std::string(name) + " has shape " + array_.shape_text() + ", expected " +
          (flat ? std::to_string(rows) + " values" : "[" + std::to_string(rows) + ", " + std::to_string(k) + "]"));
    data_ = convert(contiguous(array_, copy_), array_.elements(), name, flat ? 1 : k);
  }
  const T* data() const noexcept { return data_; }

 private:
  const T* convert(const void* raw, std::int64_t count, const char* name, std::int64_t k);

  ArrayView array_;
  std::unique_ptr<std::byte[]> copy_;
  std::vector<T> values_;
  const T* data_ = nullptr;
};

template <>
const float* SideInput<float>::convert(const void* raw, std::int64_t count, const char* name, std::int64_t) {
  if (array_.dtype == DType::kFloat32) return static_cast<const float*>(raw);
  if (array_.dtype != DType::kBFloat16 && array_.dtype != DType::kFloat16 && array_.dtype != DType::kFloat64)
    throw py::type_error("[layer] " + std::string(name) + " has dtype " + std::string(dtype_name(array_.dtype)) +
                         ", expected a floating dtype");
  values_.resize(static_cast<std::size_t>(count));
  load_as_float(raw, array_.dtype, 0, 1, count, values_.data());
  return values_.data();
}

/// Integers of any width; a value that T cannot hold is an error that names its place, never a wrapped one.
template <class T>
const T* SideInput<T>::convert(const void* raw, std::int64_t count, const char* name, std::int64_t k) {
  const DType own = sizeof(T) == 8 ? DType::kInt64 : DType::kInt32;
  if (array_.dtype == own) return static_cast<const T*>(raw);
  if (array_.dtype != DType::kInt64 && array_.dtype != DType::kInt32)
    throw py::type_error("[layer] " + std::string(name) + " has dtype " + std::string(dtype_name(array_.dtype)) +
                         ", expected int32 or int64");
  values_.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t value = array_.dtype == DType::kInt64 ? static_cast<const std::int64_t*>(raw)[i]
                                                             : static_cast<const std::int32_t*>(raw)[i];
    if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max())
      throw py::value_error("[layer] " + std::string(name) + " " + std::to_string(value) + " at row " +
                            std::to_string(i / k) + ", column " + std::to_string(i % k) + " passes 32 bits");
    values_[static_cast<std::size_t>(i)] = static_cast<T>(value);
  }
  return values_.data();
}

py::tuple forward_full(const MoeLayer& layer, py::handle x, bool return_routing, const py::object& token_ids,
                       const py::object& expert_ids, const py::object& weights) {
  py::tuple on_device;
  if (forward_on_device(layer, x, {return_routing, token_ids, expert_ids, weights}, on_device)) return on_device;
  const Input input(layer, x);
  const std::int64_t tokens = input.view.rows, k = layer.config().router.top_k;
  const SideInput<std::int64_t> tokens_in(token_ids, "token_ids", tokens, -1);
  const SideInput<std::int32_t> ids_in(expert_ids, "expert_ids", tokens, k);
  const SideInput<float> weights_in(weights, "weights", tokens, k);
  const RouteInputs inputs{tokens_in.data(), ids_in.data(), weights_in.data()};
  NewArray y = new_output(layer, input.array);
  if (!return_routing) {
    run(layer, input.view, y.data(), inputs, nullptr);
    return py::make_tuple(y.finish());
  }
  const std::int64_t shape[2] = {tokens, k};
  NewArray ids(input.array, DType::kInt32, shape, 2), gates(input.array, DType::kFloat32, shape, 2);
  const RoutingView routing{tokens, k, static_cast<std::int32_t*>(ids.data()), static_cast<float*>(gates.data())};
  run(layer, input.view, y.data(), inputs, &routing);
  return py::make_tuple(y.finish(), ids.finish(), gates.finish());
}

/// name -> array [rows, cols] (a bias: [n]) to write into, in place.
void unpack(const MoeLayer& layer, std::int64_t expert, bool shared, const py::dict& into) {
  ExpertViews views;
  const std::pair<const char*, MutableMatrixView*> parts[] = {
      {"gate", &views.gate},           {"up", &views.up},           {"down", &views.down},
      {"gate_bias", &views.gate_bias}, {"up_bias", &views.up_bias}, {"down_bias", &views.down_bias}};
  ArrayView arrays[std::size(parts)];
  std::size_t taken = 0;
  for (std::size_t i = 0; i < std::size(parts); ++i) {
    const auto& [name, view] = parts[i];
    if (!into.contains(name)) continue;
    ArrayView& array = arrays[i];
    borrow(into[name], name, array);
    ++taken;
    if (array.ndim < 1 || array.ndim > 2 || (array.shape[array.ndim - 1] > 1 && array.strides[array.ndim - 1] != 1))
      throw py::value_error("[unpack] " + std::string(name) + " has shape " + array.shape_text() +
                            ", expected a vector or a matrix with contiguous rows");
    const bool row = array.ndim == 1;
    const std::int64_t cols = array.shape[array.ndim - 1];
    *view = {const_cast<char*>(array.data), array.dtype, row ? 1 : array.shape[0], cols, row ? cols : array.strides[0]};
  }
  if (taken != into.size()) throw py::value_error("[unpack] a name that is no part of an expert");
  const ReleaseGil released;
  layer.unpack(expert, views, shared);
}

}  // namespace

py::object forward(const MoeLayer& layer, py::handle x, Gradients gradients) {
  py::tuple on_device;
  if (layer.device().kind != DeviceKind::kCpu && forward_on_device(layer, x, {}, on_device)) return on_device[0];
  const Input input(layer, x, gradients);
  NewArray y = new_output(layer, input.array);
  run(layer, input.view, y.data(), {}, nullptr);
  return y.finish();
}

/// A NumPy copy of any supported array.
static py::object to_numpy(py::handle object, const std::string& name) {
  ArrayView array;
  borrow(object, name.c_str(), array);
  std::unique_ptr<std::byte[]> copy;
  const void* values = contiguous(array, copy);
  void* data = nullptr;
  py::object out = new_numpy(array.dtype, array.shape, array.ndim, &data);
  if (array.elements() > 0)
    std::memcpy(data, values, static_cast<std::size_t>(array.elements()) * dtype_size(array.dtype));
  return out;
}

py::tuple to_tuple(const MemoryNeeds& needs) {
  return py::make_tuple(needs.experts, needs.expert, needs.always, needs.all);
}

void bind_layer(py::module_& module) {
  module.def("to_numpy", &to_numpy);
  py::class_<MoeLayer, std::shared_ptr<MoeLayer>>(module, "Layer")
      .def("forward", [](const MoeLayer& self, const py::object& x) { return forward(self, x, Gradients::kRefuse); })
      .def("forward_full", &forward_full)
      .def("unpack", &unpack)
      .def_property_readonly("config", [](const MoeLayer& self) { return config_to_dict(self.config()); })
      .def_property_readonly("backend", [](const MoeLayer& self) { return std::string(self.backend()); })
      .def_property_readonly("format", [](const MoeLayer& self) { return std::string(self.format()); })
      .def_property_readonly("packed_bytes", &MoeLayer::packed_bytes)
      .def_property_readonly("resident_bytes", &MoeLayer::resident_bytes)
      .def_property_readonly("cache_counts",
                             [](const MoeLayer& self) {
                               const CacheCounts counts = self.cache_counts();
                               return py::make_tuple(counts.slots, counts.hits, counts.loads);
                             })
      .def_property_readonly("memory_needs", [](const MoeLayer& self) { return to_tuple(self.memory_needs()); })
      .def("explain", &MoeLayer::explain);
}

}  // namespace moekit::python
