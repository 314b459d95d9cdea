// Writing a tokenizer as PyPI tokenizers and transformers read it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/io/tokenizer_spec.h"

namespace espalier {
namespace {

// Vocabularies are objects of 10^5 keys, which Json would search one by one.
using nlohmann::json;

constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt",     "added_tokens.json",     "chat_template.jinja",     "tokenizer.model"};

std::string ContentOf(const TokenizerSpec& spec, int32_t id) {
  for (const AddedToken& token : spec.added)
    if (token.id == id) return token.content;
  return spec.tokens.at(static_cast<size_t>(id));
}

// A list of steps as a pre-tokenizer, normalizer or decoder; `key` is what a Sequence calls its parts.
json SequenceJson(const char* key, json parts) {
  if (parts.empty()) return nullptr;
  return {{"type", "Sequence"}, {key, std::move(parts)}};
}

json ReplaceJson(const std::string& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}

json NormalizeStepJson(const NormalizeStep& step) {
  if (step.kind == NormalizeStep::Kind::kNfc) return {{"type", "NFC"}};
  if (step.kind == NormalizeStep::Kind::kPrepend) return {{"type", "Prepend"}, {"prepend", step.content}};
  return ReplaceJson(step.pattern, step.content);
}

json MetaspaceJson(const std::string& replacement, SplitStep::Prepend prepend, bool cut) {
  constexpr const char* kSchemes[] = {"never", "first", "always"};
  return {{"type", "Metaspace"},
          {"replacement", replacement},
          {"prepend_scheme", kSchemes[static_cast<size_t>(prepend)]},
          {"split", cut}};
}

json DecodeStepJson(const DecodeStep& step) {
  if (step.kind == DecodeStep::Kind::kFuse) return {{"type", "Fuse"}};
  if (step.kind == DecodeStep::Kind::kByteFallback) return {{"type", "ByteFallback"}};
  if (step.kind == DecodeStep::Kind::kStrip)
    return {{"type", "Strip"}, {"content", step.pattern}, {"start", step.start}, {"stop", step.stop}};
  if (step.drops_in_first) return MetaspaceJson(step.pattern, SplitStep::Prepend::kAlways, true);
  return ReplaceJson(step.pattern, step.content);
}

json ByteLevelJson(const SplitStep& step) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", step.prefix_space},
          {"trim_offsets", true},
          {"use_regex", step.use_regex}};
}

json StepJson(const SplitStep& step) {
  if (step.kind == SplitStep::Kind::kDigits) return {{"type", "Digits"}, {"individual_digits", step.individual}};
  if (step.kind == SplitStep::Kind::kByteLevel) return ByteLevelJson(step);
  if (step.kind == SplitStep::Kind::kMetaspace) return MetaspaceJson(step.pattern, step.prepend, step.cut);
  const bool is_regex = step.kind == SplitStep::Kind::kPattern;
  return {{"type", "Split"},
          {"pattern", {{is_regex ? "Regex" : "String", step.pattern}}},
          {"behavior", is_regex ? "Isolated" : "MergedWithPrevious"},
          {"invert", false}};
}

json ModelJson(const TokenizerSpec& spec) {
  json vocabulary = json::object(), merges = json::array();
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (!spec.tokens[id].empty()) vocabulary[spec.tokens[id]] = id;
  for (const auto& merge : spec.merges) merges.push_back({spec.tokens[merge[0]], spec.tokens[merge[1]]});
  json model = {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", spec.fuse_unknown},
                {"byte_fallback", spec.byte_fallback},
                {"ignore_merges", spec.ignore_merges},
                {"vocab", std::move(vocabulary)},
                {"merges", std::move(merges)}};
  if (spec.unknown) model["unk_token"] = ContentOf(spec, *spec.unknown);
  return model;
}

json AddedJson(const TokenizerSpec& spec) {
  json list = json::array();
  for (const AddedToken& token : spec.added)
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  return list;
}

// What puts the tokens of beginning and end around a text when special tokens are asked for.
json PostProcessorJson(const TokenizerSpec& spec) {
  if (!spec.adds_bos && !spec.adds_eos) return nullptr;
  json tokens = json::object();
  const auto around = [&](json& list, const char* name, int type) {
    const auto special = [&](int32_t id) {
      const std::string content = ContentOf(spec, id);
      tokens[content] = {{"id", content}, {"ids", json::array({id})}, {"tokens", json::array({content})}};
      list.push_back({{"SpecialToken", {{"id", content}, {"type_id", type}}}});
    };
    if (spec.adds_bos) special(*spec.bos);
    list.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (spec.adds_eos) special(*spec.eos);
  };
  json single = json::array(), pair = json::array();
  around(single, "A", 0);
  around(pair, "A", 0);
  around(pair, "B", 1);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(tokens)}};
}

json TokenizerJson(const TokenizerSpec& spec) {
  json normalizers = json::array(), steps = json::array(), decoders = json::array();
  for (const NormalizeStep& step : spec.normalizers) normalizers.push_back(NormalizeStepJson(step));
  for (const SplitStep& step : spec.steps) steps.push_back(StepJson(step));
  for (const DecodeStep& step : spec.decoders) decoders.push_back(DecodeStepJson(step));
  json decoder = spec.byte_fallback ? SequenceJson("decoders", std::move(decoders)) : ByteLevelJson(SplitStep{});
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedJson(spec)},
          {"normalizer", SequenceJson("normalizers", std::move(normalizers))},
          {"pre_tokenizer", SequenceJson("pretokenizers", std::move(steps))},
          {"post_processor", PostProcessorJson(spec)},
          {"decoder", std::move(decoder)},
          {"model", ModelJson(spec)}};
}

json ConfigJson(const TokenizerSpec& spec) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", spec.adds_bos},
                 {"add_eos_token", spec.adds_eos}};
  if (spec.bos) config["bos_token"] = ContentOf(spec, *spec.bos);
  if (spec.eos) config["eos_token"] = ContentOf(spec, *spec.eos);
  if (spec.unk) config["unk_token"] = ContentOf(spec, *spec.unk);
  if (spec.pad) config["pad_token"] = ContentOf(spec, *spec.pad);
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config;
}

void WriteSorted(const std::filesystem::path& path, const json& content) {
  WriteFile(path, content.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace

void SaveTokenizer(const TokenizerSpec& spec, const std::filesystem::path& folder) {
  if (spec.folder) {
    for (const char* name : kTokenizerFiles)
      if (std::filesystem::exists(*spec.folder / name)) WriteFile(folder / name, ReadFile(*spec.folder / name));
    // One under another name was asked for by that name.
    if (const std::filesystem::path own = spec.origin;
        own.extension() == ".json" && own.filename() != kTokenizerFiles[0])
      WriteFile(folder / kTokenizerFiles[0], ReadFile(own));
    return;
  }
  WriteSorted(folder / "tokenizer.json", TokenizerJson(spec));
  WriteSorted(folder / "tokenizer_config.json", ConfigJson(spec));
}

}  // namespace espalier
