#include "choice_items.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/json_reader.h"
#include "espalier/evaluate/preset.h"
#include "white_space.h"

namespace espalier {
namespace {

ChoiceItem ParseItem(std::string_view line, const std::string& where) {
  const Json json = ParseJson(line, where);
  const JsonReader reader(json, where);
  ChoiceItem item;
  item.context = reader.Text("context");
  item.choices = reader.Texts("choices");
  if (item.choices.size() < 2)
    reader.Fail("choices", fmt::format("expected at least 2, found {}", item.choices.size()));
  if (std::any_of(item.choices.begin(), item.choices.end(), [](const std::string& one) { return one.empty(); }))
    reader.Fail("choices", "a choice is empty; expected text");
  item.answer = reader.Int("answer", 0, std::ssize(item.choices) - 1);
  return item;
}

double Characters(std::string_view text) {
  return static_cast<double>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// What stands before the context's own tokens: BOS where the tokenizer wants it, and something before an empty context.
std::vector<int64_t> Prefix(const Tokenizer& tokenizer, bool empty_context) {
  if (tokenizer.adds_bos() && tokenizer.bos()) return {*tokenizer.bos()};
  if (!empty_context) return {};
  if (const auto prefix = PrefixToken(tokenizer)) return {*prefix};
  throw RecipeError("multiple_choice: an empty context needs BOS or EOS before it, and this tokenizer has neither");
}

}  // namespace

ChoiceItems ReadChoiceItems(const std::filesystem::path& path, int64_t limit) {
  const std::string text = ReadFile(path);
  ChoiceItems items;
  Sha256 hash;
  int64_t number = 0;
  for (size_t at = 0; at < text.size() && (limit == 0 || std::ssize(items.items) < limit);) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    ++number;
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    items.items.push_back(ParseItem(line, fmt::format("{}:{}", path.string(), number)));
    hash.Add(line).Add("\n");
  }
  if (items.items.empty())
    throw IoError(
        fmt::format("{}: no items; expected a JSON object with context, choices and answer a line", path.string()));
  items.sha256 = hash.Finish();
  return items;
}

std::vector<Continuation> EncodeContinuations(const ChoiceItems& items, const Tokenizer& tokenizer,
                                              std::string_view delimiter) {
  std::vector<Continuation> all;
  for (int64_t i = 0; i < std::ssize(items.items); ++i) {
    const ChoiceItem& item = items.items[static_cast<size_t>(i)];
    const size_t end = TrailingWhiteSpace(item.context);
    const std::vector<int64_t> prefix = Prefix(tokenizer, end == 0);
    const auto context_tokens = std::ssize(tokenizer.Encode(std::string_view(item.context).substr(0, end)));
    for (const std::string& choice : item.choices) {
      Continuation one;
      one.item = i;
      one.ids = prefix;
      const std::string whole = item.context + std::string(delimiter) + choice;
      for (const int32_t id : tokenizer.Encode(whole)) one.ids.push_back(id);
      one.first_scored = std::ssize(prefix) + context_tokens;
      one.characters = Characters(choice);
      if (one.first_scored >= std::ssize(one.ids))
        throw IoError(fmt::format("multiple_choice: item {}: the choice '{}' has no token of its own after its context",
                                  i, choice));
      all.push_back(std::move(one));
    }
  }
  return all;
}

}  // namespace espalier
