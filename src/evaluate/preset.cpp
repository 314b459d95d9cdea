#include "espalier/evaluate/preset.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {

at::Tensor EncodeText(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids = tokenizer.Encode(text);
  if (tokenizer.adds_bos() && tokenizer.bos()) ids.insert(ids.begin(), *tokenizer.bos());
  return at::tensor(at::ArrayRef<int32_t>(ids), at::kInt).to(at::kLong);
}

std::optional<int32_t> PrefixToken(const Tokenizer& tokenizer) {
  return tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
}

std::string BosText(const Tokenizer& tokenizer) {
  return tokenizer.adds_bos() && tokenizer.bos() ? "once, at the start of the text" : "none";
}

void RefuseWindow(const PresetOptions& options, std::string_view preset, int64_t own) {
  if (options.window && *options.window != own)
    throw RecipeError(
        fmt::format("perplexity: window {}: preset {} has windows of {}; leave it out, or use preset: strided",
                    *options.window, preset, own));
}

}  // namespace espalier
