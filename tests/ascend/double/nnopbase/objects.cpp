// SPDX-License-Identifier: Apache-2.0
// aclCreate* and aclDestroy*.
#include "../core/entry.h"
#include "../core/number.h"
#include "../core/tensor.h"

namespace ascend_double {
namespace {

constexpr uint64_t kMaxDims = 25;  // of a shape in CANN

void* create_tensor(const int64_t* dims, uint64_t rank, int dtype, const int64_t* strides, int64_t offset, int format,
                    const int64_t* storage_dims, uint64_t storage_rank, void* address) {
  require(dims != nullptr || rank == 0, code::kNullptr, "viewDims is NULL");
  require(storage_dims != nullptr || storage_rank == 0, code::kNullptr, "storageDims is NULL");
  require(rank <= kMaxDims && storage_rank <= kMaxDims, code::kParamInvalid, "more than ", kMaxDims, " dimensions");
  auto tensor = std::make_shared<Tensor>();
  tensor->dtype = static_cast<DataType>(dtype);
  tensor->dims.assign(dims, dims + rank);
  tensor->storage_dims.assign(storage_dims, storage_dims + storage_rank);
  tensor->offset = offset;
  tensor->format = format;
  tensor->address = address;
  int64_t step = 1;
  tensor->strides.resize(rank);
  for (size_t i = rank; i-- > 0;) {
    require(dims[i] >= 0, code::kParamInvalid, "viewDims ", text_of(tensor->dims), " is negative somewhere");
    tensor->strides[i] = strides != nullptr ? strides[i] : step;
    require(tensor->strides[i] >= 0, code::kParamInvalid, "stride ", tensor->strides[i], " is negative");
    require(step == 0 || dims[i] <= INT64_MAX / 16 / step, code::kParamInvalid, "viewDims ", text_of(tensor->dims),
            " is too large");
    step *= dims[i];
  }
  require(offset >= 0, code::kParamInvalid, "offset ", offset, " is negative");
  int64_t storage = 1;
  for (const int64_t dim : tensor->storage_dims) storage *= dim;
  if (tensor->extent() > storage) {
    violate("view outside storage", code::kParamInvalid, "the view needs ", tensor->extent(), " elements, storageDims ",
            text_of(tensor->storage_dims), " has ", storage);
  }
  return tensors().add(tensor);
}

int destroy_tensor(const void* handle) {
  if (handle == nullptr) return code::kSuccess;
  tensors().remove(handle, code::kNullptr, code::kParamInvalid);
  return code::kSuccess;
}

void* create_tensor_list(const void* const* handles, uint64_t count) {
  require(handles != nullptr || count == 0, code::kNullptr, "value is NULL");
  auto list = std::make_shared<TensorList>();
  for (uint64_t i = 0; i < count; ++i) {
    tensors().get(handles[i], code::kNullptr, code::kParamInvalid);
    list->handles.push_back(handles[i]);
  }
  return tensor_lists().add(list);
}

int destroy_tensor_list(const void* handle) {  // with its members
  if (handle == nullptr) return code::kSuccess;
  const auto list = tensor_lists().remove(handle, code::kNullptr, code::kParamInvalid);
  for (const void* member : list->handles) tensors().remove(member, code::kNullptr, code::kParamInvalid);
  return code::kSuccess;
}

void* create_int_array(const int64_t* values, uint64_t count) {
  require(values != nullptr || count == 0, code::kNullptr, "value is NULL");
  auto array = std::make_shared<IntArray>();
  array->values.assign(values, values + count);
  return int_arrays().add(array);
}

int destroy_int_array(const void* handle) {
  if (handle == nullptr) return code::kSuccess;
  int_arrays().remove(handle, code::kNullptr, code::kParamInvalid);
  return code::kSuccess;
}

void* create_scalar(void* value, int dtype) {
  require(value != nullptr, code::kNullptr, "value is NULL");
  auto scalar = std::make_shared<Scalar>();
  scalar->dtype = static_cast<DataType>(dtype);
  require(element_bits(scalar->dtype) >= 8, code::kParamInvalid, "dtype ", dtype, " is not supported");
  scalar->value = load_number(scalar->dtype, static_cast<const std::byte*>(value), 0);
  return scalars().add(scalar);
}

int destroy_scalar(const void* handle) {
  if (handle == nullptr) return code::kSuccess;
  scalars().remove(handle, code::kNullptr, code::kParamInvalid);
  return code::kSuccess;
}

int nn_init(const char*) { return code::kSuccess; }
int nn_finalize() { return code::kSuccess; }

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(aclCreateTensor, create_tensor)
ASCEND_DOUBLE_EXPORT(aclDestroyTensor, destroy_tensor)
ASCEND_DOUBLE_EXPORT(aclCreateTensorList, create_tensor_list)
ASCEND_DOUBLE_EXPORT(aclDestroyTensorList, destroy_tensor_list)
ASCEND_DOUBLE_EXPORT(aclCreateIntArray, create_int_array)
ASCEND_DOUBLE_EXPORT(aclDestroyIntArray, destroy_int_array)
ASCEND_DOUBLE_EXPORT(aclCreateScalar, create_scalar)
ASCEND_DOUBLE_EXPORT(aclDestroyScalar, destroy_scalar)
ASCEND_DOUBLE_EXPORT(aclnnInit, nn_init)
ASCEND_DOUBLE_EXPORT(aclnnFinalize, nn_finalize)
