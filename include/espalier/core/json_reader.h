#pragma once
// Reads a JSON document whose form we know. Every mistake is one IoError: "plan.json: blocks[3].kv_groups.kept:
// expected a whole number from 0 to 3, found 4".
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

// A view of one object of the document; the document must outlive it.
class JsonReader {
 public:
  // `where` names the file. IoError when `json` is not an object.
  JsonReader(const Json& json, std::string where);

  // The key "schema" must be `id`.
  void ExpectSchema(std::string_view id) const;
  // A key that is not in `known` is an error with the nearest names: a misspelt key would otherwise be lost silently.
  void AllowOnly(std::initializer_list<std::string_view> known) const;
  void AllowOnly(std::span<const std::string_view> known) const;

  bool Has(std::string_view key) const;
  std::string Text(std::string_view key) const;
  bool Bool(std::string_view key) const;
  int64_t Int(std::string_view key, int64_t min = 0, int64_t max = std::numeric_limits<int64_t>::max()) const;
  double Real(std::string_view key) const;
  // null reads as NaN: DumpJson writes a number that is not finite as null.
  double RealOrNan(std::string_view key) const;
  std::optional<double> OptionalReal(std::string_view key) const;  // absent or null: none
  std::vector<int64_t> Ints(std::string_view key, int64_t min = 0,
                            int64_t max = std::numeric_limits<int64_t>::max()) const;
  std::vector<std::string> Texts(std::string_view key) const;
  std::vector<double> Reals(std::string_view key) const;  // null reads as NaN
  JsonReader Object(std::string_view key) const;
  std::vector<JsonReader> Objects(std::string_view key) const;  // an array of objects
  // Every member of the object at `key`, all texts, in the order of the file.
  std::vector<std::pair<std::string, std::string>> TextMap(std::string_view key) const;

  // Throws the IoError of a value that is of the right type and still wrong.
  [[noreturn]] void Fail(std::string_view key, std::string_view what) const;

 private:
  JsonReader(const Json& json, std::string where, std::string path);
  const Json& Member(std::string_view key, std::string_view expected) const;
  std::string PathOf(std::string_view key) const;

  const Json* json_;
  std::string where_, path_;
};

}  // namespace espalier
