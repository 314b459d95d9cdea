// safetensors files: the header is read, then every tensor whose claim is small.
#include "espalier/io/safetensors.h"

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return espalier::fuzz::Try([&] {
    const espalier::SafetensorsFile file(espalier::fuzz::FileOf(data, size));
    std::vector<std::byte> bytes;
    for (const espalier::StoredTensor& tensor : file.tensors()) {
      bytes.resize(tensor.bytes);  // no more than the file has
      file.Read(tensor, bytes);
    }
  });
}
