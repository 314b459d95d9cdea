# Gloo's headers, for more than one process on one run (src/comm/gloo.cpp). Only the headers: the library is inside
# libtorch_cpu. Without them the build knows one process only.
find_path(ESPALIER_GLOO_INCLUDE gloo/transport/device.h DOC "Folder with Gloo's headers (Debian: libgloo-dev)")
mark_as_advanced(ESPALIER_GLOO_INCLUDE)
if(ESPALIER_GLOO_INCLUDE)
  set_source_files_properties("${PROJECT_SOURCE_DIR}/src/comm/gloo.cpp" PROPERTIES
    COMPILE_DEFINITIONS ESPALIER_GLOO COMPILE_OPTIONS "-idirafter;${ESPALIER_GLOO_INCLUDE}" SKIP_PRECOMPILE_HEADERS ON)
else()
  message(STATUS "No headers of Gloo (Debian: libgloo-dev): one process only")
endif()
