// Result files, as compare reads them: JSON first, then its fields.
#include "espalier/evaluate/results.h"

#include <nlohmann/json.hpp>

#include "espalier/core/json.h"
#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return espalier::fuzz::Try([&] {
    const espalier::Json json = espalier::ReadJson(espalier::fuzz::FileOf(data, size));
    espalier::ResultsToJson(espalier::ResultsFromJson(json, "results.json"));
  });
}
