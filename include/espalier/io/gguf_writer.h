#pragma once
// Writes GGUF version 3, atomically: metadata in the order it was added, then tensors, one at a time in memory. Knows
// no LibTorch. Source: ggml/src/gguf.cpp, ggml/include/gguf.h.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/dequantize.h"

namespace espalier {

class GgufWriter {
 public:
  // The types are those that llama.cpp asks for. IoError when a key is there already.
  void AddText(const std::string& key, std::string_view value);
  void AddUint32(const std::string& key, int64_t value);  // IoError: out of range
  void AddFloat32(const std::string& key, double value);
  void AddBool(const std::string& key, bool value);
  void AddInt32List(const std::string& key, std::span<const int64_t> values);  // IoError: out of range
  void AddFloat32List(const std::string& key, std::span<const float> values);
  void AddTextList(const std::string& key, std::span<const std::string> values);
  void AddRaw(const std::string& key, std::span<const std::byte> type_and_value);  // GgufFile::RawValue

  // `fill` is called once, when the tensor's turn comes, with exactly its bytes. Shape row-major [out, in]: rows are
  // whole blocks. IoError: a name of more than 63 bytes, a name twice.
  void AddTensor(const std::string& name, GgmlType type, const std::vector<int64_t>& shape,
                 std::function<void(std::span<std::byte>)> fill);

  void Write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    GgmlType type;
    std::vector<int64_t> shape;
    uint64_t bytes;
    std::function<void(std::span<std::byte>)> fill;
  };
  void Key(const std::string& key, uint32_t type);

  std::string metadata_;
  std::set<std::string, std::less<>> keys_, names_;
  std::vector<Tensor> tensors_;
};

}  // namespace espalier
