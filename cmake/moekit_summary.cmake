# SPDX-License-Identifier: Apache-2.0
get_property(isas GLOBAL PROPERTY MOEKIT_CPU_ISAS)
get_property(backends GLOBAL PROPERTY MOEKIT_BACKENDS)
message(STATUS "moekit ${PROJECT_VERSION}: backends: ${backends}; CPU kernels: ${isas}; build type: ${CMAKE_BUILD_TYPE}")
if(MOEKIT_ONEDNN_FOUND)
  message(STATUS "moekit: oneDNN ${dnnl_VERSION} found")
else()
  message(STATUS "moekit: oneDNN not used: the benchmarks lack its matmul as a peer; no layer is lost")
endif()
