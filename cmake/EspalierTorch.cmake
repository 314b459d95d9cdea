# The LibTorch to build against, as the imported target espalier::torch.
#
# Looked for, in this order:
#   ESPALIER_TORCH  (cache or environment)  a folder with include/ and lib/, as in the wheel's site-packages/torch or an unpacked LibTorch
#   Torch_DIR       (cache or environment)  <that folder>/share/cmake/Torch
#   .venv           what scripts/setup installed
#   VIRTUAL_ENV     the active virtual environment, when its torch is 2.11 to 2.15
#
# find_package(Torch) is not used: it warns, adds paths of the machine that built the wheel, and fails on a CUDA wheel
# where there is no CUDA toolkit. The include folders go behind all others (-idirafter) because the wheel ships its own fmt.

function(_espalier_torch_root out)
  set(candidates "")
  foreach(value IN ITEMS "${ESPALIER_TORCH}" "$ENV{ESPALIER_TORCH}")
    if(value)
      list(APPEND candidates "${value}")
    endif()
  endforeach()
  foreach(value IN ITEMS "${Torch_DIR}" "$ENV{Torch_DIR}")
    if(value)
      get_filename_component(root "${value}/../../.." ABSOLUTE)
      list(APPEND candidates "${root}")
    endif()
  endforeach()
  file(GLOB in_venv "${PROJECT_SOURCE_DIR}/.venv/lib/python3.*/site-packages/torch" "$ENV{VIRTUAL_ENV}/lib/python3.*/site-packages/torch")
  list(APPEND candidates ${in_venv})
  foreach(root IN LISTS candidates)
    if(EXISTS "${root}/include/ATen/ATen.h" AND EXISTS "${root}/lib/libtorch_cpu.so")
      set(${out} "${root}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "No LibTorch found. Run scripts/setup, or name one: -DESPALIER_TORCH=/path/to/torch (the folder with include/ and lib/). Looked in: ${candidates}")
endfunction()

_espalier_torch_root(ESPALIER_TORCH_ROOT)
set(_version_header "${ESPALIER_TORCH_ROOT}/include/torch/headeronly/version.h")
if(NOT EXISTS "${_version_header}")
  message(FATAL_ERROR "${ESPALIER_TORCH_ROOT}: no include/torch/headeronly/version.h; LibTorch 2.11 to 2.15 is supported.")
endif()
set(ESPALIER_TORCH_VERSION "")
foreach(part IN ITEMS MAJOR MINOR PATCH)
  file(STRINGS "${_version_header}" _line REGEX "define TORCH_VERSION_${part} ")
  string(REGEX MATCH "[0-9]+$" _number "${_line}")
  list(APPEND ESPALIER_TORCH_VERSION "${_number}")
endforeach()
list(JOIN ESPALIER_TORCH_VERSION "." ESPALIER_TORCH_VERSION)
if(ESPALIER_TORCH_VERSION VERSION_LESS 2.11 OR ESPALIER_TORCH_VERSION VERSION_GREATER_EQUAL 2.16)
  message(FATAL_ERROR "${ESPALIER_TORCH_ROOT} is LibTorch ${ESPALIER_TORCH_VERSION}; 2.11 to 2.15 is supported.")
endif()
message(STATUS "LibTorch ${ESPALIER_TORCH_VERSION} in ${ESPALIER_TORCH_ROOT}")

foreach(library IN ITEMS c10 torch_cpu)
  add_library(espalier::${library} SHARED IMPORTED GLOBAL)
  set_target_properties(espalier::${library} PROPERTIES IMPORTED_LOCATION "${ESPALIER_TORCH_ROOT}/lib/lib${library}.so")
endforeach()
add_library(espalier_torch INTERFACE)
add_library(espalier::torch ALIAS espalier_torch)
target_compile_options(espalier_torch INTERFACE
  "SHELL:-idirafter \"${ESPALIER_TORCH_ROOT}/include\""
  "SHELL:-idirafter \"${ESPALIER_TORCH_ROOT}/include/torch/csrc/api/include\"")
target_link_libraries(espalier_torch INTERFACE espalier::torch_cpu espalier::c10)
if(EXISTS "${ESPALIER_TORCH_ROOT}/lib/libtorch_cuda.so")
  # Nothing here calls CUDA by name, so the linker would drop the libraries that register it.
  target_link_options(espalier_torch INTERFACE
    -Wl,--no-as-needed "${ESPALIER_TORCH_ROOT}/lib/libtorch_cuda.so" "${ESPALIER_TORCH_ROOT}/lib/libc10_cuda.so"
    -Wl,--as-needed -Wl,--allow-shlib-undefined)
endif()
