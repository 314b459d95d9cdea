# cmake --install: the command with its manual page and completions, the library libespalier.so with its headers, and find_package(Espalier) for those who link
# it. Everything is found from where the package lies, so a tree that was installed may be moved; LibTorch is the one that
# it was built with unless ESPALIER_TORCH names another.
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
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/NOTICE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# The licences of what is compiled in or linked, as the packages of this machine state them.
foreach(_licensed IN ITEMS libspdlog-dev libfmt-dev libtbb-dev libboost1.74-dev libboost-program-options1.74-dev libyaml-cpp-dev
    nlohmann-json3-dev libpcre2-dev libicu-dev libpugixml-dev libssl-dev libgloo-dev)
  if(EXISTS "/usr/share/doc/${_licensed}/copyright")
    install(FILES "/usr/share/doc/${_licensed}/copyright" DESTINATION "${CMAKE_INSTALL_DOCDIR}/third-party" RENAME "${_licensed}")
  endif()
endforeach()

# What the command says of itself.
set(_made "${PROJECT_BINARY_DIR}/made")
foreach(_target IN ITEMS "manual|espalier.1" "completion bash|espalier.bash" "completion zsh|_espalier")
  string(REPLACE "|" ";" _target "${_target}")
  list(GET _target 0 _arguments)
  list(GET _target 1 _file)
  separate_arguments(_arguments)
  add_custom_command(OUTPUT "${_made}/${_file}"
    COMMAND ${CMAKE_COMMAND} -E make_directory "${_made}"
    COMMAND espalier ${_arguments} > "${_made}/${_file}" DEPENDS espalier VERBATIM)
  list(APPEND _made_files "${_made}/${_file}")
endforeach()
add_custom_target(espalier_made ALL DEPENDS ${_made_files})
install(FILES "${_made}/espalier.1" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES "${_made}/espalier.bash" DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME espalier)
install(FILES "${_made}/_espalier" DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions")

if(ESPALIER_BUNDLE_TORCH)
  file(GLOB _torch_libraries "${ESPALIER_TORCH_ROOT}/lib/libtorch_cpu.so*" "${ESPALIER_TORCH_ROOT}/lib/libc10.so*"
    "${ESPALIER_TORCH_ROOT}/lib/libgomp*.so*" "${ESPALIER_TORCH_ROOT}/lib/libshm.so*")
  install(PROGRAMS ${_torch_libraries} DESTINATION "${CMAKE_INSTALL_LIBDIR}/espalier")
  # The wheel keeps its own licence and those of what it contains in a folder.
  file(GLOB _torch_notices "${ESPALIER_TORCH_ROOT}/../torch-*.dist-info/licenses")
  install(DIRECTORY ${_torch_notices} DESTINATION "${CMAKE_INSTALL_DOCDIR}/third-party/torch")
endif()

# cpack -G TGZ or -G DEB, in the build folder.
set(CPACK_PACKAGE_NAME espalier)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_CONTACT "The Espalier developers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Structured pruning of transformer language models")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_COMPRESSION_TYPE gzip)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${ESPALIER_TORCH_ROOT}/lib" "${PROJECT_BINARY_DIR}")
include(CPack)
