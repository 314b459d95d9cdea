#pragma once
// Safetensors: a reader that believes nothing and a writer that replaces files atomically. Knows no LibTorch.
// Source: huggingface/safetensors README and safetensors/src/tensor.rs.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/files.h"

namespace espalier {

// In the order of the reference's Dtype, by which the writer sorts: ascending alignment.
enum class StoredType { kBool, kU8, kI8, kI16, kF16, kBF16, kI32, kF32, kF64, kI64 };
int64_t StoredTypeBytes(StoredType type);
std::string_view StoredTypeName(StoredType type);  // as in the header: "F32"

struct StoredTensor {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte, from the start of the file
  uint64_t bytes = 0;
};

// One open file whose header has been checked: entries tile the data exactly, sizes fit shapes and the file.
class SafetensorsFile {
 public:
  // Throws IoError naming file, byte offset or entry, what was found and what was expected. Allocates for the header
  // only after its length is known to lie inside the file.
  explicit SafetensorsFile(std::filesystem::path path);

  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // by offset
  const StoredTensor* Find(std::string_view name) const;                 // nullptr: none
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_.path(); }
  void Read(const StoredTensor& tensor, std::span<std::byte> out) const;  // out.size() == tensor.bytes

 private:
  RandomAccessFile file_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, std::string> metadata_;
};

struct TensorToStore {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian
  std::function<void()> written{};   // called after the last use of `bytes`
};

// Writes atomically, entries sorted by dtype (descending) then name, header padded to 8 bytes: the same content gives
// the same bytes, and the bytes that the reference implementation writes (it writes several metadata keys in random
// order, here they are sorted). Throws ShapeError: bytes that do not fit the shape; IoError: a name twice, a name or
// metadata that is not UTF-8, a disk that is full.
void WriteSafetensors(const std::filesystem::path& path, std::vector<TensorToStore> tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace espalier
