# espalier_module(name [TORCH])
#
# Adds src/<name>/*.cpp as the OBJECT library espalier_<name> and to the list of modules that the command and the tests
# link. OBJECT and not STATIC, because files that only register a component would be dropped from an archive.
# TORCH: the module's files include LibTorch; they share one precompiled header.
set_property(GLOBAL PROPERTY ESPALIER_MODULES "")

function(espalier_module name)
  cmake_parse_arguments(ARG "TORCH" "" "" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${name}/*.cpp")
  if(NOT sources)
    return()
  endif()
  set(target espalier_${name})
  add_library(${target} OBJECT ${sources})
  target_link_libraries(${target} PUBLIC espalier_options espalier_libraries)
  espalier_precompile(${target} "${ARG_TORCH}")
  set_property(GLOBAL APPEND PROPERTY ESPALIER_MODULES ${target})
endfunction()

# One precompiled header for every target that includes LibTorch, compiled once.
function(espalier_precompile target torch)
  if(NOT ESPALIER_PCH OR NOT torch)
    return()
  endif()
  if(NOT TARGET espalier_pch)
    file(WRITE "${PROJECT_BINARY_DIR}/pch.cpp.in" "// Carries the precompiled header.\n")
    configure_file("${PROJECT_BINARY_DIR}/pch.cpp.in" "${PROJECT_BINARY_DIR}/pch.cpp" COPYONLY)
    add_library(espalier_pch OBJECT "${PROJECT_BINARY_DIR}/pch.cpp")
    target_link_libraries(espalier_pch PUBLIC espalier_options espalier_libraries)
    target_precompile_headers(espalier_pch PRIVATE <ATen/ATen.h> <algorithm> <cmath> <functional> <map> <memory> <string> <vector>)
  endif()
  target_precompile_headers(${target} REUSE_FROM espalier_pch)
endfunction()
