#pragma once
// What happens to a text before it is cut into pieces, and to the texts of tokens when they are put together again.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizer_spec.h"

namespace espalier {

// `text` with every `pattern` (not empty) replaced, from left to right.
std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content);

// `text` is valid UTF-8.
std::string Normalize(const std::vector<NormalizeStep>& steps, std::string_view text);

// The text of `tokens`, as PyPI tokenizers puts it together; a run of byte tokens that is no valid UTF-8 becomes one
// U+FFFD a byte.
std::string JoinTokens(const std::vector<DecodeStep>& steps, std::vector<std::string> tokens);

}  // namespace espalier
