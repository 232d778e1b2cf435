// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/arguments.h"

#include "moekit/error.h"

namespace moekit::ascend {
namespace {

// Handles come out null when the library refuses them.
template <class T>
T* made(T* handle, const char* call) {
  if (handle == nullptr) throw DeviceError("[ascend] " + std::string(call) + " made nothing");
  return handle;
}

}  // namespace

Arguments::~Arguments() {
  const Runtime& rt = api().rt;
  for (const AclTensor* tensor : tensors_) rt.aclDestroyTensor(tensor);
  for (const AclTensorList* list : lists_) rt.aclDestroyTensorList(list);  // with its tensors
  for (const AclIntArray* array : ints_) rt.aclDestroyIntArray(array);
  for (const AclScalar* scalar : scalars_) rt.aclDestroyScalar(scalar);
}

AclTensor* Arguments::tensor(const Tensor& value, std::size_t position, bool own) {
  std::int64_t storage = 1;  // elements from the first to the last
  for (std::size_t i = 0; i < value.rank; ++i) storage += (value.dims[i] - 1) * value.strides[i];
  tensors_.reserve(tensors_.size() + 1);
  foreign_.reserve(foreign_.size() + 1);
  AclTensor* handle = made(api().rt.aclCreateTensor(value.dims.data(), value.rank, value.dtype, value.strides.data(), 0,
                                                    kAclFormatNd, &storage, 1, value.data),
                           "aclCreateTensor");
  if (own) tensors_.push_back(handle);
  if (value.foreign != Foreign::kNo) foreign_.push_back({value.foreign, handle, nullptr, position});
  return handle;
}

AclTensorList* Arguments::list(const Tensor& value, std::size_t position) {
  lists_.reserve(lists_.size() + 1);
  AclTensor* member = tensor(value, position, false);
  AclTensorList* handle = api().rt.aclCreateTensorList(&member, 1);
  if (handle == nullptr) api().rt.aclDestroyTensor(member);
  lists_.push_back(made(handle, "aclCreateTensorList"));
  if (value.foreign != Foreign::kNo) foreign_.back().list = handle;
  return handle;
}

const AclScalar* Arguments::scalar(const Scalar& value) {
  float real = static_cast<float>(value.value);
  auto integer = static_cast<std::int32_t>(value.value);
  void* data = value.dtype == kAclInt32 ? static_cast<void*>(&integer) : static_cast<void*>(&real);
  scalars_.reserve(scalars_.size() + 1);
  scalars_.push_back(made(api().rt.aclCreateScalar(data, value.dtype), "aclCreateScalar"));
  return scalars_.back();
}

const AclIntArray* Arguments::ints(const Ints& value) {
  ints_.reserve(ints_.size() + 1);
  ints_.push_back(made(api().rt.aclCreateIntArray(value.values.begin(), value.values.size()), "aclCreateIntArray"));
  return ints_.back();
}

}  // namespace moekit::ascend
