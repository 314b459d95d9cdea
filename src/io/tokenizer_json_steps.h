#pragma once
// The parts of tokenizer.json that are lists of steps. Each throws IoError naming what is not supported, and what is.
#include "espalier/io/tokenizer_spec.h"
#include "json_node.h"

namespace espalier {

void ReadNormalizer(const JsonNode& node, TokenizerSpec& spec);
// Needs spec.byte_fallback: with it there must be no ByteLevel, without it exactly one, at the end.
void ReadPreTokenizer(const JsonNode& node, TokenizerSpec& spec);
// Only for byte fallback: texts of the byte alphabet are put together in one way.
void ReadDecoder(const JsonNode& node, TokenizerSpec& spec);

}  // namespace espalier
