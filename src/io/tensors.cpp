#include "espalier/io/tensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "checked.h"
#include "espalier/core/error.h"
#include "espalier/io/mapped.h"

namespace espalier {
namespace {

struct TypePair {
  StoredType stored;
  at::ScalarType scalar;
};
constexpr std::array<TypePair, 10> kPairs = {{{StoredType::kBool, at::kBool},
                                              {StoredType::kU8, at::kByte},
                                              {StoredType::kI8, at::kChar},
                                              {StoredType::kI16, at::kShort},
                                              {StoredType::kI32, at::kInt},
                                              {StoredType::kI64, at::kLong},
                                              {StoredType::kF16, at::kHalf},
                                              {StoredType::kBF16, at::kBFloat16},
                                              {StoredType::kF32, at::kFloat},
                                              {StoredType::kF64, at::kDouble}}};

StoredType StoredOf(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.defined()) throw ShapeError(fmt::format("tensor {} is undefined and cannot be stored", Quote(name)));
  const auto pair = std::find_if(kPairs.begin(), kPairs.end(),
                                 [&](const TypePair& row) { return row.scalar == tensor.scalar_type(); });
  if (pair == kPairs.end() || tensor.layout() != at::kStrided)
    throw ShapeError(
        fmt::format("tensor {} is {} {}, expected a dense tensor of bool, uint8, int8 to int64, half, bfloat16, "
                    "float or double",
                    Quote(name), c10::str(tensor.layout()), c10::toString(tensor.scalar_type())));
  return pair->stored;
}

std::span<std::byte> BytesOf(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), static_cast<size_t>(tensor.nbytes())};
}

// Any other byte read as a C++ bool is undefined behaviour.
void CheckBooleans(const SafetensorsFile& file, const StoredTensor& tensor, std::span<const std::byte> bytes) {
  const auto wrong = std::find_if(bytes.begin(), bytes.end(), [](std::byte byte) { return byte > std::byte{1}; });
  if (wrong == bytes.end()) return;
  throw IoError(fmt::format("{}: byte {}: tensor {} of BOOL holds {}, expected 0 or 1", file.path().string(),
                            tensor.offset + static_cast<uint64_t>(wrong - bytes.begin()), Quote(tensor.name),
                            static_cast<int>(*wrong)));
}

}  // namespace

at::ScalarType ScalarTypeOf(StoredType type) {
  return std::find_if(kPairs.begin(), kPairs.end(), [type](const TypePair& pair) { return pair.stored == type; })
      ->scalar;
}

void SaveTensors(const std::filesystem::path& path, const NamedTensors& tensors,
                 const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> contiguous;  // keeps the copies alive; a tensor that is contiguous on the CPU is not copied
  std::vector<TensorToStore> stored;
  for (const auto& [name, tensor] : tensors) {
    const StoredType type = StoredOf(name, tensor);
    contiguous.push_back(tensor.detach().cpu().contiguous().resolve_neg());
    stored.push_back(
        {name, type, tensor.sizes().vec(), BytesOf(contiguous.back()), [kept = contiguous.back()] { LetGo(kept); }});
  }
  WriteSafetensors(path, std::move(stored), metadata);
}

at::Tensor LoadTensor(const SafetensorsFile& file, const StoredTensor& tensor) {
  // The shape fits the bytes and the bytes lie inside the file: SafetensorsFile has checked.
  at::Tensor loaded = at::empty(tensor.shape, at::TensorOptions().dtype(ScalarTypeOf(tensor.type)));
  file.Read(tensor, BytesOf(loaded));
  if (tensor.type == StoredType::kBool) CheckBooleans(file, tensor, BytesOf(loaded));
  return loaded;
}

NamedTensors LoadTensors(const std::filesystem::path& path) {
  return LoadTensors(path, std::numeric_limits<uint64_t>::max());
}

NamedTensors LoadTensors(const std::filesystem::path& path, uint64_t map_bytes) {
  const SafetensorsFile file(path);
  NamedTensors tensors;
  for (const StoredTensor& tensor : file.tensors()) {
    const bool aligned = tensor.offset % static_cast<uint64_t>(StoredTypeBytes(tensor.type)) == 0;
    const bool maps = tensor.bytes >= map_bytes && aligned && tensor.type != StoredType::kBool;
    tensors.emplace(tensor.name, maps ? MapStored(file, tensor) : LoadTensor(file, tensor));
  }
  return tensors;
}

}  // namespace espalier
