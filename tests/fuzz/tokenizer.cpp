// tokenizer.json: what is accepted also encodes and decodes.
#include "espalier/io/tokenizer.h"

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return espalier::fuzz::Try([&] {
    const auto tokenizer = espalier::Tokenizer::FromJson(espalier::fuzz::FileOf(data, size));
    tokenizer->Decode(tokenizer->Encode("The quick\xC3\xA9 12  <s>\n"));
    tokenizer->Fingerprint();
  });
}
