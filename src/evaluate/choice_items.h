#pragma once
// Items of a multiple-choice set, and the token sequences that score them.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizer.h"

namespace espalier {

struct ChoiceItem {
  std::string context;
  std::vector<std::string> choices;
  int64_t answer = 0;
};

struct ChoiceItems {
  std::vector<ChoiceItem> items;
  std::string sha256;  // of the items read
};

// A JSON object a line with "context", "choices" (at least two, none empty) and "answer" (index of the right one). At
// most `limit` items (0: all). IoError with file:line for anything else.
ChoiceItems ReadChoiceItems(const std::filesystem::path& path, int64_t limit);

// One choice of one item: context and choice as one sequence, of which the tokens from `first_scored` on are the
// choice.
struct Continuation {
  int64_t item = 0;
  std::vector<int64_t> ids;
  int64_t first_scored = 1;
  double characters = 1;  // of the choice, without the delimiter: what accuracy_norm divides by
};

// In the order of items and choices. Context and choice are tokenized together, white space at the context's end as
// part of the choice, and the choice is what follows the context's own tokens (as lm-evaluation-harness does it). BOS
// stands before everything where the tokenizer wants it; an empty context is BOS or EOS alone.
std::vector<Continuation> EncodeContinuations(const ChoiceItems& items, const Tokenizer& tokenizer,
                                              std::string_view delimiter);

}  // namespace espalier
