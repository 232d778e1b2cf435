// SPDX-License-Identifier: Apache-2.0
// Calling a layer on tensors that lie in its device's memory: no copy, on the stream that their library uses just now.
#include "device_layer.h"

#include "array_types.h"
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

/// A tensor as its library describes it; lives as long as the Python object.
struct DeviceArray {
  const dl::Exchange* exchange = nullptr;
  dl::Tensor tensor{};

  DType dtype(const char* name) const { return dtype_from_dlpack(tensor.dtype, name); }
  const char* data() const noexcept { return static_cast<const char*>(tensor.data) + tensor.byte_offset; }
  std::int64_t elements() const {
    std::int64_t count = 1;
    for (int i = 0; i < tensor.ndim; ++i) count = checked_mul(count, tensor.shape[i], "array elements");
    return count;
  }
  /// Strides of C order; a dimension of one element may have any.
  bool contiguous() const noexcept {
    std::int64_t expected = 1;
    for (int i = tensor.ndim - 1; i >= 0; --i) {
      if (tensor.strides != nullptr && tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
      expected *= tensor.shape[i];
    }
    return true;
  }
};

std::string device_text(dl::Device device) {
  return device.type == dl::kCuda ? "cuda:" + std::to_string(device.index)
                                  : "DLPack device " + std::to_string(device.type) + ":" + std::to_string(device.index);
}

/// False for arrays in host memory, and for objects of which only a DLPack capsule can tell.
bool read(py::handle object, const char* name, DeviceArray& out) {
  out.exchange = exchange_of(Py_TYPE(object.ptr()));
  if (out.exchange == nullptr || out.exchange->borrow == nullptr) return false;
  if (out.exchange->borrow(object.ptr(), &out.tensor) != 0) throw py::error_already_set();
  if (out.tensor.device.type == dl::kCpu) return false;
  if (out.tensor.ndim < 0 || out.tensor.ndim > kMaxDims)
    throw py::value_error("[layer] " + std::string(name) + " has " + std::to_string(out.tensor.ndim) + " dimensions");
  return true;
}

void check_device(const MoeLayer& layer, const DeviceArray& array, const char* name) {
  if (array.tensor.device.type != dl::kCuda || array.tensor.device.index != layer.device().index)
    throw py::value_error("[layer] " + std::string(name) + " is on " + device_text(array.tensor.device) +
                          ", the layer on " + to_string(layer.device()));
}

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
  if (!read(object, name, array))
    throw py::value_error("[layer] " + std::string(name) + " must be on " + to_string(layer.device()) + " as x is");
  check_device(layer, array, name);
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
  if (layer.device().kind != DeviceKind::kCuda || !read(x, "x", array)) return false;
  check_device(layer, array, "x");
  refuse_gradients(x, "x");
  const MatrixView view = as_rows(layer, array);
  const std::int64_t k = layer.config().router.top_k, slots = checked_mul(view.rows, k, "tokens * top_k");
  const RouteInputs inputs{side_input<std::int64_t>(layer, call.token_ids, "token_ids", DType::kInt64, view.rows),
                           side_input<std::int32_t>(layer, call.expert_ids, "expert_ids", DType::kInt32, slots),
                           side_input<float>(layer, call.weights, "weights", DType::kFloat32, slots)};

  const dl::Device device = array.tensor.device;
  void* handle = nullptr;
  if (array.exchange->current_stream(device.type, device.index, &handle) != 0) throw py::error_already_set();
  BorrowedStream stream(handle);
  std::vector<std::int64_t> shape(array.tensor.shape, array.tensor.shape + array.tensor.ndim);
  shape.back() = layer.config().expert.output;
  void *y = nullptr, *ids = nullptr, *weights = nullptr;
  const py::object out = new_exchange(*array.exchange, view.dtype, shape.data(), array.tensor.ndim, &y, device);
  py::object out_ids, out_weights;
  RoutingView routing{view.rows, k, nullptr, nullptr};
  if (call.return_routing) {
    const std::int64_t sides[2] = {view.rows, k};
    out_ids = new_exchange(*array.exchange, DType::kInt32, sides, 2, &ids, device);
    out_weights = new_exchange(*array.exchange, DType::kFloat32, sides, 2, &weights, device);
    routing.expert_ids = static_cast<std::int32_t*>(ids);
    routing.weights = static_cast<float*>(weights);
  }
  {
    const ReleaseGil released;
    layer.forward(view, {y, view.dtype, view.rows, shape.back(), shape.back()}, inputs,
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
