#pragma once
// Added tokens: found in a text before it is normalized and pre-tokenized.
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "espalier/io/tokenizer_spec.h"

namespace espalier {

// A stretch of text: an added token, or plain text still to be encoded.
struct TextSegment {
  std::optional<int32_t> id;
  std::string_view text;
};

class AddedTokenMatcher {
 public:
  // `tokens` with the contents to look for (normalized already, where the token says so). Empty contents never match.
  explicit AddedTokenMatcher(const std::vector<AddedToken>& tokens);

  // `text` (valid UTF-8) cut at its added tokens: leftmost first, the longest of those that start there. As in PyPI
  // tokenizers, a match that single_word rejects is passed over whole, and not replaced by a shorter one.
  std::vector<TextSegment> Cut(std::string_view text) const;

 private:
  const AddedToken* LongestAt(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string_view, size_t> by_content_;
  std::array<std::vector<size_t>, 256>
      lengths_;  // by first byte: lengths of contents that start with it, longest first
};

}  // namespace espalier
