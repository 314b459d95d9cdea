#pragma once
// tokenizer.ggml.token_type (llama.cpp include/llama.h, llama_token_type).
#include <cstdint>

namespace espalier {

enum GgufTokenType : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

}  // namespace espalier
