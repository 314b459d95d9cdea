#include "espalier/io/tokenizer_spec.h"

#include <fmt/format.h>

#include <unordered_map>

#include "espalier/core/error.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

void CheckTokens(const TokenizerSpec& spec) {
  if (spec.tokens.empty()) throw IoError(fmt::format("{}: the vocabulary is empty", spec.origin));
  if (spec.tokens.size() > kMaxTokens)
    throw IoError(fmt::format("{}: {} tokens, expected at most {}", spec.origin, spec.tokens.size(), kMaxTokens));
  if (spec.merges.size() > kMaxMerges)
    throw IoError(fmt::format("{}: {} merges, expected at most {}", spec.origin, spec.merges.size(), kMaxMerges));
  std::unordered_map<std::string_view, size_t> seen;
  seen.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (token.size() > kMaxTokenBytes)
      throw IoError(
          fmt::format("{}: token {} has {} bytes, expected at most {}", spec.origin, id, token.size(), kMaxTokenBytes));
    if (FirstInvalidUtf8(token) != token.size())
      throw IoError(
          fmt::format("{}: token {} is '{}', expected valid UTF-8", spec.origin, id, ReplaceInvalidUtf8(token)));
    if (token.empty()) continue;
    const auto [first, added] = seen.emplace(token, id);
    if (!added) throw IoError(fmt::format("{}: tokens {} and {} are both '{}'", spec.origin, first->second, id, token));
  }
}

// What an added token says must be what the vocabulary has under that id, when it has one there.
void CheckAdded(const TokenizerSpec& spec) {
  std::unordered_map<int32_t, std::string_view> ids;
  std::unordered_map<std::string_view, int32_t> contents;
  for (const AddedToken& token : spec.added) {
    if (token.id < 0 || static_cast<size_t>(token.id) >= kMaxTokens)
      throw IoError(fmt::format("{}: the added token '{}' has id {}, expected 0 to {}", spec.origin, token.content,
                                token.id, kMaxTokens - 1));
    if (token.content.size() > kMaxTokenBytes)
      throw IoError(fmt::format("{}: the added token {} has {} bytes, expected at most {}", spec.origin, token.id,
                                token.content.size(), kMaxTokenBytes));
    if (!ids.emplace(token.id, token.content).second)
      throw IoError(fmt::format("{}: two added tokens have the id {}", spec.origin, token.id));
    if (!contents.emplace(token.content, token.id).second)
      throw IoError(fmt::format("{}: the added token '{}' is listed twice", spec.origin, token.content));
    const size_t id = static_cast<size_t>(token.id);
    if (id < spec.tokens.size() && !spec.tokens[id].empty() && spec.tokens[id] != token.content)
      throw IoError(fmt::format("{}: the added token '{}' has id {}, which the vocabulary gives to '{}'", spec.origin,
                                token.content, id, spec.tokens[id]));
  }
}

void CheckSpecial(const TokenizerSpec& spec, std::string_view name, std::optional<int32_t> id) {
  if (!id) return;
  const auto has_text = [&](int32_t value) {
    if (static_cast<size_t>(value) < spec.tokens.size() && !spec.tokens[value].empty()) return true;
    for (const AddedToken& token : spec.added)
      if (token.id == value) return true;
    return false;
  };
  if (*id < 0 || !has_text(*id))
    throw IoError(fmt::format("{}: the {} token has id {}, which is not in the vocabulary of {} tokens", spec.origin,
                              name, *id, spec.tokens.size()));
}

}  // namespace

void CheckTokenizerSpec(const TokenizerSpec& spec) {
  CheckTokens(spec);
  CheckAdded(spec);
  const int32_t count = static_cast<int32_t>(spec.tokens.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank)
    for (const int32_t id : spec.merges[rank])
      if (id < 0 || id >= count)
        throw IoError(
            fmt::format("{}: merge {} refers to token {}, expected 0 to {}", spec.origin, rank, id, count - 1));
  CheckSpecial(spec, "beginning-of-sequence", spec.bos);
  CheckSpecial(spec, "end-of-sequence", spec.eos);
  CheckSpecial(spec, "padding", spec.pad);
  CheckSpecial(spec, "unknown", spec.unk);
  CheckSpecial(spec, "model's unknown", spec.unknown);
  if (spec.adds_eos && !spec.eos)
    throw IoError(fmt::format("{}: texts are to end with an end-of-sequence token, but none is named", spec.origin));
  if (spec.adds_bos && !spec.bos)
    throw IoError(
        fmt::format("{}: texts are to start with a beginning-of-sequence token, but none is named", spec.origin));
}

}  // namespace espalier
