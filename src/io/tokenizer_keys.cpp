#include "espalier/io/tokenizer_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/io/tokenizer_bpe.h"
#include "gguf_token_type.h"

namespace espalier {
namespace {

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
};

Vocabulary VocabularyOf(const TokenizerSpec& spec, int64_t size) {
  Vocabulary vocabulary{spec.tokens, {}};
  if (static_cast<int64_t>(spec.tokens.size()) > size)
    throw IoError(fmt::format("{}: {} tokens, but the model's embedding has {} rows; is this the model's tokenizer?",
                              spec.origin, spec.tokens.size(), size));
  vocabulary.tokens.resize(static_cast<size_t>(size));
  vocabulary.types.assign(static_cast<size_t>(size), kNormal);
  for (const AddedToken& token : spec.added) {
    if (token.id >= size)
      throw IoError(fmt::format("{}: added token {} has id {}, but the model's embedding has {} rows", spec.origin,
                                token.content, token.id, size));
    vocabulary.tokens[static_cast<size_t>(token.id)] = token.content;
    vocabulary.types[static_cast<size_t>(token.id)] = token.special ? kControl : kUserDefined;
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    std::string& token = vocabulary.tokens[id];
    if (spec.byte_fallback && vocabulary.types[id] == kNormal && ByteOfToken(token)) vocabulary.types[id] = kByte;
    if (!token.empty()) continue;
    token = fmt::format("[PAD{}]", id);
    vocabulary.types[id] = kUnused;
  }
  if (spec.byte_fallback && spec.unk) vocabulary.types[static_cast<size_t>(*spec.unk)] = kUnknown;
  return vocabulary;
}

// The name by which llama.cpp knows how texts are split.
std::string_view PreName(const TokenizerSpec& spec) {
  for (const TokenizerFamily& family : TokenizerFamilies())
    if (family.steps == spec.steps && family.normalizers == spec.normalizers &&
        family.ignore_merges == spec.ignore_merges)
      return family.pre_names.front();
  throw IoError(fmt::format(
      "{}: no tokenizer.ggml.pre splits texts as this tokenizer does; give a GGUF file of the original model "
      "with --tokenizer",
      spec.origin));
}

void AddMerges(const TokenizerSpec& spec, GgufWriter& writer) {
  std::vector<std::string> merges;
  merges.reserve(spec.merges.size());
  for (const auto& merge : spec.merges)
    merges.push_back(spec.tokens[static_cast<size_t>(merge[0])] + " " + spec.tokens[static_cast<size_t>(merge[1])]);
  writer.AddTextList("tokenizer.ggml.merges", merges);
}

// The earlier a token can be made, the better its score; llama.cpp merges the best first.
void AddScores(const TokenizerSpec& spec, size_t size, GgufWriter& writer) {
  const float worst = -static_cast<float>(spec.merges.size()) - 1;
  std::vector<float> scores(size, worst);
  for (size_t i = spec.merges.size(); i-- > 0;) {
    const auto rank = spec.ranks.empty() ? static_cast<int32_t>(i) : spec.ranks[i];
    scores[static_cast<size_t>(spec.merges[i][2])] = -static_cast<float>(rank);
  }
  writer.AddFloat32List("tokenizer.ggml.scores", scores);
}

bool PrependsSpace(const TokenizerSpec& spec) {
  return std::any_of(spec.normalizers.begin(), spec.normalizers.end(),
                     [](const NormalizeStep& step) { return step.kind == NormalizeStep::Kind::kPrepend; }) ||
         std::any_of(spec.steps.begin(), spec.steps.end(),
                     [](const SplitStep& step) { return step.prepend != SplitStep::Prepend::kNever; });
}

}  // namespace

void CopyTokenizerKeys(const GgufFile& source, GgufWriter& writer) {
  for (const auto& [key, value] : source.metadata())
    if (key.starts_with("tokenizer.")) writer.AddRaw(key, source.RawValue(key));
}

void AddTokenizerKeys(const TokenizerSpec& spec, int64_t vocabulary, GgufWriter& writer) {
  const Vocabulary words = VocabularyOf(spec, vocabulary);
  writer.AddText("tokenizer.ggml.model", spec.byte_fallback ? "llama" : "gpt2");
  writer.AddText("tokenizer.ggml.pre", spec.byte_fallback ? "default" : PreName(spec));
  writer.AddTextList("tokenizer.ggml.tokens", words.tokens);
  writer.AddInt32List("tokenizer.ggml.token_type", words.types);
  spec.byte_fallback ? AddScores(spec, words.tokens.size(), writer) : AddMerges(spec, writer);
  const auto add_id = [&](const char* name, const std::optional<int32_t>& id) {
    if (id) writer.AddUint32(fmt::format("tokenizer.ggml.{}_token_id", name), *id);
  };
  add_id("bos", spec.bos), add_id("eos", spec.eos), add_id("unknown", spec.unk), add_id("padding", spec.pad);
  writer.AddBool("tokenizer.ggml.add_bos_token", spec.adds_bos);
  writer.AddBool("tokenizer.ggml.add_eos_token", spec.adds_eos);
  if (spec.byte_fallback) writer.AddBool("tokenizer.ggml.add_space_prefix", PrependsSpace(spec));
  if (!spec.chat_template.empty()) writer.AddText("tokenizer.chat_template", spec.chat_template);
}

}  // namespace espalier
