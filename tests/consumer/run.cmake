# Installs, moves what was installed, builds the consumer against it, and lets it judge. Variables: BUILD, SOURCE, WORK.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}: ${code}\n${out}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK}")
run(${CMAKE_COMMAND} --install "${BUILD}" --prefix "${WORK}/first" --strip)
file(RENAME "${WORK}/first" "${WORK}/moved")
run(${CMAKE_COMMAND} -G Ninja -S "${SOURCE}/tests/consumer" -B "${WORK}/build" -DCMAKE_BUILD_TYPE=Release
    "-DCMAKE_PREFIX_PATH=${WORK}/moved")
run(${CMAKE_COMMAND} --build "${WORK}/build")
set(baseline "${SOURCE}/eval/baselines/smollm2-135m")
file(COPY "${baseline}.json" "${baseline}.safetensors" DESTINATION "${WORK}/copy")
execute_process(COMMAND "${WORK}/build/judge" "${baseline}.json" "${WORK}/copy/smollm2-135m.json"
                RESULT_VARIABLE code OUTPUT_VARIABLE out)
# The same losses twice: nothing was compared, and the consumer hears so.
if(NOT code EQUAL 1 OR NOT out MATCHES "perplexity-c4 x1 inconclusive")
  message(FATAL_ERROR "judge: ${code}: ${out}")
endif()
run("${WORK}/moved/bin/espalier" version)
