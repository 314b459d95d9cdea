// The families of BPE tokenizers that are supported. Sources: their tokenizer.json files; the names of GGUF from
// llama.cpp src/llama-vocab.cpp.
#include "espalier/io/tokenizer_spec.h"

namespace espalier {
namespace {

SplitStep Digits() {
  SplitStep step;
  step.kind = SplitStep::Kind::kDigits;
  step.individual = true;
  return step;
}

SplitStep Pattern(std::string pattern) {
  SplitStep step;
  step.kind = SplitStep::Kind::kPattern;
  step.pattern = std::move(pattern);
  return step;
}

SplitStep ByteLevel(bool use_regex) {
  SplitStep step;
  step.use_regex = use_regex;
  return step;
}

std::string Llama3Pattern(const std::string& digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

}  // namespace

const std::string& Gpt2Pattern() {
  static const std::string pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  return pattern;
}

const std::vector<TokenizerFamily>& TokenizerFamilies() {
  static const std::vector<TokenizerFamily> families = {
      {"GPT-2", {"gpt-2"}, {ByteLevel(true)}, {}, false, false},
      {"SmolLM2", {"smollm", "starcoder"}, {Digits(), ByteLevel(true)}, {}, false, false},
      {"Llama-3",
       {"llama-bpe", "llama3", "llama-v3"},
       {Pattern(Llama3Pattern(R"(\p{N}{1,3})")), ByteLevel(false)},
       {},
       true,
       true},
      {"Qwen2", {"qwen2"}, {Pattern(Llama3Pattern(R"(\p{N})")), ByteLevel(false)}, {NormalizeStep{}}, false, false},
  };
  return families;
}

void ApplySentencePiece(bool space_prefix, TokenizerSpec& spec) {
  spec.byte_fallback = spec.fuse_unknown = true;
  if (space_prefix) spec.normalizers.push_back({NormalizeStep::Kind::kPrepend, "", kSpaceMark});
  spec.normalizers.push_back({NormalizeStep::Kind::kReplace, " ", kSpaceMark});
  spec.decoders = {
      {DecodeStep::Kind::kReplace, kSpaceMark, " "}, {DecodeStep::Kind::kByteFallback}, {DecodeStep::Kind::kFuse}};
  if (space_prefix) spec.decoders.push_back({DecodeStep::Kind::kStrip, " ", "", 1});
}

}  // namespace espalier
