#pragma once
// Perplexity presets: what a protocol feeds and what it scores. One file each, registered by name; the five in use
// differ by up to 2x on one model.
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/registry.h"
#include "espalier/evaluate/windows.h"
#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/kv_cache.h"

namespace espalier {

struct PresetOptions {
  std::optional<int64_t> window;  // tokens; none: the preset's own
  int64_t stride = 512;           // strided only
  int64_t sinks = 4;              // streaming only
  int64_t limit = 0;              // at most this many windows (lm-eval: documents); 0: all
};

// A text ready to be scored.
struct ScoredText {
  at::Tensor ids;                     // [tokens] int64
  std::vector<ScoredWindow> windows;  // into ids, in text order; scored stretches do not overlap
  int64_t window = 0;                 // tokens, as the protocol states it
  std::optional<int64_t> stride;      // tokens between window starts, where the protocol states one
  std::string bos;                    // "none", "once, at the start of the text"
  CachePolicy cache;                  // what attention keeps of a window
  // First scored token of each document, counted over scored tokens; undefined: one text.
  at::Tensor documents;  // [documents] int64
  // Of the text before any change to it, where the protocol counts them: metrics per word and per byte follow.
  std::optional<int64_t> words, bytes;
  bool plus_minus = false;  // the protocol reports a standard error that takes tokens as independent
};

class PerplexityPreset {
 public:
  static constexpr std::string_view kKind = "perplexity preset";
  virtual ~PerplexityPreset() = default;
  // Appended to the results' id, so that two protocols on one text have results of their own; "" for gptq-2048.
  virtual std::string Suffix() const = 0;
  // RecipeError when the options contradict the protocol; said before any work.
  virtual void Check(const PresetOptions& options) const = 0;
  virtual ScoredText Prepare(const Tokenizer& tokenizer, const Corpus& corpus, const PresetOptions& options) const = 0;
};

// Ids of one text as a tensor, BOS before it where the tokenizer's convention asks for it.
at::Tensor EncodeText(const Tokenizer& tokenizer, std::string_view text);
// What a text that needs a token before its first one gets: BOS, else EOS, else nothing.
std::optional<int32_t> PrefixToken(const Tokenizer& tokenizer);
// What `bos` says of EncodeText.
std::string BosText(const Tokenizer& tokenizer);
// RecipeError when `window` is given to a preset that has its own.
void RefuseWindow(const PresetOptions& options, std::string_view preset, int64_t own);

}  // namespace espalier
