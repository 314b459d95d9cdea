#include "token_text.h"

#include "espalier/io/tokenizer.h"
#include "espalier/io/utf8.h"

namespace espalier {

std::string TokenText(const Tokenizer* tokenizer, int64_t id) {
  if (tokenizer == nullptr || id >= tokenizer->vocabulary_size()) return "";
  const auto narrow = static_cast<int32_t>(id);
  return ReplaceInvalidUtf8(tokenizer->Decode({&narrow, 1}));  // a token may be a part of a character
}

}  // namespace espalier
