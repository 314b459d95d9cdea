#include "gguf_values.h"

#include <fmt/format.h>

#include <array>

#include "checked.h"

namespace espalier {
namespace {

constexpr uint64_t kMaxStringBytes = uint64_t{1} << 30;    // ggml/src/gguf.cpp, GGUF_MAX_STRING_LENGTH
constexpr uint64_t kMaxArrayElements = uint64_t{1} << 30;  // the same, GGUF_MAX_ARRAY_ELEMENTS
constexpr uint64_t kStringLengthBytes = 8;

// ggml/include/gguf.h, enum gguf_type.
enum ValueType : int32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

struct ValueTypeRow {
  const char* name;
  uint64_t min_bytes;  // of one value
};
constexpr std::array<ValueTypeRow, 13> kTypes = {{{"UINT8", 1},
                                                  {"INT8", 1},
                                                  {"UINT16", 2},
                                                  {"INT16", 2},
                                                  {"UINT32", 4},
                                                  {"INT32", 4},
                                                  {"FLOAT32", 4},
                                                  {"BOOL", 1},
                                                  {"STRING", kStringLengthBytes},
                                                  {"ARRAY", 12},
                                                  {"UINT64", 8},
                                                  {"INT64", 8},
                                                  {"FLOAT64", 8}}};

ValueType ReadType(ByteCursor& cursor, const std::string& key, const char* what) {
  const auto id = cursor.Number<int32_t>(what);
  if (id < 0 || id >= static_cast<int32_t>(kTypes.size()))
    cursor.Fail(fmt::format("key {}: {} {}, expected 0 to {}", Quote(key), what, id, kTypes.size() - 1));
  return static_cast<ValueType>(id);
}

bool ReadBool(ByteCursor& cursor) {
  const auto value = cursor.Number<uint8_t>("a boolean");
  if (value > 1) cursor.Fail(fmt::format("boolean with the value {}, expected 0 or 1", value));
  return value == 1;
}

// Calls `use` with a function that reads one value of `type`, widened.
template <class Use>
GgufValue WithReader(ByteCursor& cursor, ValueType type, const Use& use) {
  const auto as_unsigned = [&]<class T>(T) { return use([&] { return uint64_t{cursor.Number<T>("a value")}; }); };
  const auto as_signed = [&]<class T>(T) { return use([&] { return int64_t{cursor.Number<T>("a value")}; }); };
  const auto as_real = [&]<class T>(T) { return use([&] { return double{cursor.Number<T>("a value")}; }); };
  switch (type) {
    case kUint8:
      return as_unsigned(uint8_t{});
    case kUint16:
      return as_unsigned(uint16_t{});
    case kUint32:
      return as_unsigned(uint32_t{});
    case kUint64:
      return as_unsigned(uint64_t{});
    case kInt8:
      return as_signed(int8_t{});
    case kInt16:
      return as_signed(int16_t{});
    case kInt32:
      return as_signed(int32_t{});
    case kInt64:
      return as_signed(int64_t{});
    case kFloat32:
      return as_real(float{});
    case kFloat64:
      return as_real(double{});
    case kBool:
      return use([&] { return ReadBool(cursor); });
    case kString:
      return use([&] { return ReadGgufString(cursor, "a string"); });
    case kArray:
      break;
  }
  cursor.Fail("array of arrays, expected an array of scalars or strings");
}

GgufValue ReadArray(ByteCursor& cursor, const std::string& key) {
  const ValueType type = ReadType(cursor, key, "array element type");
  const auto count = cursor.Number<uint64_t>("an array length");
  const ValueTypeRow& row = kTypes[static_cast<size_t>(type)];
  if (type == kArray)
    cursor.Fail(fmt::format("key {}: array of arrays, expected an array of scalars or strings", Quote(key)));
  if (count > kMaxArrayElements)
    cursor.Fail(fmt::format("key {}: array of {} elements, expected at most {}", Quote(key), count, kMaxArrayElements));
  if (count > cursor.bytes_left() / row.min_bytes)
    cursor.Fail(fmt::format("key {}: array of {} {} elements, but only {} bytes follow", Quote(key), count, row.name,
                            cursor.bytes_left()));
  return WithReader(cursor, type, [&](const auto& read) {
    std::vector<decltype(read())> values;  // grows with what was read: the count is only a claim
    for (uint64_t i = 0; i < count; ++i) values.push_back(read());
    return GgufValue(std::move(values));
  });
}

GgufValue ReadValue(ByteCursor& cursor, const std::string& key) {
  const ValueType type = ReadType(cursor, key, "value type");
  if (key == "general.alignment" && type != kUint32)
    cursor.Fail(
        fmt::format("key 'general.alignment' is a {}, expected UINT32", kTypes[static_cast<size_t>(type)].name));
  if (type == kArray) return ReadArray(cursor, key);
  return WithReader(cursor, type, [](const auto& read) { return GgufValue(read()); });
}

}  // namespace

std::string ReadGgufString(ByteCursor& cursor, const char* what) {
  const auto bytes = cursor.Number<uint64_t>(what);
  if (bytes > kMaxStringBytes)
    cursor.Fail(fmt::format("{} of {} bytes, expected at most {}", what, bytes, kMaxStringBytes));
  return cursor.Text(bytes, what);
}

std::map<std::string, GgufValue, std::less<>> ReadGgufMetadata(ByteCursor& cursor, int64_t count,
                                                               std::map<std::string, GgufPlace, std::less<>>& places) {
  std::map<std::string, GgufValue, std::less<>> metadata;
  for (int64_t i = 0; i < count; ++i) {
    std::string key = ReadGgufString(cursor, "a key");
    if (key.empty()) cursor.Fail(fmt::format("key {} of {} is empty", i + 1, count));
    const auto [place, is_new] = metadata.try_emplace(std::move(key));
    if (!is_new) cursor.Fail(fmt::format("duplicate key {}; one of the two would be lost", Quote(place->first)));
    const uint64_t begin = cursor.position();
    place->second = ReadValue(cursor, place->first);
    places[place->first] = {begin, cursor.position() - begin};
  }
  return metadata;
}

}  // namespace espalier
