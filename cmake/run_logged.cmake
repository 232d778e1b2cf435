# SPDX-License-Identifier: Apache-2.0
# cmake -D LOG=file [-D REFUSED=regex] -P run_logged.cmake -- command...: runs a command with its output in a file. It is
# shown when the command fails, or when it holds what is refused.
set(command "")
set(seen OFF)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(seen)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(seen ON)
  endif()
endforeach()
execute_process(COMMAND ${command} OUTPUT_VARIABLE text ERROR_VARIABLE text RESULT_VARIABLE status)
file(WRITE "${LOG}" "${text}")
if(NOT status EQUAL 0 OR (REFUSED AND text MATCHES "${REFUSED}"))
  list(JOIN command " " command)
  message(FATAL_ERROR "${command}\n${text}")
endif()
