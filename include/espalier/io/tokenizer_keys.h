#pragma once
// The tokenizer's part of a GGUF file's metadata: copied, or written from a tokenizer.json.
#include "espalier/io/gguf.h"
#include "espalier/io/gguf_writer.h"
#include "espalier/io/tokenizer_spec.h"

namespace espalier {

// Every key of the group `tokenizer.`, byte for byte.
void CopyTokenizerKeys(const GgufFile& source, GgufWriter& writer);

// What llama.cpp's converter writes for the same tokenizer (conversion/base.py), with `vocabulary` tokens: ids of the
// embedding that no token has become unused ones. A SentencePiece vocabulary gets scores in the order of its merges.
// IoError: a byte-level tokenizer that splits texts as none of TokenizerFamilies does, or more tokens than
// `vocabulary`.
void AddTokenizerKeys(const TokenizerSpec& spec, int64_t vocabulary, GgufWriter& writer);

}  // namespace espalier
