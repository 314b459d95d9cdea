// Predictions of a base model ("_logits_"): sizes, tokens, and the rows that they promise.
#include "espalier/io/base_logits.h"

#include <algorithm>

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return espalier::fuzz::Try([&] {
    const espalier::BaseLogitsFile file(espalier::fuzz::FileOf(data, size));
    std::vector<float> row(static_cast<size_t>(file.shape().vocabulary));
    for (int64_t chunk = 0; chunk < std::min<int64_t>(file.shape().chunks, 4); ++chunk)
      for (int64_t r = 0; r < std::min<int64_t>(file.shape().RowsOfChunk(), 4); ++r) file.Read(chunk, r, row);
  });
}
