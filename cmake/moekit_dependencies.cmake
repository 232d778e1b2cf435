# SPDX-License-Identifier: Apache-2.0
# Eigen and nlohmann-json are required: the installed package first, a pinned download otherwise. oneDNN is optional.
include(FetchContent)
find_package(Threads REQUIRED)

# moekit_fetch(name url sha256): downloads and unpacks a pinned archive; its folder is in moekit_<name>_dir afterwards.
function(moekit_fetch name url sha256)
  message(STATUS "moekit: ${name} not found, fetching ${url}")
  FetchContent_Declare(${name} URL ${url} URL_HASH SHA256=${sha256} DOWNLOAD_EXTRACT_TIMESTAMP TRUE SOURCE_SUBDIR none)
  FetchContent_MakeAvailable(${name})
  FetchContent_GetProperties(${name} SOURCE_DIR source)
  set(moekit_${name}_dir ${source} PARENT_SCOPE)
endfunction()

find_package(Eigen3 3.4 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
  moekit_fetch(eigen https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
               8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72)
  add_library(moekit_eigen INTERFACE)
  target_include_directories(moekit_eigen SYSTEM INTERFACE ${moekit_eigen_dir})
  add_library(Eigen3::Eigen ALIAS moekit_eigen)
endif()

find_package(nlohmann_json 3.10 QUIET)
if(NOT TARGET nlohmann_json::nlohmann_json)
  moekit_fetch(nlohmann_json https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
               d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
  add_library(moekit_nlohmann_json INTERFACE)
  target_include_directories(moekit_nlohmann_json SYSTEM INTERFACE ${moekit_nlohmann_json_dir}/include)
  add_library(nlohmann_json::nlohmann_json ALIAS moekit_nlohmann_json)
endif()

# Header and library by themselves: the package file of Debian's oneDNN fails where OpenCL's headers are missing, which
# nothing here needs.
set(MOEKIT_ONEDNN_FOUND OFF)
if(MOEKIT_WITH_ONEDNN)
  find_path(MOEKIT_DNNL_INCLUDE_DIR oneapi/dnnl/dnnl_version.h)
  find_library(MOEKIT_DNNL_LIBRARY dnnl)
  if(MOEKIT_DNNL_INCLUDE_DIR AND MOEKIT_DNNL_LIBRARY)
    set(MOEKIT_ONEDNN_FOUND ON)
    # dnnl_VERSION: as the package file names it
    file(STRINGS ${MOEKIT_DNNL_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h lines REGEX "DNNL_VERSION_(MAJOR|MINOR|PATCH) +[0-9]")
    string(REGEX MATCHALL "[0-9]+" dnnl_VERSION "${lines}")
    list(JOIN dnnl_VERSION "." dnnl_VERSION)
    add_library(moekit_dnnl INTERFACE)
    target_include_directories(moekit_dnnl SYSTEM INTERFACE ${MOEKIT_DNNL_INCLUDE_DIR})
    target_link_libraries(moekit_dnnl INTERFACE ${MOEKIT_DNNL_LIBRARY})
    add_library(DNNL::dnnl ALIAS moekit_dnnl)
  endif()
endif()
