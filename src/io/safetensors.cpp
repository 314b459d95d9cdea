#include "espalier/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "checked.h"
#include "espalier/core/error.h"
#include "safetensors_header.h"

namespace espalier {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // safetensors/src/tensor.rs, MAX_HEADER_SIZE
constexpr uint64_t kLengthBytes = 8;

struct StoredTypeRow {
  StoredType type;
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<StoredTypeRow, 10> kTypes = {{{StoredType::kBool, "BOOL", 1},
                                                   {StoredType::kU8, "U8", 1},
                                                   {StoredType::kI8, "I8", 1},
                                                   {StoredType::kI16, "I16", 2},
                                                   {StoredType::kF16, "F16", 2},
                                                   {StoredType::kBF16, "BF16", 2},
                                                   {StoredType::kI32, "I32", 4},
                                                   {StoredType::kF32, "F32", 4},
                                                   {StoredType::kF64, "F64", 8},
                                                   {StoredType::kI64, "I64", 8}}};

// Known to the format, not to this project: no tensor operation here works on them.
constexpr std::array<std::string_view, 14> kRefusedTypes = {
    "F4",          "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ",
    "F8_E5M2FNUZ", "U16",     "U32",     "U64",     "C64",     "C128",    "F128"};

const StoredTypeRow& Row(StoredType type) {
  return kTypes.at(static_cast<size_t>(type));
}

StoredType ParseType(const SafetensorsEntry& entry, const std::string& where) {
  for (const StoredTypeRow& row : kTypes)
    if (row.name == entry.dtype) return row.type;
  const bool known = std::find(kRefusedTypes.begin(), kRefusedTypes.end(), entry.dtype) != kRefusedTypes.end();
  throw IoError(fmt::format("{}: entry {}: {} dtype {}, expected BOOL, U8, I8, I16, I32, I64, F16, BF16, F32 or F64{}",
                            where, Quote(entry.name), known ? "unsupported" : "unknown", Quote(entry.dtype),
                            known ? "; save the model as BF16 or F32 first" : ""));
}

// Reads the header after its length is known to lie inside the file.
SafetensorsHeader ReadHeader(const RandomAccessFile& file, uint64_t& data_start) {
  const std::string where = file.path().string();
  if (file.size() < kLengthBytes)
    throw IoError(fmt::format("{}: {} bytes, expected at least the {} of a header length; the file is truncated", where,
                              file.size(), kLengthBytes));
  std::array<unsigned char, kLengthBytes> raw{};
  file.Read(0, std::as_writable_bytes(std::span(raw)));
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | raw[i];  // little-endian on every machine
  if (length > kMaxHeaderBytes)
    throw IoError(fmt::format("{}: byte 0: header of {} bytes, expected at most {}; is this a safetensors file?", where,
                              length, kMaxHeaderBytes));
  if (length > file.size() - kLengthBytes)
    throw IoError(fmt::format("{}: byte 0: header of {} bytes, but only {} follow; the file is truncated", where,
                              length, file.size() - kLengthBytes));
  std::string text(length, '\0');
  file.Read(kLengthBytes, std::as_writable_bytes(std::span(text)));
  data_start = kLengthBytes + length;
  return ParseSafetensorsHeader(text, where);
}

// An entry by itself: dtype, and offsets that fit the shape. Offsets stay relative to the data.
StoredTensor CheckEntry(SafetensorsEntry& entry, const std::string& where) {
  const StoredType type = ParseType(entry, where);
  const int64_t begin = entry.data_offsets[0], end = entry.data_offsets[1];
  if (end < begin)
    throw IoError(
        fmt::format("{}: entry {}: data_offsets [{}, {}] run backwards", where, Quote(entry.name), begin, end));
  const std::optional<int64_t> elements = ElementCount(entry.shape);
  const std::optional<int64_t> bytes = elements ? CheckedProduct(*elements, StoredTypeBytes(type)) : std::nullopt;
  if (!bytes)
    throw IoError(fmt::format("{}: entry {}: shape {} of {} has more bytes than 64 bits count", where,
                              Quote(entry.name), ShapeText(entry.shape), entry.dtype));
  if (*bytes != end - begin)
    throw IoError(fmt::format("{}: entry {}: data_offsets [{}, {}] hold {} bytes, but shape {} of {} needs {}", where,
                              Quote(entry.name), begin, end, end - begin, ShapeText(entry.shape), entry.dtype, *bytes));
  return {std::move(entry.name), type, std::move(entry.shape), static_cast<uint64_t>(begin),
          static_cast<uint64_t>(*bytes)};
}

// All entries together: sorted by offset they tile the data from its first byte to the file's last, so that no byte
// belongs to two tensors and none to nobody.
void CheckTiling(const std::vector<StoredTensor>& tensors, uint64_t data_bytes, const std::string& where) {
  uint64_t next = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.offset != next)
      throw IoError(fmt::format("{}: entry {}: data begins at {}, expected {}: {}", where, Quote(tensor.name),
                                tensor.offset, next,
                                tensor.offset < next ? "it overlaps another entry" : "there is a hole before it"));
    if (tensor.bytes > data_bytes - next)
      throw IoError(
          fmt::format("{}: entry {}: data ends at {}, but the file has {} bytes of data; the file is truncated", where,
                      Quote(tensor.name), next + tensor.bytes, data_bytes));
    next += tensor.bytes;
  }
  if (next != data_bytes)
    throw IoError(fmt::format("{}: {} bytes of data follow the last entry, expected none", where, data_bytes - next));
}

}  // namespace

int64_t StoredTypeBytes(StoredType type) {
  return Row(type).bytes;
}
std::string_view StoredTypeName(StoredType type) {
  return Row(type).name;
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path) : file_(std::move(path)) {
  const std::string where = file_.path().string();
  uint64_t data_start = 0;
  SafetensorsHeader header = ReadHeader(file_, data_start);
  tensors_.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) tensors_.push_back(CheckEntry(entry, where));
  std::sort(tensors_.begin(), tensors_.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);  // empty ones first
  });
  CheckTiling(tensors_, file_.size() - data_start, where);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].offset += data_start;
    by_name_.emplace(tensors_[i].name, i);
  }
  metadata_ = std::move(header.metadata);
}

const StoredTensor* SafetensorsFile::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

void SafetensorsFile::Read(const StoredTensor& tensor, std::span<std::byte> out) const {
  ESPALIER_CHECK(out.size() == tensor.bytes, "the buffer has the size of the tensor");
  file_.Read(tensor.offset, out);
}

}  // namespace espalier
