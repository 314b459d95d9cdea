#pragma once
// What a perplexity protocol scores: stretches of tokens, and which of their predictions count.
#include <cstdint>
#include <vector>

namespace espalier {

// Tokens [begin, end) are fed at once; predictions of tokens [first_scored, end) count.
struct ScoredWindow {
  int64_t begin = 0, end = 0, first_scored = 0;
  bool operator==(const ScoredWindow&) const = default;
};

// `gptq`: windows that do not overlap, the remainder dropped, the first token of each unscored. At most `limit` (0:
// all).
std::vector<ScoredWindow> GptqWindows(int64_t tokens, int64_t window, int64_t limit);

// `strided` (Hugging Face's guide): windows that start every `stride` tokens, fewer than `window`; each token but the
// very first is scored once, in the first window that reaches it.
std::vector<ScoredWindow> StridedWindows(int64_t tokens, int64_t window, int64_t stride, int64_t limit);

// `lm-eval`: a document of `tokens` tokens after one prefix token at place 0. Each is scored once: the first window
// holds prefix and the first `window` tokens, every other one as much context as fits before the at most `window`
// tokens that it scores.
std::vector<ScoredWindow> RollingWindows(int64_t tokens, int64_t window);

}  // namespace espalier
