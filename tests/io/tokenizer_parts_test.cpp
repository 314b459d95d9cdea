// The parts of a tokenizer one by one: byte alphabet, merges, pieces, added tokens.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "espalier/io/tokenizer_added.h"
#include "espalier/io/tokenizer_bpe.h"
#include "espalier/io/tokenizer_split.h"
#include "support/support.h"

namespace espalier {
namespace {

using Pieces = std::vector<std::string>;

const TokenizerFamily& Family(std::string_view name) {
  for (const TokenizerFamily& family : TokenizerFamilies())
    if (family.name == name) return family;
  throw Error("no such family");
}

Pieces Split(const std::vector<SplitStep>& steps, std::string_view text) {
  const Splitter splitter(steps, "test");
  Splitter::Scratch scratch;
  splitter.Split(text, scratch);
  return Pieces(scratch.pieces().begin(), scratch.pieces().end());
}

SplitStep PatternStep(const std::string& pattern) {
  SplitStep step;
  step.kind = SplitStep::Kind::kPattern;
  step.pattern = pattern;
  return step;
}

// GPT-2's encoder.py: a space is U+0120 (Ġ), a line feed U+010A (Ċ), printable bytes are themselves, AD is the last:
// U+0143.
TEST(ByteAlphabet, WritesBytesAsGpt2Does) {
  EXPECT_EQ(TokenOfBytes(" a\n~\xA1\xAD\xFF"), "ĠaĊ~¡Ńÿ");
  EXPECT_EQ(BytesOfToken("ĠaĊ~¡Ńÿ"), " a\n~\xA1\xAD\xFF");
  EXPECT_EQ(BytesOfToken("a b"), std::nullopt);  // a space is not in the alphabet
  EXPECT_EQ(BytesOfToken("中"), std::nullopt);
}

// a b c d ab bc abc with merges in this order: bc (0), ab (1), abc from a + bc (2).
TokenizerSpec Letters() {
  TokenizerSpec spec;
  spec.tokens = {"a", "b", "c", "d", "ab", "bc", "abc"};
  spec.merges = {{1, 2, 5}, {0, 1, 4}, {0, 5, 6}};
  return spec;
}

std::vector<int32_t> Encode(const TokenizerSpec& spec, std::string_view piece) {
  const BpeModel model(spec);
  BpeModel::Scratch scratch;
  std::vector<int32_t> ids;
  model.Encode(piece, scratch, ids);
  std::vector<int32_t> again;
  model.Encode(piece, scratch, again);  // from the cache
  EXPECT_EQ(ids, again);
  return ids;
}

TEST(BpeModel, MergesTheLowestRankFirstAndTheLeftmostOfEquals) {
  EXPECT_EQ(Encode(Letters(), "abc"), (std::vector<int32_t>{6}));  // bc first, then a + bc
  EXPECT_EQ(Encode(Letters(), "abd"), (std::vector<int32_t>{4, 3}));
  EXPECT_EQ(Encode(Letters(), "ababc"), (std::vector<int32_t>{4, 6}));  // a b a bc -> ab a bc -> ab abc
  TokenizerSpec pairs;
  pairs.tokens = {"a", "aa"};
  pairs.merges = {{0, 0, 1}};
  EXPECT_EQ(Encode(pairs, "aaaaa"), (std::vector<int32_t>{1, 1, 0}));
}

TEST(BpeModel, DropsBytesWithoutATokenAndMergesAcrossThem) {
  EXPECT_EQ(Encode(Letters(), "abxc"), (std::vector<int32_t>{6}));  // as PyPI tokenizers does without unk_token
  TokenizerSpec spec = Letters();
  spec.unknown = 3;
  EXPECT_EQ(Encode(spec, "axxb"), (std::vector<int32_t>{0, 3, 3, 1}));
  spec.fuse_unknown = true;
  EXPECT_EQ(Encode(spec, "axxb"), (std::vector<int32_t>{0, 3, 1}));
}

TEST(BpeModel, TakesAWholePieceFromTheVocabularyOnlyWithIgnoreMerges) {
  TokenizerSpec spec = Letters();
  spec.tokens.push_back("dd");
  EXPECT_EQ(Encode(spec, "dd"), (std::vector<int32_t>{3, 3}));
  spec.ignore_merges = true;
  EXPECT_EQ(Encode(spec, "dd"), (std::vector<int32_t>{7}));
}

// <0xC3> and <0xA9> are the bytes of é, of x there is none. PyPI tokenizers 0.23 lets the bytes overtake the unknown.
TEST(BpeModel, FallsBackToBytesWhereACharacterHasNoToken) {
  TokenizerSpec spec;
  spec.byte_fallback = true;
  spec.tokens = {"a", "é", "<0xC3>", "<0xA9>", "<unk>", "aé", "<0xc3>"};
  spec.merges = {{0, 1, 5}};
  spec.unknown = 4;
  EXPECT_EQ(Encode(spec, "aéa"), (std::vector<int32_t>{5, 0}));
  spec.tokens[1] = "e";
  spec.merges.clear();
  EXPECT_EQ(Encode(spec, "aéa"), (std::vector<int32_t>{0, 2, 3, 0}));
  EXPECT_EQ(Encode(spec, "xéxa"), (std::vector<int32_t>{2, 3, 4, 4, 0}));
  spec.fuse_unknown = true;
  EXPECT_EQ(Encode(spec, "xéxa"), (std::vector<int32_t>{2, 3, 4, 0}));
}

TEST(BpeModel, MergesTheLeftmostOfEqualRanks) {
  TokenizerSpec spec = Letters();
  spec.ranks = {0, 0, 1};
  EXPECT_EQ(Encode(spec, "abc"), (std::vector<int32_t>{4, 2}));
}

// A quadratic loop would need hours for this.
TEST(BpeModel, MergesAMillionBytesInOnePiece) {
  TokenizerSpec spec;
  spec.tokens = {"a", "aa", "aaaa"};
  spec.merges = {{0, 0, 1}, {1, 1, 2}};
  EXPECT_EQ(Encode(spec, std::string(1 << 20, 'a')), std::vector<int32_t>(1 << 18, 2));
}

// Expected pieces worked out from the patterns by hand, and the same as PyPI tokenizers gives.
TEST(Splitter, SplitsAsTheFamiliesDo) {
  const std::string text = "I'LL  pay $12345 now\n\n ok";
  EXPECT_EQ(Split(Family("GPT-2").steps, text),
            (Pieces{"I", "'", "LL", " ", " pay", " $", "12345", " now", "\n\n", " ok"}));
  EXPECT_EQ(Split(Family("SmolLM2").steps, text),
            (Pieces{"I", "'", "LL", " ", " pay", " $", "1", "2", "3", "4", "5", " now", "\n\n", " ok"}));
  EXPECT_EQ(Split(Family("Llama-3").steps, text),
            (Pieces{"I", "'LL", " ", " pay", " $", "123", "45", " now", "\n\n", " ok"}));
  EXPECT_EQ(Split(Family("Qwen2").steps, text),
            (Pieces{"I", "'LL", " ", " pay", " $", "1", "2", "3", "4", "5", " now", "\n\n", " ok"}));
}

TEST(Splitter, IsolatesDigitsBeforeThePattern) {
  // " 1" would be one piece to GPT-2; after Digits the space stands alone.
  EXPECT_EQ(Split(Family("SmolLM2").steps, "a 12"), (Pieces{"a", " ", "1", "2"}));
  EXPECT_EQ(Split(Family("GPT-2").steps, "a 12"), (Pieces{"a", " 12"}));
}

TEST(Splitter, DoesNotTakeTheMongolianVowelSeparatorForWhiteSpace) {
  EXPECT_EQ(Split(Family("GPT-2").steps, "a\u180E b"), (Pieces{"a", "\u180E", " b"}));
  EXPECT_EQ(Split(Family("GPT-2").steps, "a \u180Eb"), (Pieces{"a", " \u180E", "b"}));
}

TEST(Splitter, PrefixesASpaceWhereAsked) {
  SplitStep step;
  step.use_regex = step.prefix_space = true;
  EXPECT_EQ(Split({step}, "ab c"), (Pieces{" ab", " c"}));
  EXPECT_EQ(Split({step}, " ab"), (Pieces{" ab"}));
}

SplitStep Metaspace(SplitStep::Prepend prepend, bool cut) {
  SplitStep step;
  step.kind = SplitStep::Kind::kMetaspace;
  step.pattern = "_";
  step.prepend = prepend;
  step.cut = cut;
  return step;
}

// tokenizers/src/pre_tokenizers/metaspace.rs: no second mark where a piece starts with one; every mark starts a piece.
TEST(Splitter, WritesMarksForSpacesAsMetaspaceDoes) {
  using Prepend = SplitStep::Prepend;
  EXPECT_EQ(Split({Metaspace(Prepend::kAlways, true)}, "a  b "), (Pieces{"_a", "_", "_b", "_"}));
  EXPECT_EQ(Split({Metaspace(Prepend::kAlways, false)}, " a b"), (Pieces{"_a_b"}));
  EXPECT_EQ(Split({Metaspace(Prepend::kNever, true)}, "a b"), (Pieces{"a", "_b"}));
  EXPECT_EQ(Split({PatternStep("b"), Metaspace(Prepend::kAlways, false)}, "abc"), (Pieces{"_a", "_b", "_c"}));
  EXPECT_EQ(Split({PatternStep("b"), Metaspace(Prepend::kFirst, false)}, "abc"), (Pieces{"_a", "b", "c"}));
  const Splitter splitter({Metaspace(Prepend::kFirst, false)}, "test");
  Splitter::Scratch scratch;
  splitter.Split("a", scratch, false);
  EXPECT_EQ(scratch.pieces().front(), "a");
}

TEST(Splitter, CutsBehindATextAndBeforeWords) {
  SplitStep step;
  step.kind = SplitStep::Kind::kAfter;
  step.pattern = " ";
  EXPECT_EQ(Split({step}, "  a b"), (Pieces{" ", " ", "a ", "b"}));
  step.kind = SplitStep::Kind::kWords;
  EXPECT_EQ(Split({step}, "  a b  "), (Pieces{"  a", " b", "  "}));
}

TEST(Splitter, KeepsWhatAPatternLeavesOutAndSurvivesEmptyMatches) {
  EXPECT_EQ(Split({PatternStep("b+")}, "abbcb"), (Pieces{"a", "bb", "c", "b"}));
  EXPECT_EQ(Split({PatternStep("b*")}, "éb"), (Pieces{"é", "b"}));
  EXPECT_EQ(Split({PatternStep("b")}, ""), Pieces{});
}

TEST(Splitter, SaysWhereAPatternIsBroken) {
  const std::string message = MessageOf([] { Splitter({PatternStep("a(b")}, "x.json"); });
  EXPECT_NE(message.find("x.json: the pre-tokenizer pattern 'a(b'"), std::string::npos) << message;
  EXPECT_NE(message.find("byte 3"), std::string::npos) << message;
}

TEST(Splitter, GivesUpOnAPatternThatExplodes) {
  std::string text(60, 'a');
  text += 'b';
  const std::string message = MessageOf([&] { Split({PatternStep("(a+)+$")}, text); });
  EXPECT_NE(message.find("gave up on a text of 61 bytes"), std::string::npos) << message;
}

TEST(Splitter, SplitsRunsOfAMillionWithoutGivingUp) {
  for (const TokenizerFamily& family : TokenizerFamilies())
    for (const char* unit : {" ", "a", "\n", "!", "é", " \n"}) {
      std::string text;
      while (text.size() < 1'000'000) text += unit;
      text += "z";
      size_t total = 0;
      for (const std::string& piece : Split(family.steps, text)) total += piece.size();
      EXPECT_EQ(total, text.size()) << family.name;
    }
}

TEST(Splitter, CutsChunksOnlyWhereAKnownFamilySplitsAnyway) {
  const Splitter known(Family("Llama-3").steps, "test");
  EXPECT_EQ(known.ChunkEnd("aa. bb! cc dd", 1), 10u);  // behind "cc": the other spaces follow no letter
  EXPECT_EQ(known.ChunkEnd("aa. bb!\n", 1), 8u);
  EXPECT_EQ(known.ChunkEnd("é b", 1), 2u);
  const Splitter other({PatternStep("a b")}, "test");
  EXPECT_EQ(other.ChunkEnd("a b a b", 1), 7u);
}

AddedToken Added(int32_t id, const std::string& content) {
  AddedToken token;
  token.id = id;
  token.content = content;
  return token;
}

std::string Shown(const AddedTokenMatcher& matcher, std::string_view text) {
  std::string out;
  for (const TextSegment& segment : matcher.Cut(text))
    out += fmt::format("{}[{}]", segment.id ? std::to_string(*segment.id) : "", segment.text);
  return out;
}

TEST(AddedTokenMatcher, TakesTheLongestOfTheLeftmost) {
  const AddedTokenMatcher matcher({Added(1, "<a>"), Added(2, "<a><b>"), Added(3, "a>")});
  EXPECT_EQ(Shown(matcher, "x<a><b>y<a>"), "[x]2[<a><b>][y]1[<a>]");
  EXPECT_EQ(Shown(matcher, "a><a"), "3[a>][<a]");
  EXPECT_EQ(Shown(matcher, ""), "");
}

TEST(AddedTokenMatcher, HonoursTheFlags) {
  AddedToken left = Added(1, "<l>"), right = Added(2, "<r>"), word = Added(3, "cat");
  left.lstrip = right.rstrip = word.single_word = true;
  const AddedTokenMatcher matcher({left, right, word});
  EXPECT_EQ(Shown(matcher, "a \n\u00A0<l> b"), "[a]1[ \n\u00A0<l>][ b]");
  EXPECT_EQ(Shown(matcher, "a <r> \nb"), "[a ]2[<r> \n][b]");
  EXPECT_EQ(Shown(matcher, "<r>  <l>"), "2[<r>  ]1[<l>]");  // the white space stays with the first
  EXPECT_EQ(Shown(matcher, "cat concat cats écat cat."), "3[cat][ concat cats écat ]3[cat][.]");
}

}  // namespace
}  // namespace espalier
