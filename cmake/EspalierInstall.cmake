# cmake --install: the command, the library libespalier.so with its headers, and find_package(Espalier) for those who link
# it. Everything is found from where the package lies, so a tree that was installed may be moved; LibTorch is the one that
# it was built with unless ESPALIER_TORCH names another.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Shared: an archive would drop the files that only register a component.
add_library(espalier_library SHARED)
target_link_libraries(espalier_library PRIVATE ${modules})
set_target_properties(espalier_library PROPERTIES OUTPUT_NAME espalier VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION})

set(_package "${CMAKE_INSTALL_LIBDIR}/cmake/Espalier")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/EspalierConfig.cmake.in" "${PROJECT_BINARY_DIR}/EspalierConfig.cmake"
  INSTALL_DESTINATION "${_package}" PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/EspalierConfigVersion.cmake" COMPATIBILITY ExactVersion)
install(TARGETS espalier_library LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/espalier" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_BINARY_DIR}/EspalierConfig.cmake" "${PROJECT_BINARY_DIR}/EspalierConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/EspalierTorch.cmake" DESTINATION "${_package}")
