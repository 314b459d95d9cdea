#pragma once
// GGUF version 3 (and 2): header, metadata and tensor table of a file, every count checked against the bytes that are
// there before anything is allocated. Knows no LibTorch. Source: ggml/src/gguf.cpp, ggml/include/gguf.h.
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "espalier/core/files.h"
#include "espalier/io/dequantize.h"

namespace espalier {

// Scalars widened: integers to int64/uint64, floats to double. Arrays keep one element kind.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>, std::vector<int64_t>,
                               std::vector<uint64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  // row-major, outermost first: the reverse of the file's ne[]
  uint64_t offset = 0;         // of the first byte, from the start of the file
  uint64_t bytes = 0;
};

// Where something lies in the file.
struct GgufPlace {
  uint64_t offset = 0, bytes = 0;
};

class GgufFile {
 public:
  explicit GgufFile(std::filesystem::path path);  // IoError as SafetensorsFile

  const std::filesystem::path& path() const { return file_.path(); }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* Find(std::string_view name) const;
  void Read(const GgufTensor& tensor, std::span<std::byte> out) const;  // raw bytes, out.size() == tensor.bytes

  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  bool Has(std::string_view key) const;
  // A value as the file has it: its type and what follows, for a copy byte for byte. IoError when the key is absent.
  std::vector<std::byte> RawValue(std::string_view key) const;
  // Throw IoError naming file and key when it is absent or of another kind or out of range.
  int64_t Int(std::string_view key) const;
  double Real(std::string_view key) const;
  bool Bool(std::string_view key) const;
  const std::string& Text(std::string_view key) const;
  const std::vector<std::string>& TextList(std::string_view key) const;
  const std::vector<double>& RealList(std::string_view key) const;
  std::vector<int64_t> IntList(std::string_view key) const;  // a scalar integer gives a list of one

 private:
  RandomAccessFile file_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, GgufPlace, std::less<>> places_;
};

}  // namespace espalier
