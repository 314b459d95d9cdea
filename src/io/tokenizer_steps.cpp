#include "espalier/io/tokenizer_steps.h"

#include <numeric>

#include "espalier/io/tokenizer_bpe.h"
#include "espalier/io/unicode_classes.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

std::string Stripped(std::string_view text, const DecodeStep& step) {
  for (int64_t i = 0; i < step.start && text.starts_with(step.pattern); ++i) text.remove_prefix(step.pattern.size());
  for (int64_t i = 0; i < step.stop && text.ends_with(step.pattern); ++i) text.remove_suffix(step.pattern.size());
  return std::string(text);
}

// A character can be spread over several tokens, so that only a run of them tells whether its bytes are one.
std::vector<std::string> WithoutByteTokens(const std::vector<std::string>& tokens) {
  std::vector<std::string> texts;
  std::string bytes;
  const auto flush = [&] {
    if (FirstInvalidUtf8(bytes) == bytes.size()) {
      texts.push_back(bytes);
    } else {
      texts.insert(texts.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    const auto byte = ByteOfToken(token);
    if (byte) bytes += static_cast<char>(*byte);
    if (!byte && !bytes.empty()) flush();
    if (!byte) texts.push_back(token);
  }
  if (!bytes.empty()) flush();
  return texts;
}

void Apply(const DecodeStep& step, std::vector<std::string>& tokens) {
  switch (step.kind) {
    case DecodeStep::Kind::kReplace:
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = ReplaceAll(tokens[i], step.pattern, step.drops_in_first && i == 0 ? "" : step.content);
      return;
    case DecodeStep::Kind::kByteFallback:
      tokens = WithoutByteTokens(tokens);
      return;
    case DecodeStep::Kind::kFuse:
      tokens = {std::accumulate(tokens.begin(), tokens.end(), std::string())};
      return;
    case DecodeStep::Kind::kStrip:
      for (std::string& token : tokens) token = Stripped(token, step);
      return;
  }
}

}  // namespace

std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at = text.find(pattern); at != text.npos; at = text.find(pattern, done)) {
    out.append(text, done, at - done).append(content);
    done = at + pattern.size();
  }
  return out.append(text, done);
}

std::string Normalize(const std::vector<NormalizeStep>& steps, std::string_view text) {
  std::string out(text);
  for (const NormalizeStep& step : steps) {
    if (step.kind == NormalizeStep::Kind::kNfc) out = ToNfc(out);
    if (step.kind == NormalizeStep::Kind::kPrepend && !out.empty()) out.insert(0, step.content);
    if (step.kind == NormalizeStep::Kind::kReplace) out = ReplaceAll(out, step.pattern, step.content);
  }
  return out;
}

std::string JoinTokens(const std::vector<DecodeStep>& steps, std::vector<std::string> tokens) {
  for (const DecodeStep& step : steps) Apply(step, tokens);
  Apply(DecodeStep{}, tokens);  // joins
  return tokens.front();
}

}  // namespace espalier
