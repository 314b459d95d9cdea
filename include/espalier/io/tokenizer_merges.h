#pragma once
// Merges turned into ids: as they are written, or as the scores of a vocabulary imply them.
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "espalier/io/tokenizer_spec.h"

namespace espalier {

class MergeReader {
 public:
  // `where`: file and key, for messages. Keeps a reference to the spec, whose tokens must not change any more.
  MergeReader(TokenizerSpec& spec, std::string where);

  void Add(std::string_view left, std::string_view right);
  void AddLine(std::string_view line);  // "left right", with exactly one space: the byte alphabet has none

 private:
  int32_t IdOf(std::string_view token, std::string_view line) const;

  TokenizerSpec& spec_;
  std::string where_;
  std::unordered_map<std::string_view, int32_t> ids_;
  std::unordered_set<uint64_t> seen_;
};

// The merges of a vocabulary with a score for each token, as SentencePiece and llama.cpp (llm_tokenizer_spm) apply it:
// any two neighbours merge that are together a token, the best score first and of equal scores the leftmost. Only the
// tokens in `usable` are made or used; a character that is no token merges with nothing. `where`: file and key.
//
// As a list without equal ranks, which is all that tokenizer.json can hold, the merges into one token come in the order
// of transformers' converter, the longest left side first. That gives other ids only where a text can be merged into
// the same token twice with an overlap, as a|aa|a could into aaa.
void AddScoredMerges(TokenizerSpec& spec, const std::vector<double>& scores, const std::vector<bool>& usable,
                     const std::string& where);

}  // namespace espalier
