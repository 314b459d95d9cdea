#pragma once
// Text as its bytes: the tokenizer of models that are trained from scratch on bytes.
#include <memory>

#include "espalier/io/tokenizer.h"

namespace espalier {

// Ids 0..255 are the bytes themselves; with `bos` there is also <bos>, id 256, before every text.
std::unique_ptr<Tokenizer> ByteTokenizer(bool bos);

}  // namespace espalier
