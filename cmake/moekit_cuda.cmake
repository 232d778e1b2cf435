# SPDX-License-Identifier: Apache-2.0
# Kernels for NVIDIA devices: nvcc is found and called by custom commands, so that the one of a Python wheel will do as
# well as an installed toolkit's. Nothing here links against CUDA: the product opens the driver at run time.
set(MOEKIT_WITH_CUDA AUTO CACHE STRING "CUDA backend: AUTO (where nvcc is found), ON (nvcc is required) or OFF")
set_property(CACHE MOEKIT_WITH_CUDA PROPERTY STRINGS AUTO ON OFF)
set(MOEKIT_CUDA_ARCHITECTURES 80 86 89 90 100 120 CACHE STRING "Compute capabilities that the kernels are compiled for")

# 12.8 is the first release that knows compute capabilities 10.0 and 12.0.
set(MOEKIT_NVCC_MINIMUM 12.8)

# moekit_nvcc_refuses(nvcc reason): empty, or why this nvcc will not do. A wheel's nvcc may lack its compiler proper or
# its headers, which come in wheels of their own, so that only compiling tells.
function(moekit_nvcc_refuses nvcc reason)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE text ERROR_QUIET RESULT_VARIABLE status)
  if(NOT status EQUAL 0 OR NOT text MATCHES "release ([0-9]+\\.[0-9]+)")
    set(${reason} "--version fails" PARENT_SCOPE)
    return()
  endif()
  set(MOEKIT_CUDA_VERSION ${CMAKE_MATCH_1} PARENT_SCOPE)
  if(CMAKE_MATCH_1 VERSION_LESS MOEKIT_NVCC_MINIMUM)
    set(${reason} "release ${CMAKE_MATCH_1}, at least ${MOEKIT_NVCC_MINIMUM} is needed" PARENT_SCOPE)
    return()
  endif()
  set(folder ${PROJECT_BINARY_DIR}/CMakeFiles/moekit_nvcc)
  file(WRITE ${folder}/probe.cu "#include <cuda_bf16.h>\n__global__ void probe(__nv_bfloat16* x) { *x = 1.0f; }\n")
  list(GET MOEKIT_CUDA_ARCHITECTURES 0 first)
  execute_process(COMMAND ${nvcc} -std=c++17 -cubin -arch=sm_${first} -o ${folder}/probe.cubin ${folder}/probe.cu
    OUTPUT_VARIABLE text ERROR_VARIABLE text RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    string(REGEX REPLACE "\n.*" "" text "${text}")
    set(${reason} "does not compile: ${text}" PARENT_SCOPE)
    return()
  endif()
  # What stands in PATH may be a link or a script: nvcc itself says where it lives.
  execute_process(COMMAND ${nvcc} --dryrun -cubin -o ${folder}/probe.cubin ${folder}/probe.cu
    OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT text MATCHES "#\\$ _HERE_=([^\n]+)")
    set(${reason} "--dryrun does not tell its folder" PARENT_SCOPE)
    return()
  endif()
  set(MOEKIT_CUDA_BIN_DIR ${CMAKE_MATCH_1} PARENT_SCOPE)
  set(${reason} "" PARENT_SCOPE)
endfunction()

# moekit_find_nvcc(): sets MOEKIT_CUDA_FOUND and, where it is true, MOEKIT_NVCC, MOEKIT_CUDA_VERSION,
# MOEKIT_CUDA_BIN_DIR and MOEKIT_CUDA_INCLUDE_DIR (the toolkit's programs and headers). Looks at MOEKIT_NVCC, CUDA_HOME and CUDA_PATH, PATH, the usual folder
# and the wheels that scripts/setup.sh may have installed (need_nvcc).
function(moekit_find_nvcc)
  set(MOEKIT_CUDA_FOUND OFF PARENT_SCOPE)
  if(MOEKIT_WITH_CUDA STREQUAL "OFF" OR (MOEKIT_WITH_CUDA STREQUAL "AUTO" AND CMAKE_CROSSCOMPILING))
    return()
  endif()
  file(GLOB wheels ${PROJECT_SOURCE_DIR}/.venv/nvcc/nvidia/cu*/bin)
  find_program(MOEKIT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda/bin ${wheels} PATH_SUFFIXES bin
    DOC "The CUDA compiler")
  if(MOEKIT_NVCC)
    moekit_nvcc_refuses(${MOEKIT_NVCC} reason)
    set(reason "${MOEKIT_NVCC}: ${reason}")
  else()
    set(reason "nvcc not found")
  endif()
  if(reason MATCHES ": $")
    set(MOEKIT_CUDA_FOUND ON PARENT_SCOPE)
    set(MOEKIT_CUDA_VERSION ${MOEKIT_CUDA_VERSION} PARENT_SCOPE)
    set(MOEKIT_CUDA_BIN_DIR ${MOEKIT_CUDA_BIN_DIR} PARENT_SCOPE)
    cmake_path(SET include NORMALIZE ${MOEKIT_CUDA_BIN_DIR}/../include)
    set(MOEKIT_CUDA_INCLUDE_DIR ${include} PARENT_SCOPE)
  elseif(MOEKIT_WITH_CUDA STREQUAL "AUTO")
    message(STATUS "moekit: no CUDA backend: ${reason}")
  else()
    message(FATAL_ERROR "moekit: MOEKIT_WITH_CUDA is ${MOEKIT_WITH_CUDA}, but ${reason}")
  endif()
endfunction()

# moekit_cuda_fatbin(target sources...): compiles each x.cu for all architectures, and to PTX of the lowest for devices
# to come, into one fat binary, embeds it in target and adds X(x) to moekit_cuda_fatbins.inc. In C++ the bytes are
#   extern "C" const unsigned char moekit_fatbin_x[], moekit_fatbin_x_end[];
# What ptxas reported (registers, spills, shared memory) is beside it in x.ptxas; the folder with both is the target's
# property MOEKIT_CUDA_FATBIN_DIR. Not compressed: a cubin is read in place, and the tests look into it. (-Werror
# reaches ptxas too; as one of its own options it would be written into the PTX, for the driver's compiler to obey.)
function(moekit_cuda_fatbin target)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/fatbin)
  set_target_properties(${target} PROPERTIES MOEKIT_CUDA_FATBIN_DIR ${folder})
  set(flags -std=c++17 -O3 -I${PROJECT_SOURCE_DIR}/src -I${PROJECT_SOURCE_DIR}/include --compress-mode=none
    -Xptxas=-v,--warn-on-spills,--warn-on-local-memory-usage,--warn-on-double-precision-use)
  if(MOEKIT_WERROR)
    list(APPEND flags -Werror=all-warnings)
  endif()
  foreach(arch IN LISTS MOEKIT_CUDA_ARCHITECTURES)
    list(APPEND flags -gencode=arch=compute_${arch},code=sm_${arch})
  endforeach()
  list(GET MOEKIT_CUDA_ARCHITECTURES 0 lowest)
  list(APPEND flags -gencode=arch=compute_${lowest},code=compute_${lowest})
  foreach(source IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH source)
    cmake_path(GET source STEM name)
    set(image ${folder}/${name}.fatbin)
    add_custom_command(OUTPUT ${image} BYPRODUCTS ${folder}/${name}.ptxas
      COMMAND ${CMAKE_COMMAND} -D LOG=${folder}/${name}.ptxas -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/run_logged.cmake --
              ${MOEKIT_NVCC} ${flags} -fatbin -MD -MF ${image}.d -MT ${image} -o ${image} ${source}
      DEPENDS ${source} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/run_logged.cmake DEPFILE ${image}.d
      COMMENT "nvcc ${name}.cu" VERBATIM)
    file(CONFIGURE OUTPUT ${folder}/${name}_fatbin.cpp CONTENT [[
// Generated by CMake: the fat binary of @name@.cu as data. 64: the alignment that the driver's loader expects.
__asm__(".section .rodata.moekit_fatbin_@name@, \"a\"\n"
        ".balign 64\n.globl moekit_fatbin_@name@\nmoekit_fatbin_@name@:\n.incbin \"@image@\"\n"
        ".globl moekit_fatbin_@name@_end\nmoekit_fatbin_@name@_end:\n.byte 0\n.text\n");
]] @ONLY)
    set_source_files_properties(${folder}/${name}_fatbin.cpp TARGET_DIRECTORY ${target} PROPERTIES OBJECT_DEPENDS ${image})
    target_sources(${target} PRIVATE ${folder}/${name}_fatbin.cpp)
    set_property(GLOBAL APPEND PROPERTY MOEKIT_CUDA_FATBINS_${target} ${name})
    list(APPEND images ${image})
  endforeach()
  # The target may belong to another folder, which does not see this one's commands.
  add_custom_target(${target}_fatbins DEPENDS ${images})
  add_dependencies(${target} ${target}_fatbins)
  moekit_generate_list(${CMAKE_CURRENT_BINARY_DIR}/moekit_cuda_fatbins.inc MOEKIT_CUDA_FATBINS_${target})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
