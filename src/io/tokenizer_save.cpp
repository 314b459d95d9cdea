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
    "merges.txt",     "added_tokens.json",     "chat_template.jinja"};

std::string ContentOf(const TokenizerSpec& spec, int32_t id) {
  for (const AddedToken& token : spec.added)
    if (token.id == id) return token.content;
  return spec.tokens.at(static_cast<size_t>(id));
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
  return {{"type", "Split"}, {"pattern", {{"Regex", step.pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
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
                {"byte_fallback", false},
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

// What puts the beginning-of-sequence token before a text when special tokens are asked for.
json PostProcessorJson(const TokenizerSpec& spec) {
  if (!spec.adds_bos) return nullptr;
  const std::string bos = ContentOf(spec, *spec.bos);
  const auto special = [&](int type) { return json{{"SpecialToken", {{"id", bos}, {"type_id", type}}}}; };
  const auto text = [](const char* name, int type) { return json{{"Sequence", {{"id", name}, {"type_id", type}}}}; };
  json tokens = {{bos, {{"id", bos}, {"ids", json::array({*spec.bos})}, {"tokens", json::array({bos})}}}};
  return {{"type", "TemplateProcessing"},
          {"single", json::array({special(0), text("A", 0)})},
          {"pair", json::array({special(0), text("A", 0), special(1), text("B", 1)})},
          {"special_tokens", std::move(tokens)}};
}

json TokenizerJson(const TokenizerSpec& spec) {
  json steps = json::array();
  for (const SplitStep& step : spec.steps) steps.push_back(StepJson(step));
  json all = {{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", AddedJson(spec)},
              {"normalizer", nullptr},
              {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}},
              {"post_processor", PostProcessorJson(spec)},
              {"decoder", ByteLevelJson(SplitStep{})},
              {"model", ModelJson(spec)}};
  if (spec.nfc) all["normalizer"] = {{"type", "NFC"}};
  return all;
}

json ConfigJson(const TokenizerSpec& spec) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", spec.adds_bos}};
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
    return;
  }
  WriteSorted(folder / "tokenizer.json", TokenizerJson(spec));
  WriteSorted(folder / "tokenizer_config.json", ConfigJson(spec));
}

}  // namespace espalier
