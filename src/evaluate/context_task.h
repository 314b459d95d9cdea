#pragma once
// Synthetic tasks over a long context, after RULER (Hsieh et al. 2024, arXiv 2404.06654), with texts of our own. One
// file a group of tasks, registered by name.
#include <string>
#include <string_view>

#include "espalier/core/registry.h"
#include "haystack.h"

namespace espalier {

class ContextTask {
 public:
  static constexpr std::string_view kKind = "context task";
  virtual ~ContextTask() = default;
  virtual int64_t Generated() const = 0;  // tokens that an answer may take
  // The question of number `item`, of exactly `length` tokens; expected is filled, answer empty. RecipeError when
  // `length` is too short for the task.
  virtual Question Make(const Haystack& haystack, int64_t length, uint64_t item) const = 0;
};

// Common nouns without a space in them.
std::string_view CommonWord(uint64_t index);
uint64_t CommonWords();  // how many there are

}  // namespace espalier
