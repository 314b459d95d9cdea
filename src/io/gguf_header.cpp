#include "gguf_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <set>

#include "byte_cursor.h"
#include "checked.h"
#include "espalier/core/log.h"
#include "gguf_values.h"

namespace espalier {
namespace {

// Everything before the data. The largest vocabularies take 20 MB; this bounds what a file with a hole of terabytes,
// which takes no disk space, can make us read.
constexpr uint64_t kMaxHeaderBytes = uint64_t{128} << 20;
constexpr uint32_t kMaxDimensions = 4;                   // GGML_MAX_DIMS
constexpr uint64_t kMaxTensorNameBytes = 63;             // GGML_MAX_NAME with its final zero
constexpr uint32_t kDefaultAlignment = 32;               // GGUF_DEFAULT_ALIGNMENT
constexpr int64_t kMaxTensors = int64_t{1} << 18;        // DeepSeek-V3 has 92 thousand before its experts are merged
constexpr int64_t kMaxPairs = int64_t{1} << 16;          // real files have fewer than 100
constexpr uint64_t kMinPairBytes = 8 + 1 + 4 + 1;        // key length, a key of one byte, type, a value of one byte
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;  // name length, a name of one byte, dimensions, type, offset

void CheckMagic(ByteCursor& cursor) {
  std::array<char, 4> magic{};
  for (char& c : magic) c = cursor.Number<char>("the magic");
  const std::string_view found(magic.data(), magic.size());
  if (found != "GGUF") cursor.Fail(fmt::format("magic {}, expected 'GGUF'; is this a GGUF file?", Quote(found)));
  const auto version = cursor.Number<uint32_t>("the version");
  if (version != 0 && (version & 0xFFFF) == 0)
    cursor.Fail(fmt::format(
        "version {:#010x}: the file is big-endian, expected little-endian; convert it with gguf's gguf_convert_endian",
        version));
  if (version != 2 && version != 3)
    cursor.Fail(
        fmt::format("GGUF version {}, expected 2 or 3; convert the model again with a current converter", version));
}

int64_t ReadCount(ByteCursor& cursor, int64_t max, const char* what) {
  const auto count = cursor.Number<int64_t>(what);
  if (count < 0 || count > max) cursor.Fail(fmt::format("{} is {}, expected 0 to {}", what, count, max));
  return count;
}

void CheckCount(const ByteCursor& cursor, int64_t count, uint64_t min_bytes, const char* what) {
  if (static_cast<uint64_t>(count) > cursor.bytes_left() / min_bytes)
    cursor.Fail(fmt::format("{} is {}, but only {} bytes follow and each takes {} or more", what, count,
                            cursor.bytes_left(), min_bytes));
}

uint64_t AlignUp(uint64_t offset, uint64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

uint32_t Alignment(const ByteCursor& cursor, const GgufHeader& header) {
  const auto found = header.metadata.find("general.alignment");
  if (found == header.metadata.end()) return kDefaultAlignment;
  const auto alignment = static_cast<uint32_t>(std::get<uint64_t>(found->second));  // a UINT32: ReadGgufMetadata
  if (!std::has_single_bit(alignment))
    cursor.Fail(fmt::format("general.alignment is {}, expected a power of two", alignment));
  return alignment;
}

// A part of a split model would read as a model without most of its tensors.
void RefuseSplits(const ByteCursor& cursor, const GgufHeader& header, int64_t tensors) {
  const auto integer = [&](const char* key) -> std::optional<int64_t> {
    const auto found = header.metadata.find(key);
    if (found == header.metadata.end()) return std::nullopt;
    if (const auto* value = std::get_if<uint64_t>(&found->second))
      return static_cast<int64_t>(std::min<uint64_t>(*value, kMaxInt64));
    if (const auto* value = std::get_if<int64_t>(&found->second)) return *value;
    cursor.Fail(fmt::format("key '{}' is not an integer", key));
  };
  const int64_t parts = integer("split.count").value_or(1);
  if (parts > 1)
    cursor.Fail(
        fmt::format("this is part {} of a model split into {} files, which are not read; join them with "
                    "llama-gguf-split --merge",
                    integer("split.no").value_or(0) + 1, parts));
  if (const int64_t all = integer("split.tensors.count").value_or(tensors); all != tensors)
    cursor.Fail(fmt::format("split.tensors.count is {}, but the file has {} tensors", all, tensors));
}

std::string ReadTensorName(ByteCursor& cursor) {
  std::string name = ReadGgufString(cursor, "a tensor name");
  if (name.empty() || name.size() > kMaxTensorNameBytes)
    cursor.Fail(
        fmt::format("tensor name {} has {} bytes, expected 1 to {}", Quote(name), name.size(), kMaxTensorNameBytes));
  return name;
}

// Sets shape, type and bytes. `ne` of the file is innermost first.
void ReadShapeAndType(ByteCursor& cursor, GgufTensor& tensor) {
  const std::string name = Quote(tensor.name);
  const auto dimensions = cursor.Number<uint32_t>("the number of dimensions");
  if (dimensions > kMaxDimensions)
    cursor.Fail(fmt::format("tensor {}: {} dimensions, expected at most {}", name, dimensions, kMaxDimensions));
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.Number<int64_t>("a dimension");
    if (size < 0) cursor.Fail(fmt::format("tensor {}: dimension {} is {}, expected 0 or more", name, i, size));
    tensor.shape.insert(tensor.shape.begin(), size);
  }
  const std::optional<int64_t> elements = ElementCount(tensor.shape);
  if (!elements)
    cursor.Fail(fmt::format("tensor {}: shape {} has more elements than 64 bits count", name, ShapeText(tensor.shape)));
  const auto id = cursor.Number<int32_t>("a tensor type");
  const GgmlTypeInfo* type = FindGgmlType(id);
  if (type == nullptr)
    cursor.Fail(
        fmt::format("tensor {}: type {} ({}), expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or "
                    "Q6_K; convert the model with llama-quantize to one of them",
                    name, id, GgmlTypeName(id)));
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % type->block_elements != 0)
    cursor.Fail(fmt::format("tensor {}: rows of {} elements, expected a multiple of the {} of a {} block", name, row,
                            type->block_elements, type->name));
  const std::optional<int64_t> bytes = CheckedProduct(*elements / type->block_elements, type->block_bytes);
  if (!bytes)
    cursor.Fail(fmt::format("tensor {}: shape {} of {} has more bytes than 64 bits count", name,
                            ShapeText(tensor.shape), type->name));
  tensor.type = static_cast<GgmlType>(id);
  tensor.bytes = static_cast<uint64_t>(*bytes);
}

void ReadTensors(ByteCursor& cursor, int64_t count, std::vector<GgufTensor>& tensors) {
  std::set<std::string> names;  // a tree: names chosen to collide in a hash table do not slow it down
  for (int64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    tensor.name = ReadTensorName(cursor);
    if (!names.insert(tensor.name).second) cursor.Fail(fmt::format("duplicate tensor {}", Quote(tensor.name)));
    ReadShapeAndType(cursor, tensor);
    tensor.offset = cursor.Number<uint64_t>("a tensor offset");
    tensors.push_back(std::move(tensor));
  }
}

// Each tensor begins where the one before it, padded, ends; nothing leaves the file. Offsets become those of the file.
void PlaceTensors(const ByteCursor& cursor, uint64_t file_bytes, uint32_t alignment, std::vector<GgufTensor>& tensors) {
  const uint64_t data = AlignUp(cursor.position(), alignment);
  uint64_t next = 0;  // relative to the data; stays at most the file's size plus one alignment, so it cannot overflow
  for (GgufTensor& tensor : tensors) {
    const std::string name = Quote(tensor.name);
    if (tensor.offset != next)
      cursor.Fail(
          fmt::format("tensor {}: data at offset {}, expected {}, the end of the tensor before it padded to {} bytes",
                      name, tensor.offset, next, alignment));
    const uint64_t left = file_bytes - std::min(file_bytes, data + next);
    if (tensor.bytes > left)
      cursor.Fail(fmt::format("tensor {}: {} bytes from byte {}, but the file ends at {}; the file is truncated", name,
                              tensor.bytes, data + next, file_bytes));
    tensor.offset = data + next;
    next = AlignUp(next + tensor.bytes, alignment);
  }
}

}  // namespace

GgufHeader ReadGgufHeader(const RandomAccessFile& file) {
  ByteCursor cursor(file, std::min(file.size(), kMaxHeaderBytes));
  CheckMagic(cursor);
  const int64_t tensors = ReadCount(cursor, kMaxTensors, "the number of tensors");
  const int64_t pairs = ReadCount(cursor, kMaxPairs, "the number of keys");
  CheckCount(cursor, tensors, kMinTensorBytes, "the number of tensors");
  CheckCount(cursor, pairs, kMinPairBytes, "the number of keys");
  GgufHeader header;
  header.metadata = ReadGgufMetadata(cursor, pairs, header.places);
  const uint32_t alignment = Alignment(cursor, header);
  RefuseSplits(cursor, header, tensors);
  ReadTensors(cursor, tensors, header.tensors);
  PlaceTensors(cursor, file.size(), alignment, header.tensors);
  const uint64_t end =
      header.tensors.empty() ? cursor.position() : header.tensors.back().offset + header.tensors.back().bytes;
  if (AlignUp(end, alignment) < file.size())
    LogWarning("{}: {} bytes after the last tensor are not read", file.path().string(), file.size() - end);
  return header;
}

}  // namespace espalier
