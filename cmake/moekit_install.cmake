# SPDX-License-Identifier: Apache-2.0
# What a consumer needs: the library, its public headers and find_package(moekit) -> moekit::moekit.
# A Python wheel carries its own package only: there (SKBUILD) nothing of this is installed.
if(SKBUILD)
  return()
endif()
include(CMakePackageConfigHelpers)
set(moekit_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/moekit)

install(TARGETS moekit EXPORT moekit_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/moekit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT moekit_targets NAMESPACE moekit:: DESTINATION ${moekit_cmake_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/moekit-config.cmake.in
  ${PROJECT_BINARY_DIR}/moekit-config.cmake INSTALL_DESTINATION ${moekit_cmake_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/moekit-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moekit-config.cmake ${PROJECT_BINARY_DIR}/moekit-config-version.cmake
  DESTINATION ${moekit_cmake_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/moekit)
