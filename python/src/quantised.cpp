// SPDX-License-Identifier: Apache-2.0
#include "quantised.h"

#include <pybind11/stl.h>

#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

#include "array_types.h"
#include "arrays.h"
#include "bindings.h"
#include "formats/format.h"
#include "formats/read.h"
#include "gil.h"
#include "moekit/error.h"

namespace moekit::python {
namespace {

struct PackingName {
  std::string_view name;
  Packing packing;
};
constexpr PackingName kPackings[] = {{"bytes", Packing::kBytes},
                                     {"nibbles", Packing::kNibbles},
                                     {"words", Packing::kWordsAlongK},
                                     {"gptq", Packing::kGptq},
                                     {"awq", Packing::kAwq}};

[[noreturn]] void fail(const std::string& what) { throw py::value_error("[QuantTensor] " + what); }

Packing packing_of(const std::optional<std::string>& name, Code code) {
  if (!name)
    return code_bits(code) == 8 ? Packing::kBytes : code == Code::kE2M1 ? Packing::kNibbles : Packing::kWordsAlongK;
  std::string known;
  for (const PackingName& entry : kPackings) {
    if (entry.name == *name) return entry.packing;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  fail("packing is '" + *name + "', not one of " + known);
}

// In which dtype the format has its scales, by that of the array; exponents are published as bytes.
DType scale_dtype(const TensorRef& scales, const std::string& format) {
  switch (scales.dtype) {
    case DType::kUInt8: return DType::kFloat8E8M0;
    case DType::kFloat32:
    case DType::kBFloat16:
    case DType::kFloat16:
    case DType::kFloat8E8M0:
    case DType::kFloat8E4M3: return scales.dtype;
    default:
      throw CheckpointError(
          "[quantised] scales: dtype " + std::string(dtype_name(scales.dtype)) + " for " + format +
          ", expected float32, bfloat16, float16, float8_e4m3fn, float8_e8m0fnu or its bytes (uint8)");
  }
}

// What one dimension of the codes holds.
struct Extents {
  std::int64_t rows, cols;
};
Extents extents_of(const TensorRef& codes, Packing packing, Code code) {
  const std::int64_t a = codes.shape[codes.shape.size() - 2], b = codes.shape.back(), slots = 32 / code_bits(code);
  switch (packing) {
    case Packing::kNibbles: return {a, checked_mul(b, 2, "columns of codes")};
    case Packing::kWordsAlongK: return {a, checked_mul(b, slots, "columns of codes")};
    case Packing::kGptq: return {b, checked_mul(a, slots, "columns of codes")};
    case Packing::kAwq: return {checked_mul(b, slots, "rows of codes"), a};
    default: return {a, b};
  }
}

TensorRef optional_tensor(const py::object& object, const char* name) {
  return object.is_none() ? TensorRef{} : as_tensor(object, name);
}

QuantSelection make(const std::string& format_name, const py::object& codes, const py::object& scales,
                    const std::optional<std::string>& packing, const std::optional<std::vector<std::int64_t>>& shape,
                    const std::optional<std::int64_t>& group, const std::optional<std::int64_t>& scale_rows,
                    const py::object& zeros, const std::optional<std::int32_t>& zero, std::int32_t zero_add,
                    const py::object& row_scales, bool row_scales_divide, const py::object& column_groups) {
  const auto tensors = std::make_shared<QuantTensors>();
  QuantTensors& t = *tensors;
  t.format = weight_format(format_name);
  if (t.format.plain() || t.format.super != 0)
    fail("format is '" + format_name +
         "': " + (t.format.plain() ? "plain weights are given as they are" : "it is read from GGUF files only"));
  t.codes = as_tensor(codes, "codes");
  t.scales = as_tensor(scales, "scales");
  t.zeros = optional_tensor(zeros, "zeros");
  t.row_scales = optional_tensor(row_scales, "row_scales");
  t.column_groups = optional_tensor(column_groups, "column_groups");
  t.packing = packing_of(packing, t.format.code);
  t.zero_add = zero_add;
  t.format.scale = scale_dtype(t.scales, format_name);
  if (group) t.format.group = *group;
  if (scale_rows) t.format.scale_rows = *scale_rows;
  if (t.format.group < 0 || t.format.scale_rows < 1)
    fail("group is " + std::to_string(t.format.group) + " and scale_rows " + std::to_string(t.format.scale_rows) +
         ", expected at least 0 and 1");
  if (t.zeros) t.format.offset = Offset::kZeroPoint, t.format.zero = 0;
  if (zero) {
    if (t.zeros) fail("zero and zeros are both given");
    t.format.zero = *zero;
  }
  if (!t.row_scales)
    t.format.row_scale = RowScale::kNone;
  else
    t.format.row_scale = row_scales_divide ? RowScale::kDivides : RowScale::kMultiplies;
  std::vector<std::int64_t>& dims = t.codes.shape;
  if (t.packing == Packing::kNibbles && dims.size() == 4) {  // gpt-oss: [E, N, groups, 16]
    dims[2] = checked_mul(dims[2], dims[3], "bytes of a row of codes");
    dims.pop_back();
  }
  if (dims.size() != 2 && dims.size() != 3)
    throw CheckpointError("[quantised] codes: " + std::to_string(dims.size()) +
                          " dimensions, expected 2 (a matrix) or 3 (a stack of them)");
  t.count = dims.size() == 3 ? dims[0] : 1;
  const Extents seen = extents_of(t.codes, t.packing, t.format.code);
  t.rows = seen.rows, t.cols = seen.cols;
  if (shape) {
    const std::size_t n = shape->size();
    if (n != dims.size() || (n == 3 && shape->front() != t.count))
      fail("shape has " + std::to_string(n) + " dimensions" +
           (n == 3 ? " and " + std::to_string(shape->front()) + " matrices" : "") + ", the codes are " +
           std::to_string(t.count) + " matrices in " + std::to_string(dims.size()) + " dimensions");
    t.rows = (*shape)[n - 2], t.cols = (*shape)[n - 1];
  }
  validate(t);
  return {tensors, dims.size() == 3 ? -1 : 0, 0, t.rows, 1};
}

QuantSelection item(const QuantSelection& self, std::int64_t index) {
  if (self.index >= 0) throw py::type_error("[QuantTensor] one matrix has no items");
  if (index < 0 || index >= self.tensors->count)
    throw py::index_error("[QuantTensor] matrix " + std::to_string(index) + " of " +
                          std::to_string(self.tensors->count));
  QuantSelection one = self;
  one.index = index;
  return one;
}

QuantSelection rows(const QuantSelection& self, std::int64_t first, std::int64_t count, std::int64_t step) {
  std::int64_t span = 0;
  if (first < 0 || count < 1 || step < 1 || __builtin_mul_overflow(count - 1, step, &span) || first >= self.rows ||
      span > self.rows - 1 - first)
    fail(std::to_string(count) + " rows from " + std::to_string(first) + " on, " + std::to_string(step) +
         " apart, of " + std::to_string(self.rows));
  QuantSelection part = self;
  part.first = self.first + first * self.step;
  part.rows = count;
  part.step = checked_mul(self.step, step, "row step");
  return part;
}

py::tuple shape_of(const QuantSelection& self) {
  if (self.index >= 0) return py::make_tuple(self.rows, self.tensors->cols);
  return py::make_tuple(self.tensors->count, self.rows, self.tensors->cols);
}

py::object dequantise(const QuantSelection& self) {
  const std::int64_t dims[3] = {self.count(), self.rows, self.tensors->cols};
  void* data = nullptr;
  py::object out =
      self.index >= 0 ? new_numpy(DType::kFloat32, dims + 1, 2, &data) : new_numpy(DType::kFloat32, dims, 3, &data);
  const ReleaseGil released;
  ReadScratch scratch;
  const std::int64_t elements = dims[1] * dims[2];
  for (std::int64_t e = 0; e < dims[0]; ++e) {
    const MatrixView view = read_plain(self.matrix(e), scratch);
    __builtin_memcpy(static_cast<float*>(data) + e * elements, view.data, static_cast<std::size_t>(elements) * 4);
  }
  return out;
}

}  // namespace

MatrixRef QuantSelection::matrix(std::int64_t i) const {
  return row_slice(quantised_matrix(tensors, index >= 0 ? index + i : i), first, rows, step);
}

QuantSelection QuantSelection::named(const std::string& name) const {
  const auto copy = std::make_shared<QuantTensors>(*tensors);
  for (TensorRef* each : {&copy->codes, &copy->scales, &copy->zeros, &copy->row_scales, &copy->column_groups})
    each->name = name + "." + each->name;
  QuantSelection out = *this;
  out.tensors = copy;
  return out;
}

void bind_quantised(py::module_& module) {
  py::class_<QuantSelection>(module, "QuantSelection")
      .def(py::init(&make))
      .def("item", &item)
      .def("rows", &rows)
      .def("dequantise", &dequantise)
      .def_property_readonly("shape", &shape_of)
      .def_property_readonly("format",
                             [](const QuantSelection& self) { return std::string(self.tensors->format.name); })
      .def("describe", [](const QuantSelection& self) { return describe(self.tensors->format); });
}

}  // namespace moekit::python
