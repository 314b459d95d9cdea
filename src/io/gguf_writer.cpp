#include "espalier/io/gguf_writer.h"

#include <fmt/format.h>

#include <limits>
#include <memory>

#include "checked.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;  // GGUF_DEFAULT_ALIGNMENT: no key says another
constexpr size_t kLongestName = 63;  // GGML_MAX_NAME with its final zero
// gguf_type
constexpr uint32_t kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9;

template <class T>
void Append(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendText(std::string& text, std::string_view value) {
  Append<uint64_t>(text, value.size());
  text += value;
}

template <class T>
T Narrow(const std::string& key, int64_t value) {
  if (value < static_cast<int64_t>(std::numeric_limits<T>::min()) ||
      value > static_cast<int64_t>(std::numeric_limits<T>::max()))
    throw IoError(fmt::format("GGUF key {}: {} does not fit 32 bits", Quote(key), value));
  return static_cast<T>(value);
}

uint64_t Padding(uint64_t bytes) {
  return (kAlignment - bytes % kAlignment) % kAlignment;
}

}  // namespace

void GgufWriter::Key(const std::string& key, uint32_t type) {
  if (!keys_.insert(key).second) throw IoError(fmt::format("GGUF key {} twice", Quote(key)));
  AppendText(metadata_, key);
  Append(metadata_, type);
}

void GgufWriter::AddText(const std::string& key, std::string_view value) {
  Key(key, kString);
  AppendText(metadata_, value);
}

void GgufWriter::AddUint32(const std::string& key, int64_t value) {
  const auto narrow = Narrow<uint32_t>(key, value);
  Key(key, kUint32);
  Append(metadata_, narrow);
}

void GgufWriter::AddFloat32(const std::string& key, double value) {
  Key(key, kFloat32);
  Append(metadata_, static_cast<float>(value));
}

void GgufWriter::AddBool(const std::string& key, bool value) {
  Key(key, kBool);
  Append<uint8_t>(metadata_, value ? 1 : 0);
}

void GgufWriter::AddInt32List(const std::string& key, std::span<const int64_t> values) {
  for (const int64_t value : values) Narrow<int32_t>(key, value);
  Key(key, kArray);
  Append(metadata_, kInt32);
  Append<uint64_t>(metadata_, values.size());
  for (const int64_t value : values) Append(metadata_, static_cast<int32_t>(value));
}

void GgufWriter::AddFloat32List(const std::string& key, std::span<const float> values) {
  Key(key, kArray);
  Append(metadata_, kFloat32);
  Append<uint64_t>(metadata_, values.size());
  for (const float value : values) Append(metadata_, value);
}

void GgufWriter::AddTextList(const std::string& key, std::span<const std::string> values) {
  Key(key, kArray);
  Append(metadata_, kString);
  Append<uint64_t>(metadata_, values.size());
  for (const std::string& value : values) AppendText(metadata_, value);
}

void GgufWriter::AddRaw(const std::string& key, std::span<const std::byte> type_and_value) {
  ESPALIER_CHECK(type_and_value.size() > sizeof(uint32_t), "a type and a value");
  if (!keys_.insert(key).second) throw IoError(fmt::format("GGUF key {} twice", Quote(key)));
  AppendText(metadata_, key);
  metadata_.append(reinterpret_cast<const char*>(type_and_value.data()), type_and_value.size());
}

void GgufWriter::AddTensor(const std::string& name, GgmlType type, const std::vector<int64_t>& shape,
                           std::function<void(std::span<std::byte>)> fill) {
  if (name.empty() || name.size() > kLongestName)
    throw IoError(fmt::format("tensor name {} has {} bytes, expected 1 to {}", Quote(name), name.size(), kLongestName));
  if (!names_.insert(name).second) throw IoError(fmt::format("tensor {} twice", Quote(name)));
  const GgmlTypeInfo* info = FindGgmlType(static_cast<int32_t>(type));
  ESPALIER_CHECK(!shape.empty() && shape.back() % info->block_elements == 0, "rows are whole blocks");
  uint64_t elements = 1;
  for (const int64_t size : shape) elements *= static_cast<uint64_t>(size);
  const uint64_t bytes =
      elements / static_cast<uint64_t>(info->block_elements) * static_cast<uint64_t>(info->block_bytes);
  tensors_.push_back({name, type, shape, bytes, std::move(fill)});
}

void GgufWriter::Write(const std::filesystem::path& path) const {
  std::string header = "GGUF";
  Append(header, kVersion);
  Append<int64_t>(header, std::ssize(tensors_));
  Append<int64_t>(header, std::ssize(keys_));
  header += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    AppendText(header, tensor.name);
    Append<uint32_t>(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) Append<int64_t>(header, *size);
    Append(header, static_cast<int32_t>(tensor.type));
    Append(header, offset);
    offset += tensor.bytes + Padding(tensor.bytes);
  }
  header.append(Padding(header.size()), '\0');
  AtomicFile file(path);
  file.Write(header);
  for (const Tensor& tensor : tensors_) {
    const auto bytes = std::make_unique_for_overwrite<std::byte[]>(tensor.bytes);
    const std::span<std::byte> span(bytes.get(), tensor.bytes);
    tensor.fill(span);
    file.Write(span);
    file.Write(std::string(Padding(tensor.bytes), '\0'));
  }
  file.Commit();
}

}  // namespace espalier
