#pragma once
// A tokenizer without a file: each byte is the token of its value modulo the vocabulary.
#include <span>

#include "espalier/io/tokenizer.h"

namespace espalier {

class LetterTokenizer final : public Tokenizer {
 public:
  explicit LetterTokenizer(int64_t vocabulary, bool adds_bos = false) : vocabulary_(vocabulary), adds_bos_(adds_bos) {}
  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<int32_t>(static_cast<unsigned char>(c) % vocabulary_));
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids) const override { return std::string(ids.begin(), ids.end()); }
  int64_t vocabulary_size() const override { return vocabulary_; }
  std::optional<int32_t> bos() const override { return 0; }
  std::optional<int32_t> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return adds_bos_; }
  std::string Fingerprint() const override { return "letters"; }
  void Save(const std::filesystem::path&) const override {}

 private:
  int64_t vocabulary_;
  bool adds_bos_;
};

}  // namespace espalier
