// SPDX-License-Identifier: Apache-2.0
// Calling a layer on tensors that lie in its device's memory: no copy, on the stream that their library uses just now.
#include "device_layer.h"

#include "device_array.h"
#include "gil.h"

namespace moekit::python {
namespace {

/// The caller's stream. It may be null, the default stream: the call is queued there and not waited for.
class BorrowedStream final : public Stream {
 public:
  explicit BorrowedStream(void* handle) : handle_(handle) {}
  void* native() const noexcept override { return handle_; }

 private:
  void* handle_;
};

/// x as [rows, hidden], without a copy.
MatrixView as_rows(const MoeLayer& layer, const DeviceArray& x) {
  const dl::Tensor& t = x.tensor;
  const DType dtype = x.dtype("x");
  const std::int64_t hidden = layer.config().expert.input;
  check_dtype(layer, dtype);
  if (t.ndim == 0 || t.shape[t.ndim - 1] != hidden)
    throw py::value_error("[layer] the last dimension of x must be " + std::to_string(hidden));
  const bool rows_apart = t.ndim == 2 && t.strides != nullptr && (hidden == 1 || t.strides[1] == 1);
  if (!rows_apart && !x.contiguous())
    throw py::value_error("[layer] x is strided beyond rows of contiguous elements; call x.contiguous()");
  return {x.data(), dtype, x.elements() / hidden, hidden, rows_apart ? t.strides[0] : hidden, 1};
}

/// A side input in device memory, of exactly the element type that kernels read.
template <class T>
const T* side_input(const MoeLayer& layer, const py::object& object, const char* name, DType dtype,
                    std::int64_t count) {
  if (object.is_none()) return nullptr;
  DeviceArray array;
  if (!read_device_array(object, name, array))
    throw py::value_error("[layer] " + std::string(name) + " must be on " + to_string(layer.device()) + " as x is");
  check_on_device(layer.device(), array, name);
  if (array.dtype(name) != dtype || !array.contiguous())
    throw py::type_error("[layer] " + std::string(name) + " on a device must be contiguous " +
                         std::string(dtype_name(dtype)));
  if (array.elements() != count)
    throw py::value_error("[layer] " + std::string(name) + " has " + std::to_string(array.elements()) +
                          " elements, expected " + std::to_string(count));
  return reinterpret_cast<const T*>(array.data());
}

}  // namespace

void check_dtype(const MoeLayer& layer, DType x) {
  if (!layer.takes(x))
    throw py::type_error("[layer] x has dtype " + std::string(dtype_name(x)) + "; this layer takes float32" +
                         (layer.takes(DType::kFloat16) ? ", bfloat16 or float16" : " or bfloat16"));
}

bool forward_on_device(const MoeLayer& layer, py::handle x, const DeviceCall& call, py::tuple& result) {
  DeviceArray array;
  if (layer.device().kind == DeviceKind::kCpu || !read_device_array(x, "x", array)) return false;
  check_on_device(layer.device(), array, "x");
  refuse_gradients(x, "x");
  const MatrixView view = as_rows(layer, array);
  const std::int64_t k = layer.config().router.top_k, slots = checked_mul(view.rows, k, "tokens * top_k");
  const RouteInputs inputs{side_input<std::int64_t>(layer, call.token_ids, "token_ids", DType::kInt64, view.rows),
                           side_input<std::int32_t>(layer, call.expert_ids, "expert_ids", DType::kInt32, slots),
                           side_input<float>(layer, call.weights, "weights", DType::kFloat32, slots)};

  BorrowedStream stream(current_stream(array));
  std::vector<std::int64_t> shape(array.tensor.shape, array.tensor.shape + array.tensor.ndim);
  shape.back() = layer.config().expert.output;
  DeviceArray y, ids, weights;
  const py::object out = new_device_array(array, view.dtype, shape, y);
  py::object out_ids, out_weights;
  RoutingView routing{view.rows, k, nullptr, nullptr};
  if (call.return_routing) {
    out_ids = new_device_array(array, DType::kInt32, {view.rows, k}, ids);
    out_weights = new_device_array(array, DType::kFloat32, {view.rows, k}, weights);
    routing.expert_ids = reinterpret_cast<std::int32_t*>(ids.data());
    routing.weights = reinterpret_cast<float*>(weights.data());
  }
  {
    const ReleaseGil released;
    layer.forward(view, {y.data(), view.dtype, view.rows, shape.back(), shape.back()}, inputs,
                  call.return_routing ? &routing : nullptr, &stream);
  }
  if (call.return_routing) {
    result = py::make_tuple(out, out_ids, out_weights);
  } else {
    result = py::make_tuple(out);
  }
  return true;
}

}  // namespace moekit::python
