# SPDX-License-Identifier: Apache-2.0
# Installs the build into a fresh prefix, moves the prefix, builds examples/cpp against it with find_package and runs
# the program: nothing of the build tree or of the first prefix may be needed.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    string(REPLACE ";" " " command "${ARGV}")
    message(FATAL_ERROR "${command}\nended with ${status}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${work})
run(${CMAKE_COMMAND} --install ${build} --config ${config} --prefix ${work}/first)
file(RENAME ${work}/first ${work}/prefix)

# The exported files must not carry paths of the machine that built them.
file(GLOB_RECURSE exported ${work}/prefix/*.cmake)
if(NOT exported)
  message(FATAL_ERROR "no CMake files were installed under ${work}/prefix")
endif()
foreach(file IN LISTS exported)
  file(READ ${file} text)
  foreach(path ${source} ${build})
    string(FIND "${text}" "${path}" position)
    if(NOT position EQUAL -1)
      message(FATAL_ERROR "${file} names ${path}")
    endif()
  endforeach()
endforeach()

file(COPY ${source}/examples/cpp DESTINATION ${work})
run(${CMAKE_COMMAND} -S ${work}/cpp -B ${work}/consumer -G ${generator} -D CMAKE_PREFIX_PATH=${work}/prefix
  -D CMAKE_CXX_COMPILER=${compiler} -D CMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${work}/consumer)
run(${work}/consumer/moekit_hello)
if(NOT output MATCHES "moekit ${version} on [a-z]+: .* bits agree")
  message(FATAL_ERROR "moekit_hello printed: ${output}")
endif()
message(STATUS "${output}")

run(${work}/consumer/moekit_load_layer ${source}/examples/models/qwen3_moe_bytes 1)
string(REGEX MATCHALL "expert [0-9]+ weight 0\\.[0-9]+" experts "${output}")
list(LENGTH experts count)
if(NOT count EQUAL 4)  # the model's top_k
  message(FATAL_ERROR "moekit_load_layer printed: ${output}")
endif()

# A version that is not there must be refused.
execute_process(COMMAND ${CMAKE_COMMAND} -S ${work}/cpp -B ${work}/newer -G ${generator} -D CMAKE_PREFIX_PATH=${work}/prefix
  -D CMAKE_CXX_COMPILER=${compiler} -D MOEKIT_ASKED_VERSION=99.0 RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
if(status EQUAL 0)
  message(FATAL_ERROR "find_package(moekit 99.0) was satisfied by ${version}")
endif()
