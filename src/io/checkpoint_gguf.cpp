#include <ATen/ATen.h>

#include <memory>

#include "checkpoint_formats.h"
#include "espalier/core/error.h"
#include "espalier/io/dequantize.h"
#include "espalier/io/gguf.h"

namespace espalier {
namespace {

class GgufCheckpoint final : public Checkpoint {
 public:
  explicit GgufCheckpoint(const std::filesystem::path& path) : file_(path) {}

  CheckpointFormat format() const override { return CheckpointFormat::kGguf; }
  const std::filesystem::path& path() const override { return file_.path(); }
  std::vector<std::string> Names() const override;
  bool Has(std::string_view name) const override { return file_.Find(name) != nullptr; }
  std::vector<int64_t> Shape(std::string_view name) const override { return Get(name).shape; }
  int64_t Bytes(std::string_view name) const override { return static_cast<int64_t>(Get(name).bytes); }
  at::Tensor Read(std::string_view name) const override;

  const Json& Config() const override {
    throw InternalError(path().string() + " is a GGUF file and has no config.json");
  }
  const GgufFile& Gguf() const override { return file_; }

 private:
  const GgufTensor& Get(std::string_view name) const;

  GgufFile file_;
};

std::vector<std::string> GgufCheckpoint::Names() const {
  std::vector<std::string> names;
  for (const GgufTensor& tensor : file_.tensors()) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  return names;
}

const GgufTensor& GgufCheckpoint::Get(std::string_view name) const {
  if (const GgufTensor* tensor = file_.Find(name)) return *tensor;
  FailNoTensor(*this, name);
}

at::Tensor ReadPlain(const GgufFile& file, const GgufTensor& tensor, at::ScalarType type) {
  at::Tensor read = at::empty(tensor.shape, at::TensorOptions().dtype(type));
  file.Read(tensor, {static_cast<std::byte*>(read.data_ptr()), static_cast<size_t>(read.nbytes())});
  return read;
}

// The shape fits the bytes and the bytes lie inside the file, so neither buffer is larger than the file justifies.
at::Tensor GgufCheckpoint::Read(std::string_view name) const {
  const GgufTensor& tensor = Get(name);
  if (tensor.type == GgmlType::kF32) return ReadPlain(file_, tensor, at::kFloat);
  if (tensor.type == GgmlType::kF16) return ReadPlain(file_, tensor, at::kHalf);
  if (tensor.type == GgmlType::kBF16) return ReadPlain(file_, tensor, at::kBFloat16);
  const auto stored = std::make_unique_for_overwrite<std::byte[]>(tensor.bytes);
  const std::span<std::byte> bytes(stored.get(), tensor.bytes);
  file_.Read(tensor, bytes);
  at::Tensor values = at::empty(tensor.shape, at::TensorOptions().dtype(at::kFloat));
  Dequantize(tensor.type, bytes, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

}  // namespace

std::unique_ptr<Checkpoint> OpenGgufCheckpoint(const std::filesystem::path& file) {
  return std::make_unique<GgufCheckpoint>(file);
}

}  // namespace espalier
