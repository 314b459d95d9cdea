#pragma once
// The text of one token id, as valid UTF-8.
#include <cstdint>
#include <string>

namespace espalier {

class Tokenizer;

// Empty without a tokenizer, and for ids that pad the embedding beyond its vocabulary.
std::string TokenText(const Tokenizer* tokenizer, int64_t id);

}  // namespace espalier
