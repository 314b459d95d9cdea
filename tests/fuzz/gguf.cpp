// GGUF files: metadata with every value's raw bytes, tensors, and the tokenizer that they may describe.
#include "espalier/io/gguf.h"

#include "espalier/io/tokenizer.h"
#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return espalier::fuzz::Try([&] {
    const espalier::GgufFile file(espalier::fuzz::FileOf(data, size));
    for (const auto& [key, value] : file.metadata()) file.RawValue(key);
    std::vector<std::byte> bytes;
    for (const espalier::GgufTensor& tensor : file.tensors()) {
      bytes.resize(tensor.bytes);
      file.Read(tensor, bytes);
    }
    const auto tokenizer = espalier::Tokenizer::FromGguf(file);
    tokenizer->Decode(tokenizer->Encode("a b\xC3\xA9 12"));
  });
}
