#pragma once
// Long prompts of an exact number of tokens, in which something is hidden.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/io/tokenizer.h"

namespace espalier {

// A prompt, and what a right answer to it holds.
struct Question {
  std::vector<int64_t> prompt;        // ids
  std::vector<int64_t> answer;        // ids that the prompt should be continued by, for their loss; empty: none
  std::vector<std::string> expected;  // texts that a right answer holds
};

class Haystack {
 public:
  // Sentences that say nothing, or the text of `essay`. IoError when that cannot be read.
  Haystack(const Tokenizer& tokenizer, const std::optional<std::filesystem::path>& essay);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const std::string& name() const { return name_; }      // "sentences", or the file's name
  const std::string& sha256() const { return sha256_; }  // of the text that is drawn from
  // Exactly `tokens` ids from a place that `item` chooses.
  std::vector<int64_t> Filler(int64_t tokens, uint64_t item) const;

 private:
  const Tokenizer& tokenizer_;
  std::string name_, sha256_;
  std::vector<int32_t> ids_;
};

// What a prompt is made of, in this order; needles stand at a depth in the filler, 0 its start and 1 its end.
struct PromptParts {
  std::string opening;
  std::vector<std::pair<double, std::string>> needles;
  std::string closing;
  std::string answer;  // may be empty
};
// A prompt of exactly `length` tokens. RecipeError when the parts alone are longer.
Question MakeQuestion(const Haystack& haystack, const PromptParts& parts, int64_t length, uint64_t item);

std::vector<int64_t> EncodeIds(const Tokenizer& tokenizer, std::string_view text);

}  // namespace espalier
