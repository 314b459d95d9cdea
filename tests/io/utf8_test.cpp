#include "espalier/io/utf8.h"

#include <gtest/gtest.h>

#include "espalier/io/unicode_classes.h"

namespace espalier {
namespace {

using std::string_literals::operator""s;

// Expected: what Python's bytes.decode("utf-8", errors="replace") gives (one U+FFFD for each maximal invalid subpart).
TEST(Utf8, ReplacesEveryMaximalInvalidSubpartByOneReplacementCharacter) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(ReplaceInvalidUtf8("a\xFF"
                               "b"),
            "a" + bad + "b");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82"), bad);  // a truncated euro sign is one subpart
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82z"), bad + "z");
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF"), bad + bad);            // overlong: C0 may not lead
  EXPECT_EQ(ReplaceInvalidUtf8("\xE0\x80\x80"), bad + bad + bad);  // overlong: 80 may not follow E0
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), bad + bad + bad);  // a surrogate
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98"), bad);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98\xF0\x9F\x98\x80"), bad + "\xF0\x9F\x98\x80");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
}

TEST(Utf8, FindsTheFirstInvalidByteBehindLongAscii) {
  std::string text(21, 'a');
  text += "é€😀\0"s;
  EXPECT_EQ(FirstInvalidUtf8(text), 21u + 2 + 3 + 4 + 1);
  EXPECT_EQ(FirstInvalidUtf8(text), text.size());
  text += '\x80';
  EXPECT_EQ(FirstInvalidUtf8(text), 31u);
  EXPECT_EQ(FirstInvalidUtf8(""), 0u);
}

TEST(Utf8, WalksForwardsAndBackwards) {
  const std::string text = "aé€😀";
  const std::u32string expected = U"aé€😀";
  size_t at = 0;
  for (const char32_t c : expected) EXPECT_EQ(NextCodePoint(text, at), c);
  EXPECT_EQ(at, text.size());
  for (size_t i = expected.size(); i-- > 0;) EXPECT_EQ(PreviousCodePoint(text, at), expected[i]);
  EXPECT_EQ(at, 0u);
}

TEST(UnicodeClasses, ShowsNewerLettersAsOlderOnesOfTheSameLength) {
  std::string out;
  ReplaceByStandIns("x\U0002EBF0y\uA7CBz", out);  // U+2EBF0: Unicode 15.1; U+A7CB: Unicode 16
  EXPECT_EQ(out, "x\U00020000y\u4E00z");
  for (char32_t c = 0x80; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string before, after;
    AppendUtf8(c, before);
    AppendUtf8(StandIn(c), after);
    ASSERT_EQ(before.size(), after.size()) << std::hex << static_cast<uint32_t>(c);
    ASSERT_TRUE(StandIn(c) == c || MayNeedStandIns(before)) << std::hex << static_cast<uint32_t>(c);
  }
}

// Measured on PyPI tokenizers 0.23: NFC composes and orders what Unicode 9 knows, and leaves younger marks in place.
TEST(UnicodeClasses, NormalizesAsUnicode9Does) {
  EXPECT_EQ(ToNfc("e\u0301"), "é");
  EXPECT_EQ(ToNfc("a\u0307\u0323"), "\u1EA1\u0307");
  EXPECT_EQ(ToNfc("\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(ToNfc("\U00011935\U00011930"), "\U00011935\U00011930");  // composes since Unicode 13
}

}  // namespace
}  // namespace espalier
