// SPDX-License-Identifier: Apache-2.0
// Element types of NumPy, ml_dtypes and DLPack, and how each library makes arrays.
#pragma once

#include "arrays.h"

namespace moekit::python {

/// Throws TypeError naming `name` and the type.
DType dtype_from_dlpack(dl::Type type, const char* name);
dl::Type dtype_to_dlpack(DType dtype);
/// The element type of an ndarray; `swapped` tells foreign byte order. Throws TypeError.
DType dtype_from_numpy(py::handle array, const char* name, bool* swapped);

/// The exchange table of a type, or null; remembered per type.
const dl::Exchange* exchange_of(PyTypeObject* type);

/// New uninitialised arrays.
py::object new_numpy(DType dtype, const std::int64_t* shape, int ndim, void** data);
py::object new_exchange(const dl::Exchange& exchange, DType dtype, const std::int64_t* shape, int ndim, void** data,
                        dl::Device device = {dl::kCpu, 0});
/// Host memory that offers __dlpack__: for producers that are reached only through from_dlpack.
py::object new_host_array(DType dtype, const std::int64_t* shape, int ndim, void** data);

}  // namespace moekit::python
