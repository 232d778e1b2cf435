// SPDX-License-Identifier: Apache-2.0
#include "array_types.h"

#include <pybind11/numpy.h>

#include <cstring>
#include <unordered_map>

namespace moekit::python {
namespace {

struct DlCode {
  DType dtype;
  std::uint8_t code;
};

// DLDataTypeCode values.
constexpr DlCode kDlCodes[] = {
    {DType::kInt64, 0},   {DType::kInt32, 0},       {DType::kInt16, 0},       {DType::kInt8, 0},
    {DType::kUInt64, 1},  {DType::kUInt32, 1},      {DType::kUInt16, 1},      {DType::kUInt8, 1},
    {DType::kFloat64, 2}, {DType::kFloat32, 2},     {DType::kFloat16, 2},     {DType::kBFloat16, 4},
    {DType::kBool, 6},    {DType::kFloat8E4M3, 10}, {DType::kFloat8E5M2, 12}, {DType::kFloat8E8M0, 14},
};

// Of NumPy's numbered types on LP64 systems; -1 where it has none.
int numpy_number(DType dtype) {
  using Api = py::detail::npy_api;
  switch (dtype) {
    case DType::kFloat64: return Api::NPY_DOUBLE_;
    case DType::kFloat32: return Api::NPY_FLOAT_;
    case DType::kFloat16: return 23;  // NPY_HALF
    case DType::kInt64: return Api::NPY_INT64_;
    case DType::kInt32: return Api::NPY_INT32_;
    case DType::kInt16: return Api::NPY_INT16_;
    case DType::kInt8: return Api::NPY_INT8_;
    case DType::kUInt64: return Api::NPY_UINT64_;
    case DType::kUInt32: return Api::NPY_UINT32_;
    case DType::kUInt16: return Api::NPY_UINT16_;
    case DType::kUInt8: return Api::NPY_UINT8_;
    case DType::kBool: return Api::NPY_BOOL_;
    default: return -1;
  }
}

/// The dtype object of a type that NumPy knows only through ml_dtypes. Leaked on purpose: process-wide.
PyObject* ml_dtype(DType dtype) {
  static auto* cache = new std::unordered_map<int, PyObject*>();
  PyObject*& entry = (*cache)[static_cast<int>(dtype)];
  if (entry == nullptr) {
    const py::object type = py::module_::import("ml_dtypes").attr(std::string(dtype_name(dtype)).c_str());
    entry = py::dtype::from_args(type).release().ptr();
  }
  return entry;
}

}  // namespace

DType dtype_from_dlpack(dl::Type type, const char* name) {
  if (type.lanes == 1)
    for (const DlCode& entry : kDlCodes)
      if (entry.code == type.code && dtype_size(entry.dtype) * 8 == type.bits) return entry.dtype;
  throw py::type_error("[array] " + std::string(name) + ": DLPack type code " + std::to_string(type.code) + ", " +
                       std::to_string(type.bits) + " bits, " + std::to_string(type.lanes) + " lanes is not supported");
}

dl::Type dtype_to_dlpack(DType dtype) {
  for (const DlCode& entry : kDlCodes)
    if (entry.dtype == dtype) return {entry.code, static_cast<std::uint8_t>(dtype_size(dtype) * 8), 1};
  throw py::type_error("[array] dtype " + std::string(dtype_name(dtype)) + " has no DLPack code");
}

DType dtype_from_numpy(py::handle array, const char* name, bool* swapped) {
  using Api = py::detail::npy_api;
  PyObject* descr = py::detail::array_proxy(array.ptr())->descr;
  const auto* proxy = py::detail::array_descriptor_proxy(descr);
  *swapped = proxy->byteorder == '>';
  switch (proxy->type_num) {
    case Api::NPY_FLOAT_: return DType::kFloat32;
    case Api::NPY_DOUBLE_: return DType::kFloat64;
    case 23: return DType::kFloat16;
    case Api::NPY_BOOL_: return DType::kBool;
    case Api::NPY_BYTE_: return DType::kInt8;
    case Api::NPY_UBYTE_: return DType::kUInt8;
    case Api::NPY_SHORT_: return DType::kInt16;
    case Api::NPY_USHORT_: return DType::kUInt16;
    case Api::NPY_INT_: return DType::kInt32;
    case Api::NPY_UINT_: return DType::kUInt32;
    case Api::NPY_LONG_: return sizeof(long) == 8 ? DType::kInt64 : DType::kInt32;
    case Api::NPY_ULONG_: return sizeof(long) == 8 ? DType::kUInt64 : DType::kUInt32;
    case Api::NPY_LONGLONG_: return DType::kInt64;
    case Api::NPY_ULONGLONG_: return DType::kUInt64;
    default: break;
  }
  // Registered types (256 and up) are ml_dtypes': their scalar type's name is the dtype's name.
  if (proxy->type_num >= 256) {
    const char* scalar = reinterpret_cast<PyTypeObject*>(proxy->typeobj)->tp_name;
    const char* dot = std::strrchr(scalar, '.');
    const std::string_view short_name = dot == nullptr ? scalar : dot + 1;
    for (const DType dtype : {DType::kBFloat16, DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kFloat8E8M0})
      if (short_name == dtype_name(dtype)) return dtype;
  }
  throw py::type_error("[array] " + std::string(name) + ": NumPy dtype " +
                       py::cast<std::string>(py::str(py::handle(descr))) + " is not supported");
}

const dl::Exchange* exchange_of(PyTypeObject* type) {
  // Types are kept alive, so an address never means another type.
  static auto* known = new std::unordered_map<PyTypeObject*, const dl::Exchange*>();
  static PyTypeObject* last_type = nullptr;  // calls come with the same type again and again
  static const dl::Exchange* last = nullptr;
  if (type == last_type) return last;
  const auto found = known->find(type);
  if (found != known->end()) {
    last_type = type;
    return last = found->second;
  }
  const dl::Exchange* exchange = nullptr;
  const py::object capsule = py::getattr(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__", py::none());
  if (PyCapsule_IsValid(capsule.ptr(), dl::kExchangeCapsule) != 0) {
    exchange = static_cast<const dl::Exchange*>(PyCapsule_GetPointer(capsule.ptr(), dl::kExchangeCapsule));
    while (exchange != nullptr && exchange->version.major != dl::kMajor) exchange = exchange->previous;
    if (exchange != nullptr && exchange->borrow == nullptr) exchange = nullptr;
  }
  Py_INCREF(type);
  known->emplace(type, exchange);
  return exchange;
}

py::object new_numpy(DType dtype, const std::int64_t* shape, int ndim, void** data) {
  const py::detail::npy_api& api = py::detail::npy_api::get();
  const int number = numpy_number(dtype);
  PyObject* descr = number >= 0 ? api.PyArray_DescrFromType_(number) : ml_dtype(dtype);
  if (number < 0) Py_INCREF(descr);
  static_assert(sizeof(Py_intptr_t) == sizeof(std::int64_t), "64-bit systems only");
  PyObject* array = api.PyArray_NewFromDescr_(
      api.PyArray_Type_, descr, ndim, reinterpret_cast<const Py_intptr_t*>(shape), nullptr, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  *data = py::detail::array_proxy(array)->data;
  return py::reinterpret_steal<py::object>(array);
}

py::object new_exchange(const dl::Exchange& exchange, DType dtype, const std::int64_t* shape, int ndim, void** data,
                        dl::Device device) {
  dl::Tensor prototype{nullptr, device, ndim, dtype_to_dlpack(dtype), const_cast<std::int64_t*>(shape), nullptr,
                       0};
  dl::ManagedVersioned* managed = nullptr;
  std::string error;
  const auto set_error = [](void* context, const char*, const char* message) {
    *static_cast<std::string*>(context) = message;
  };
  if (exchange.allocate(&prototype, &managed, &error, set_error) != 0)
    throw std::runtime_error("[array] the output could not be allocated: " + error);
  *data = static_cast<char*>(managed->tensor.data) + managed->tensor.byte_offset;
  void* object = nullptr;
  if (exchange.from_managed(managed, &object) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
}

}  // namespace moekit::python
