// A tokenizer from tokenizer.json (PyPI tokenizers) and the tokenizer_config.json beside it.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/io/tokenizer_merges.h"
#include "espalier/io/tokenizer_spec.h"
#include "json_node.h"
#include "tokenizer_json_steps.h"

namespace espalier {
namespace {

using nlohmann::json;

constexpr size_t kMaxFile = size_t{256} << 20;

void RefuseUnsupported(const JsonNode& model) {
  if (!model.At("type").IsNull() && model.Type() != "BPE")
    model.At("type").Fail("\"BPE\": other models are not supported");
  if (!model.At("dropout").IsNull() && model.At("dropout").value() != 0)
    model.At("dropout").Fail("null: ids would be random");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!model.At(key).IsNull() && !model.At(key).Text().empty())
      model.At(key).Fail("null or \"\": others are not supported");
}

void ReadVocabulary(const JsonNode& vocabulary, TokenizerSpec& spec) {
  if (!vocabulary.value().is_object()) vocabulary.Fail("an object of tokens and ids");
  if (vocabulary.value().size() > kMaxTokens)
    throw IoError(
        fmt::format("{}: {} tokens, expected at most {}", vocabulary.where(), vocabulary.value().size(), kMaxTokens));
  int32_t last = -1;
  for (const auto& [token, id] : vocabulary.value().items())
    last = std::max(last, JsonNode(id, fmt::format("{}['{}']", vocabulary.where(), token)).Id());
  spec.tokens.resize(static_cast<size_t>(last) + 1);
  for (const auto& [token, id] : vocabulary.value().items()) {
    std::string& slot = spec.tokens[id.get<size_t>()];
    if (!slot.empty())
      throw IoError(
          fmt::format("{}: '{}' and '{}' have the same id {}", vocabulary.where(), slot, token, id.get<int64_t>()));
    slot = token;
  }
}

void ReadMerges(const JsonNode& merges, TokenizerSpec& spec) {
  MergeReader reader(spec, merges.where());
  for (size_t i = 0; i < merges.ListSize(); ++i) {
    const json& merge = merges.value()[i];
    if (merge.is_string()) {
      reader.AddLine(merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      reader.Add(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    } else {
      merges.At(i).Fail("\"left right\" or [\"left\", \"right\"]");
    }
  }
}

std::optional<int32_t> IdOf(std::string_view content, const TokenizerSpec& spec) {
  for (const AddedToken& token : spec.added)
    if (token.content == content) return token.id;
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), content);
  if (content.empty() || found == spec.tokens.end()) return std::nullopt;
  return static_cast<int32_t>(found - spec.tokens.begin());
}

void ReadModel(const JsonNode& model, TokenizerSpec& spec) {
  RefuseUnsupported(model);
  ReadVocabulary(model.At("vocab"), spec);
  ReadMerges(model.At("merges"), spec);
  spec.ignore_merges = model.At("ignore_merges").Flag(false);
  spec.fuse_unknown = model.At("fuse_unk").Flag(false);
  const JsonNode unknown = model.At("unk_token");
  if (unknown.IsNull() || unknown.Text().empty()) return;
  spec.unknown = IdOf(unknown.Text(), spec);
  if (!spec.unknown) unknown.Fail("a token of model.vocab");
}

void ReadAdded(const JsonNode& list, TokenizerSpec& spec) {
  if (list.IsNull()) return;
  for (size_t i = 0; i < list.ListSize(); ++i) {
    const JsonNode node = list.At(i);
    AddedToken token;
    token.id = node.At("id").Id();
    token.content = node.At("content").Text();
    token.special = node.At("special").Flag(false);
    token.lstrip = node.At("lstrip").Flag(false);
    token.rstrip = node.At("rstrip").Flag(false);
    token.single_word = node.At("single_word").Flag(false);
    token.normalized = node.At("normalized").Flag(!token.special);
    spec.added.push_back(std::move(token));
  }
}

// The id of the token that the post-processor puts before a single text, if it does.
std::optional<int32_t> TemplateStart(const JsonNode& node, const TokenizerSpec& spec) {
  if (node.IsNull()) return std::nullopt;
  if (node.Type() == "Sequence") {
    const JsonNode list = node.At("processors");
    for (size_t i = 0; i < list.ListSize(); ++i)
      if (const std::optional<int32_t> id = TemplateStart(list.At(i), spec)) return id;
  }
  if (node.Type() != "TemplateProcessing") return std::nullopt;
  const JsonNode single = node.At("single");
  if (single.ListSize() == 0 || single.At(0).At("SpecialToken").IsNull()) return std::nullopt;
  const JsonNode name = single.At(0).At("SpecialToken").At("id");
  const std::optional<int32_t> id = IdOf(name.Text(), spec);
  if (!id) name.Fail("a token of the vocabulary");
  return id;
}

// A token in tokenizer_config.json: a string, or an object with its content.
std::optional<int32_t> ConfiguredToken(const JsonNode& config, const std::string& key, const TokenizerSpec& spec) {
  const JsonNode node = config.At(key);
  if (node.IsNull()) return std::nullopt;
  const JsonNode content = node.value().is_object() ? node.At("content") : node;
  const std::optional<int32_t> id = IdOf(content.Text(), spec);
  if (!id) content.Fail("a token of the vocabulary");
  return id;
}

void ReadConfig(const std::filesystem::path& path, TokenizerSpec& spec) {
  const json parsed = ParseSortedJson(ReadFile(path, kMaxFile), path.string());
  const JsonNode config(parsed, path.string() + ": ");
  if (!spec.bos) spec.bos = ConfiguredToken(config, "bos_token", spec);
  spec.eos = ConfiguredToken(config, "eos_token", spec);
  spec.pad = ConfiguredToken(config, "pad_token", spec);
  spec.unk = ConfiguredToken(config, "unk_token", spec);
  if (!spec.adds_bos && spec.bos) spec.adds_bos = config.At("add_bos_token").Flag(false);
  const JsonNode chat = config.At("chat_template");
  if (chat.value().is_string()) spec.chat_template = chat.Text();
}

}  // namespace

TokenizerSpec ReadTokenizerJson(const std::filesystem::path& path) {
  TokenizerSpec spec;
  spec.origin = path.string();
  spec.folder = path.parent_path().empty() ? std::filesystem::path(".") : path.parent_path();
  const json parsed = ParseSortedJson(ReadFile(path, kMaxFile), spec.origin);
  const JsonNode root(parsed, spec.origin + ": ");
  if (root.At("model").IsNull()) root.At("model").Fail("an object with type, vocab and merges");
  RefuseUnsupported(root.At("model"));
  spec.byte_fallback = root.At("model").At("byte_fallback").Flag(false);
  ReadNormalizer(root.At("normalizer"), spec);
  ReadPreTokenizer(root.At("pre_tokenizer"), spec);
  if (spec.byte_fallback) ReadDecoder(root.At("decoder"), spec);
  ReadModel(root.At("model"), spec);
  ReadAdded(root.At("added_tokens"), spec);
  spec.bos = TemplateStart(root.At("post_processor"), spec);
  spec.adds_bos = spec.bos.has_value();
  const std::filesystem::path config = *spec.folder / "tokenizer_config.json";
  if (std::filesystem::exists(config)) ReadConfig(config, spec);
  const std::filesystem::path chat = *spec.folder / "chat_template.jinja";  // where newer transformers keep it
  if (spec.chat_template.empty() && std::filesystem::exists(chat)) spec.chat_template = ReadFile(chat, kMaxFile);
  return spec;
}

}  // namespace espalier
