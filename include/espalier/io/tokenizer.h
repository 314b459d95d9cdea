#pragma once
// BPE tokenizers from tokenizer.json or GGUF metadata: byte-level (GPT-2, SmolLM2, Llama-3, Qwen2) and SentencePiece's
// with byte fallback (Llama-2, Mistral, Gemma). Pruning never touches the vocabulary: this is for turning text into
// ids, the files themselves are copied.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

class GgufFile;

class Tokenizer {
 public:
  // `path`: a folder with tokenizer.json, a tokenizer.json, or a .gguf file. IoError naming what is not supported (a
  // unigram model, a normalizer that lower-cases, an unknown tokenizer.ggml.pre) and what is.
  static std::unique_ptr<Tokenizer> Open(const std::filesystem::path& path);
  static std::unique_ptr<Tokenizer> FromGguf(const GgufFile& file);
  static std::unique_ptr<Tokenizer> FromJson(const std::filesystem::path& tokenizer_json);
  virtual ~Tokenizer() = default;

  // Ids of `text` without BOS or EOS; added tokens in the text are recognised. Invalid UTF-8 is replaced by U+FFFD.
  // Thread-safe. Long texts are split at safe places and encoded in parallel; the ids do not depend on the split.
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  // The text of `ids`, special tokens included.
  virtual std::string Decode(std::span<const int32_t> ids) const = 0;

  virtual int64_t vocabulary_size() const = 0;
  virtual std::optional<int32_t> bos() const = 0;  // the beginning-of-sequence id, if the model has one
  virtual std::optional<int32_t> eos() const = 0;
  virtual bool adds_bos() const = 0;  // whether the model's convention puts BOS before every text
  // SHA-256 over vocabulary, merges, added tokens, normalizers and pattern: equal for one tokenizer in two formats.
  virtual std::string Fingerprint() const = 0;
  // Writes tokenizer.json and tokenizer_config.json that PyPI `tokenizers` and transformers read to the same ids. When
  // it was opened from a folder, the tokenizer files of that folder are copied byte for byte instead. One exception to
  // the same ids: merges by score have ties, which tokenizer.json cannot express (AddScoredMerges).
  virtual void Save(const std::filesystem::path& folder) const = 0;
};

}  // namespace espalier
