// A tokenizer from tokenizer.json (PyPI tokenizers) and the tokenizer_config.json beside it.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/io/tokenizer_merges.h"
#include "espalier/io/tokenizer_spec.h"

namespace espalier {
namespace {

using nlohmann::json;

constexpr size_t kMaxFile = size_t{256} << 20;

// A value of the file with the way to it, so that every message can name file and key.
class Node {
 public:
  Node(const json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  bool IsNull() const { return value_->is_null(); }

  [[noreturn]] void Fail(const std::string& expected) const {
    const std::string text = value_->dump(-1, ' ', true, json::error_handler_t::replace);
    throw IoError(fmt::format("{}: found {}, expected {}", where_, text.size() > 60 ? text.substr(0, 57) + "..." : text,
                              expected));
  }

  // null when the key is absent.
  Node At(const std::string& key) const {
    static const json null;
    if (!value_->is_object()) Fail("an object");
    const auto found = value_->find(key);
    const bool top = where_.ends_with(": ");
    return Node(found == value_->end() ? null : *found, where_ + (top ? "" : ".") + key);
  }
  Node At(size_t index) const { return Node(value_->at(index), fmt::format("{}[{}]", where_, index)); }
  size_t ListSize() const {
    if (!value_->is_array()) Fail("a list");
    return value_->size();
  }

  const std::string& Text() const {
    if (!value_->is_string()) Fail("a string");
    return value_->get_ref<const std::string&>();
  }
  bool Flag(bool absent) const {
    if (IsNull()) return absent;
    if (!value_->is_boolean()) Fail("true or false");
    return value_->get<bool>();
  }
  int32_t Id() const {
    if (!value_->is_number_integer() || *value_ < 0 || *value_ >= static_cast<int64_t>(kMaxTokens))
      Fail(fmt::format("an id from 0 to {}", kMaxTokens - 1));
    return value_->get<int32_t>();
  }
  std::string Type() const { return At("type").Text(); }

 private:
  const json* value_;
  std::string where_;
};

void ReadNormalizer(const Node& node, TokenizerSpec& spec) {
  if (node.IsNull()) return;
  const std::string type = node.Type();
  if (type == "NFC") {
    spec.nfc = true;
  } else if (type == "Sequence") {
    const Node list = node.At("normalizers");
    for (size_t i = 0; i < list.ListSize(); ++i) ReadNormalizer(list.At(i), spec);
  } else {
    node.At("type").Fail("NFC, a Sequence of it, or no normalizer: others are not supported");
  }
}

SplitStep ReadSplit(const Node& node) {
  SplitStep step;
  step.kind = SplitStep::Kind::kPattern;
  if (node.At("behavior").Text() != "Isolated")
    node.At("behavior").Fail("\"Isolated\": other behaviours are not supported");
  const Node pattern = node.At("pattern");
  if (pattern.At("Regex").IsNull()) pattern.Fail("{\"Regex\": ...}: other patterns are not supported");
  step.pattern = pattern.At("Regex").Text();
  return step;
}

void ReadSteps(const Node& node, TokenizerSpec& spec) {
  const std::string type = node.Type();
  if (type == "Sequence") {
    const Node list = node.At("pretokenizers");
    for (size_t i = 0; i < list.ListSize(); ++i) ReadSteps(list.At(i), spec);
    return;
  }
  SplitStep step;
  if (type == "Split") {
    step = ReadSplit(node);
  } else if (type == "Digits") {
    step.kind = SplitStep::Kind::kDigits;
    step.individual = node.At("individual_digits").Flag(false);
  } else if (type == "ByteLevel") {
    step.prefix_space = node.At("add_prefix_space").Flag(true);
    step.use_regex = node.At("use_regex").Flag(true);
  } else {
    node.At("type").Fail("Split, Digits, ByteLevel or a Sequence of them: others are not supported");
  }
  spec.steps.push_back(std::move(step));
}

void ReadPreTokenizer(const Node& node, TokenizerSpec& spec) {
  if (node.IsNull()) node.Fail("a pre-tokenizer that ends with ByteLevel: only byte-level BPE is supported");
  ReadSteps(node, spec);
  const auto is_byte_level = [](const SplitStep& step) { return step.kind == SplitStep::Kind::kByteLevel; };
  // After ByteLevel a piece is written in the byte alphabet, and what follows would split that.
  if (spec.steps.empty() || std::count_if(spec.steps.begin(), spec.steps.end(), is_byte_level) != 1 ||
      !is_byte_level(spec.steps.back()))
    node.Fail("exactly one ByteLevel, as the last pre-tokenizer: only byte-level BPE is supported");
}

void RefuseUnsupported(const Node& model) {
  if (!model.At("type").IsNull() && model.Type() != "BPE")
    model.At("type").Fail("\"BPE\" (byte-level): other models are not supported");
  if (model.At("byte_fallback").Flag(false)) model.At("byte_fallback").Fail("false: only byte-level BPE is supported");
  if (!model.At("dropout").IsNull() && model.At("dropout").value() != 0)
    model.At("dropout").Fail("null: ids would be random");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!model.At(key).IsNull() && !model.At(key).Text().empty())
      model.At(key).Fail("null or \"\": others are not supported");
}

void ReadVocabulary(const Node& vocabulary, TokenizerSpec& spec) {
  if (!vocabulary.value().is_object()) vocabulary.Fail("an object of tokens and ids");
  if (vocabulary.value().size() > kMaxTokens)
    throw IoError(
        fmt::format("{}: {} tokens, expected at most {}", vocabulary.where(), vocabulary.value().size(), kMaxTokens));
  int32_t last = -1;
  for (const auto& [token, id] : vocabulary.value().items())
    last = std::max(last, Node(id, fmt::format("{}['{}']", vocabulary.where(), token)).Id());
  spec.tokens.resize(static_cast<size_t>(last + 1));
  for (const auto& [token, id] : vocabulary.value().items()) {
    std::string& slot = spec.tokens[id.get<size_t>()];
    if (!slot.empty())
      throw IoError(
          fmt::format("{}: '{}' and '{}' have the same id {}", vocabulary.where(), slot, token, id.get<int64_t>()));
    slot = token;
  }
}

void ReadMerges(const Node& merges, TokenizerSpec& spec) {
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

void ReadModel(const Node& model, TokenizerSpec& spec) {
  RefuseUnsupported(model);
  ReadVocabulary(model.At("vocab"), spec);
  ReadMerges(model.At("merges"), spec);
  spec.ignore_merges = model.At("ignore_merges").Flag(false);
  spec.fuse_unknown = model.At("fuse_unk").Flag(false);
  const Node unknown = model.At("unk_token");
  if (unknown.IsNull() || unknown.Text().empty()) return;
  spec.unknown = IdOf(unknown.Text(), spec);
  if (!spec.unknown) unknown.Fail("a token of model.vocab");
}

void ReadAdded(const Node& list, TokenizerSpec& spec) {
  if (list.IsNull()) return;
  for (size_t i = 0; i < list.ListSize(); ++i) {
    const Node node = list.At(i);
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
std::optional<int32_t> TemplateStart(const Node& node, const TokenizerSpec& spec) {
  if (node.IsNull()) return std::nullopt;
  if (node.Type() == "Sequence") {
    const Node list = node.At("processors");
    for (size_t i = 0; i < list.ListSize(); ++i)
      if (const std::optional<int32_t> id = TemplateStart(list.At(i), spec)) return id;
  }
  if (node.Type() != "TemplateProcessing") return std::nullopt;
  const Node single = node.At("single");
  if (single.ListSize() == 0 || single.At(0).At("SpecialToken").IsNull()) return std::nullopt;
  const Node name = single.At(0).At("SpecialToken").At("id");
  const std::optional<int32_t> id = IdOf(name.Text(), spec);
  if (!id) name.Fail("a token of the vocabulary");
  return id;
}

// A token in tokenizer_config.json: a string, or an object with its content.
std::optional<int32_t> ConfiguredToken(const Node& config, const std::string& key, const TokenizerSpec& spec) {
  const Node node = config.At(key);
  if (node.IsNull()) return std::nullopt;
  const Node content = node.value().is_object() ? node.At("content") : node;
  const std::optional<int32_t> id = IdOf(content.Text(), spec);
  if (!id) content.Fail("a token of the vocabulary");
  return id;
}

void ReadConfig(const std::filesystem::path& path, TokenizerSpec& spec) {
  const json parsed = ParseSortedJson(ReadFile(path, kMaxFile), path.string());
  const Node config(parsed, path.string() + ": ");
  if (!spec.bos) spec.bos = ConfiguredToken(config, "bos_token", spec);
  spec.eos = ConfiguredToken(config, "eos_token", spec);
  spec.pad = ConfiguredToken(config, "pad_token", spec);
  spec.unk = ConfiguredToken(config, "unk_token", spec);
  if (!spec.adds_bos && spec.bos) spec.adds_bos = config.At("add_bos_token").Flag(false);
  const Node chat = config.At("chat_template");
  if (chat.value().is_string()) spec.chat_template = chat.Text();
}

}  // namespace

TokenizerSpec ReadTokenizerJson(const std::filesystem::path& path) {
  TokenizerSpec spec;
  spec.origin = path.string();
  spec.folder = path.parent_path().empty() ? std::filesystem::path(".") : path.parent_path();
  const json parsed = ParseSortedJson(ReadFile(path, kMaxFile), spec.origin);
  const Node root(parsed, spec.origin + ": ");
  if (root.At("model").IsNull()) root.At("model").Fail("an object with type, vocab and merges");
  RefuseUnsupported(root.At("model"));
  ReadNormalizer(root.At("normalizer"), spec);
  ReadPreTokenizer(root.At("pre_tokenizer"), spec);
  ReadModel(root.At("model"), spec);
  ReadAdded(root.At("added_tokens"), spec);
  spec.bos = TemplateStart(root.At("post_processor"), spec);
  spec.adds_bos = spec.bos.has_value();
  const std::filesystem::path config = *spec.folder / "tokenizer_config.json";
  if (std::filesystem::exists(config)) ReadConfig(config, spec);
  return spec;
}

}  // namespace espalier
