// SPDX-License-Identifier: Apache-2.0
// Arguments of one operator call: our values turned into CANN's handles, and those handles destroyed afterwards.
#pragma once

#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "backends/ascend/api.h"
#include "backends/ascend/tensor.h"

namespace moekit::ascend {

struct Scalar {
  double value;
  AclDType dtype = kAclFloat;  // or kAclInt32
};

struct Ints {
  std::initializer_list<std::int64_t> values;
};

/// A handle over foreign memory, kept so that a repeated call can be given another address.
struct ForeignArgument {
  Foreign foreign = Foreign::kNo;
  AclTensor* tensor = nullptr;
  AclTensorList* list = nullptr;  // the list of one that holds it
  std::size_t position = 0;       // among the operator's parameters
};

class Arguments {
 public:
  Arguments() = default;
  Arguments(Arguments&& other) noexcept { *this = std::move(other); }
  Arguments& operator=(Arguments&& other) noexcept {
    tensors_.swap(other.tensors_);
    lists_.swap(other.lists_);
    ints_.swap(other.ints_);
    scalars_.swap(other.scalars_);
    foreign_.swap(other.foreign_);
    return *this;
  }
  ~Arguments();

  /// The value as the parameter type P; nullptr stays null. `position`: which parameter.
  template <class P, class A>
  P convert(const A& value, std::size_t position) {
    if constexpr (std::is_same_v<A, std::nullptr_t>) {
      return static_cast<P>(nullptr);
    } else if constexpr (std::is_same_v<P, In> || std::is_same_v<P, Out>) {
      return value ? tensor(value, position, true) : nullptr;
    } else if constexpr (std::is_same_v<P, List> || std::is_same_v<P, OutList>) {
      return value ? list(value, position) : nullptr;
    } else if constexpr (std::is_same_v<P, const AclScalar*>) {
      return scalar(value);
    } else if constexpr (std::is_same_v<P, const AclIntArray*>) {
      return ints(value);
    } else {
      return static_cast<P>(value);
    }
  }
  const std::vector<ForeignArgument>& foreign() const noexcept { return foreign_; }

 private:
  AclTensor* tensor(const Tensor& value, std::size_t position, bool own);
  AclTensorList* list(const Tensor& value, std::size_t position);
  const AclScalar* scalar(const Scalar& value);
  const AclIntArray* ints(const Ints& value);

  std::vector<const AclTensor*> tensors_;
  std::vector<const AclTensorList*> lists_;
  std::vector<const AclIntArray*> ints_;
  std::vector<const AclScalar*> scalars_;
  std::vector<ForeignArgument> foreign_;
};

}  // namespace moekit::ascend
