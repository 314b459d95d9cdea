#include "tokenizer_json_steps.h"

#include <algorithm>

namespace espalier {
namespace {

// Calls `read` for `node`, or for each part of the list `key` when it is a Sequence.
template <class Read>
void ForEachPart(const JsonNode& node, const char* key, const Read& read) {
  if (node.Type() != "Sequence") return read(node);
  const JsonNode list = node.At(key);
  for (size_t i = 0; i < list.ListSize(); ++i) ForEachPart(list.At(i), key, read);
}

std::string NonEmpty(const JsonNode& node) {
  if (node.Text().empty()) node.Fail("a text that is not empty");
  return node.Text();
}

std::string LiteralPattern(const JsonNode& node) {
  const JsonNode pattern = node.At("pattern");
  if (pattern.At("String").IsNull()) pattern.Fail("{\"String\": ...}: other patterns are not supported");
  return NonEmpty(pattern.At("String"));
}

NormalizeStep ReadNormalizeStep(const JsonNode& node) {
  const std::string type = node.Type();
  if (type == "NFC") return {};
  if (type == "Prepend") return {NormalizeStep::Kind::kPrepend, "", node.At("prepend").Text()};
  if (type == "Replace") return {NormalizeStep::Kind::kReplace, LiteralPattern(node), node.At("content").Text()};
  node.At("type").Fail("NFC, Prepend, Replace, a Sequence of them, or no normalizer: others are not supported");
}

SplitStep ReadSplit(const JsonNode& node) {
  SplitStep step;
  const JsonNode behavior = node.At("behavior"), pattern = node.At("pattern");
  if (behavior.Text() == "MergedWithPrevious") {
    step.kind = SplitStep::Kind::kAfter;
    step.pattern = LiteralPattern(node);
    if (node.At("invert").Flag(false)) node.At("invert").Fail("false");
    return step;
  }
  if (behavior.Text() != "Isolated")
    behavior.Fail("\"Isolated\" or \"MergedWithPrevious\": other behaviours are not supported");
  if (pattern.At("Regex").IsNull()) pattern.Fail("{\"Regex\": ...}: other patterns are not supported");
  step.kind = SplitStep::Kind::kPattern;
  step.pattern = pattern.At("Regex").Text();
  return step;
}

SplitStep::Prepend ReadPrepend(const JsonNode& node) {
  const JsonNode scheme = node.At("prepend_scheme"), old = node.At("add_prefix_space");
  const bool is_never = !scheme.IsNull() && scheme.Text() == "never";
  if (!old.Flag(true) && !is_never) old.Fail("prepend_scheme \"never\" beside it, as PyPI tokenizers does");
  if (is_never) return SplitStep::Prepend::kNever;
  if (scheme.IsNull() || scheme.Text() == "always") return SplitStep::Prepend::kAlways;
  if (scheme.Text() == "first") return SplitStep::Prepend::kFirst;
  scheme.Fail("\"always\", \"first\" or \"never\"");
}

SplitStep ReadSplitStep(const JsonNode& node) {
  const std::string type = node.Type();
  SplitStep step;
  if (type == "Split") return ReadSplit(node);
  if (type == "Digits") {
    step.kind = SplitStep::Kind::kDigits;
    step.individual = node.At("individual_digits").Flag(false);
  } else if (type == "ByteLevel") {
    step.prefix_space = node.At("add_prefix_space").Flag(true);
    step.use_regex = node.At("use_regex").Flag(true);
  } else if (type == "Metaspace") {
    step.kind = SplitStep::Kind::kMetaspace;
    step.pattern = NonEmpty(node.At("replacement"));
    step.prepend = ReadPrepend(node);
    step.cut = node.At("split").Flag(true);
  } else {
    node.At("type").Fail("Split, Digits, ByteLevel, Metaspace or a Sequence of them: others are not supported");
  }
  return step;
}

DecodeStep ReadDecodeStep(const JsonNode& node) {
  const std::string type = node.Type();
  DecodeStep step;
  if (type == "Fuse") return step;
  if (type == "ByteFallback") {
    step.kind = DecodeStep::Kind::kByteFallback;
  } else if (type == "Replace") {
    step = {DecodeStep::Kind::kReplace, LiteralPattern(node), node.At("content").Text()};
  } else if (type == "Metaspace") {
    step = {DecodeStep::Kind::kReplace, NonEmpty(node.At("replacement")), " "};
    step.drops_in_first = ReadPrepend(node) != SplitStep::Prepend::kNever;
  } else if (type == "Strip") {
    step = {DecodeStep::Kind::kStrip, NonEmpty(node.At("content"))};
    step.start = node.At("start").Id("a number");
    step.stop = node.At("stop").Id("a number");
  } else {
    node.At("type").Fail(
        "Replace, ByteFallback, Fuse, Strip, Metaspace or a Sequence of them: others are not supported");
  }
  return step;
}

}  // namespace

void ReadNormalizer(const JsonNode& node, TokenizerSpec& spec) {
  if (node.IsNull()) return;
  ForEachPart(node, "normalizers", [&](const JsonNode& part) { spec.normalizers.push_back(ReadNormalizeStep(part)); });
}

void ReadPreTokenizer(const JsonNode& node, TokenizerSpec& spec) {
  if (!node.IsNull())
    ForEachPart(node, "pretokenizers", [&](const JsonNode& part) { spec.steps.push_back(ReadSplitStep(part)); });
  const auto is_byte_level = [](const SplitStep& step) { return step.kind == SplitStep::Kind::kByteLevel; };
  const auto count = std::count_if(spec.steps.begin(), spec.steps.end(), is_byte_level);
  if (spec.byte_fallback && count > 0) node.Fail("no ByteLevel, because model.byte_fallback is true");
  // After ByteLevel a piece is written in the byte alphabet, and what follows would split that.
  if (!spec.byte_fallback && (count != 1 || !is_byte_level(spec.steps.back())))
    node.Fail("exactly one ByteLevel, as the last pre-tokenizer, because model.byte_fallback is false");
}

void ReadDecoder(const JsonNode& node, TokenizerSpec& spec) {
  ForEachPart(node, "decoders", [&](const JsonNode& part) { spec.decoders.push_back(ReadDecodeStep(part)); });
}

}  // namespace espalier
