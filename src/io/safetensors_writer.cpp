#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "checked.h"
#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/io/safetensors.h"

namespace espalier {
namespace {

constexpr size_t kHeaderAlignment = 8;           // safetensors/src/tensor.rs, prepare()
constexpr size_t kMaxHeaderBytes = 100'000'000;  // what readers take
constexpr size_t kLengthBytes = 8;

void CheckTensor(const TensorToStore& tensor, const std::string& where) {
  const std::string name = Quote(tensor.name);
  if (tensor.name == "__metadata__") throw IoError(fmt::format("{}: a tensor cannot be called {}", where, name));
  const bool negative = std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t size) { return size < 0; });
  const std::optional<int64_t> elements = negative ? std::nullopt : ElementCount(tensor.shape);
  const std::optional<int64_t> bytes =
      elements ? CheckedProduct(*elements, StoredTypeBytes(tensor.type)) : std::nullopt;
  if (!bytes || static_cast<uint64_t>(*bytes) != tensor.bytes.size())
    throw ShapeError(fmt::format("{}: tensor {}: {} bytes given, but shape {} of {} needs {}", where, name,
                                 tensor.bytes.size(), ShapeText(tensor.shape), StoredTypeName(tensor.type),
                                 bytes ? std::to_string(*bytes) : "more than 64 bits count"));
}

// As serde_json writes it: compact, keys in this order, padded with spaces.
std::string HeaderText(const std::vector<TensorToStore>& tensors, const std::map<std::string, std::string>& metadata,
                       const std::string& where) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  // nlohmann's ordered object searches linearly for each new key; the text is put together here instead.
  std::string text = header.empty() ? "{" : header.dump().substr(0, header.dump().size() - 1);
  uint64_t offset = 0;
  for (const TensorToStore& tensor : tensors) {
    const uint64_t end = offset + tensor.bytes.size();
    text += fmt::format(R"({}{}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", text.size() > 1 ? "," : "",
                        Json(tensor.name).dump(), StoredTypeName(tensor.type), Json(tensor.shape).dump(), offset, end);
    offset = end;
  }
  text += '}';
  text.append((kHeaderAlignment - text.size() % kHeaderAlignment) % kHeaderAlignment, ' ');
  if (text.size() > kMaxHeaderBytes)
    throw IoError(fmt::format("{}: header of {} bytes, the format allows {}", where, text.size(), kMaxHeaderBytes));
  return text;
}

}  // namespace

void WriteSafetensors(const std::filesystem::path& path, std::vector<TensorToStore> tensors,
                      const std::map<std::string, std::string>& metadata) {
  const std::string where = path.string();
  // The reference sorts by dtype, widest alignment first, then by the bytes of the name.
  std::sort(tensors.begin(), tensors.end(), [](const TensorToStore& a, const TensorToStore& b) {
    return a.type != b.type ? a.type > b.type : a.name < b.name;
  });
  std::vector<std::string_view> names;
  for (const TensorToStore& tensor : tensors) {
    CheckTensor(tensor, where);
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    throw IoError(fmt::format("{}: two tensors are called {}", where, Quote(*twice)));
  std::string header;
  try {
    header = HeaderText(tensors, metadata, where);
  } catch (const nlohmann::json::type_error&) {
    throw IoError(fmt::format("{}: a tensor name or the metadata is not valid UTF-8", where));
  }
  std::array<unsigned char, kLengthBytes> length{};
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<unsigned char>(uint64_t{header.size()} >> (8 * i));
  AtomicFile file(path);
  file.Write(std::as_bytes(std::span(length)));
  file.Write(header);
  for (const TensorToStore& tensor : tensors) {
    file.Write(tensor.bytes);
    if (tensor.written) tensor.written();
  }
  file.Commit();
}

}  // namespace espalier
