// A tokenizer from the metadata of a GGUF file.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/io/gguf.h"
#include "espalier/io/tokenizer_merges.h"
#include "espalier/io/tokenizer_spec.h"
#include "gguf_token_type.h"

namespace espalier {
namespace {

const TokenizerFamily& FamilyNamed(const std::string& pre, const std::string& origin) {
  std::vector<std::string> known;
  for (const TokenizerFamily& family : TokenizerFamilies()) {
    for (const std::string_view name : family.pre_names) {
      if (name == pre) return family;
      known.push_back(fmt::format("{} ({})", name, family.name));
    }
  }
  throw IoError(fmt::format("{}: tokenizer.ggml.pre is '{}', which is not supported; supported: {}", origin, pre,
                            fmt::join(known, ", ")));
}

bool IsSentencePiece(const GgufFile& file) {
  const std::string& model = file.Text("tokenizer.ggml.model");
  if (model != "gpt2" && model != "llama")
    throw IoError(
        fmt::format("{}: tokenizer.ggml.model is '{}', which is not supported; supported: gpt2 (byte-level BPE), "
                    "llama (SentencePiece BPE)",
                    file.path().string(), model));
  return model == "llama";
}

bool Flag(const GgufFile& file, const std::string& name, bool absent) {
  const std::string key = "tokenizer.ggml." + name;
  return file.Has(key) ? file.Bool(key) : absent;
}

void ApplyFamily(const GgufFile& file, TokenizerSpec& spec) {
  if (!file.Has("tokenizer.ggml.pre"))
    throw IoError(
        fmt::format("{}: tokenizer.ggml.pre is missing, so nothing says how texts are split; convert the model again "
                    "with a current converter",
                    spec.origin));
  const TokenizerFamily& family = FamilyNamed(file.Text("tokenizer.ggml.pre"), spec.origin);
  spec.steps = family.steps;
  spec.normalizers = family.normalizers;
  spec.ignore_merges = family.ignore_merges;
  spec.adds_bos = family.adds_bos;
  if (Flag(file, "add_space_prefix", false)) {
    for (SplitStep& step : spec.steps)
      if (step.kind == SplitStep::Kind::kByteLevel) step.prefix_space = true;
  }
}

void CheckOneEach(size_t count, const char* key, const TokenizerSpec& spec) {
  if (count != spec.tokens.size())
    throw IoError(fmt::format("{}: {} has {} entries, expected {}, one for each token", spec.origin, key, count,
                              spec.tokens.size()));
}

// The types of the tokens; 1 (normal) for all when the file says nothing.
std::vector<int64_t> ReadTokens(const GgufFile& file, TokenizerSpec& spec) {
  spec.tokens = file.TextList("tokenizer.ggml.tokens");
  if (spec.tokens.size() > kMaxTokens)
    throw IoError(fmt::format("{}: {} tokens, expected at most {}", spec.origin, spec.tokens.size(), kMaxTokens));
  if (!file.Has("tokenizer.ggml.token_type")) return std::vector<int64_t>(spec.tokens.size(), kNormal);
  std::vector<int64_t> types = file.IntList("tokenizer.ggml.token_type");
  CheckOneEach(types.size(), "tokenizer.ggml.token_type", spec);
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < kNormal || types[id] > kByte)
      throw IoError(
          fmt::format("{}: tokenizer.ggml.token_type[{}] is {}, expected 1 to 6", spec.origin, id, types[id]));
    if (types[id] == kUnused) spec.tokens[id].clear();  // padding of the embedding: no text stands for it
    if (types[id] != kControl && types[id] != kUserDefined && types[id] != kUnknown) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = spec.tokens[id];
    token.special = types[id] != kUserDefined;
    if (!token.content.empty()) spec.added.push_back(std::move(token));
  }
  return types;
}

void ReadMerges(const GgufFile& file, TokenizerSpec& spec) {
  MergeReader merges(spec, spec.origin + ": tokenizer.ggml.merges");
  for (const std::string& line : file.TextList("tokenizer.ggml.merges")) merges.AddLine(line);
}

void ReadScores(const GgufFile& file, const std::vector<int64_t>& types, TokenizerSpec& spec) {
  const std::vector<double>& scores = file.RealList("tokenizer.ggml.scores");
  CheckOneEach(scores.size(), "tokenizer.ggml.scores", spec);
  std::vector<bool> usable;
  for (const int64_t type : types) usable.push_back(type == kNormal);
  AddScoredMerges(spec, scores, usable, spec.origin + ": tokenizer.ggml.scores");
}

std::optional<int32_t> SpecialId(const GgufFile& file, const std::string& key, std::optional<int32_t> absent,
                                 const TokenizerSpec& spec) {
  if (!file.Has(key)) return absent;
  const int64_t id = file.Int(key);
  if (id < 0 || static_cast<size_t>(id) >= spec.tokens.size())
    throw IoError(fmt::format("{}: {} is {}, expected 0 to {}, an id of the vocabulary", spec.origin, key, id,
                              spec.tokens.size() - 1));
  return static_cast<int32_t>(id);
}

}  // namespace

// What is not in the file is what llama.cpp takes for it (src/llama-vocab.cpp, llama_vocab::impl::load).
TokenizerSpec ReadTokenizerGguf(const GgufFile& file) {
  TokenizerSpec spec;
  spec.origin = file.path().string();
  const bool scored = IsSentencePiece(file);
  if (scored) {
    ApplySentencePiece(Flag(file, "add_space_prefix", true), spec);
    spec.bos = 1, spec.eos = 2, spec.unk = 0, spec.adds_bos = true;
  } else {
    ApplyFamily(file, spec);
  }
  const std::vector<int64_t> types = ReadTokens(file, spec);
  scored ? ReadScores(file, types, spec) : ReadMerges(file, spec);
  spec.bos = SpecialId(file, "tokenizer.ggml.bos_token_id", spec.bos, spec);
  spec.eos = SpecialId(file, "tokenizer.ggml.eos_token_id", spec.eos, spec);
  spec.unk = SpecialId(file, "tokenizer.ggml.unknown_token_id", spec.unk, spec);
  spec.pad = SpecialId(file, "tokenizer.ggml.padding_token_id", std::nullopt, spec);
  if (scored) spec.unknown = spec.unk;
  spec.adds_bos = Flag(file, "add_bos_token", spec.adds_bos);
  spec.adds_eos = Flag(file, "add_eos_token", false);
  if (file.Has("tokenizer.chat_template")) spec.chat_template = file.Text("tokenizer.chat_template");
  return spec;
}

}  // namespace espalier
