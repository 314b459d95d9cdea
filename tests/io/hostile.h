#pragma once
// Byte strings of files that tests get wrong on purpose, and what opening them says.
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/files.h"
#include "support/support.h"

namespace espalier::hostile {

template <class T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// A safetensors file of this header, as it is, and this data.
inline std::string Safetensors(std::string_view header, std::string_view data) {
  return Raw(uint64_t{header.size()}) + std::string(header) + std::string(data);
}

// ggml/include/gguf.h, enum gguf_type.
enum GgufType : int32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

inline std::string Text(std::string_view text) {
  return Raw(uint64_t{text.size()}) + std::string(text);
}
inline std::string Pair(std::string_view key, int32_t type, std::string_view value) {
  return Text(key) + Raw(type) + std::string(value);
}
inline std::string Array(int32_t type, uint64_t count, std::string_view elements) {
  return Raw(type) + Raw(count) + std::string(elements);
}
// `ne` is innermost first, as in the file.
inline std::string Tensor(std::string_view name, const std::vector<int64_t>& ne, int32_t type, uint64_t offset) {
  std::string bytes = Text(name) + Raw(static_cast<uint32_t>(ne.size()));
  for (const int64_t size : ne) bytes += Raw(size);
  return bytes + Raw(type) + Raw(offset);
}

// A GGUF file; what is not set is what the rest calls for.
struct Gguf {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<int64_t> tensor_count, pair_count;
  std::vector<std::string> pairs, tensors;
  size_t alignment = 32;
  std::string data;

  std::string Bytes() const {
    std::string bytes = magic + Raw(version) + Raw(tensor_count.value_or(static_cast<int64_t>(tensors.size()))) +
                        Raw(pair_count.value_or(static_cast<int64_t>(pairs.size())));
    for (const std::string& pair : pairs) bytes += pair;
    for (const std::string& tensor : tensors) bytes += tensor;
    if (data.empty()) return bytes;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
    return bytes + data;
  }
};

// What opening `bytes` as a File says, without the folder: "x: byte 4: ...".
template <class File>
std::string ErrorOf(std::string_view bytes) {
  const TempFolder folder;
  WriteFile(folder / "x", bytes);
  const std::string message = MessageOf([&] { File{folder / "x"}; });
  const std::string prefix = folder.path().string() + "/";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

}  // namespace espalier::hostile
