#include "espalier/report/format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace espalier {
namespace {

TEST(ReportFormat, KeepsAboutFourDigitsAndNamesWhatIsNotFinite) {
  EXPECT_EQ(FormatFigure(29.216), "29.22");
  EXPECT_EQ(FormatFigure(99.996), "100.0");
  EXPECT_EQ(FormatFigure(481296.4), "481,296");
  EXPECT_EQ(FormatFigure(999.96), "1,000");
  EXPECT_EQ(FormatFigure(0.012345), "0.0123");
  EXPECT_EQ(FormatFigure(2.5e12), "2.5e+12");
  EXPECT_EQ(FormatFigure(std::numeric_limits<double>::infinity()), "not finite");
  EXPECT_EQ(FormatShare(0.8006), "80.1 %");
  EXPECT_EQ(FormatShare(NAN), "not finite");
  EXPECT_EQ(FormatRatio(1.4261), "×1.43");
  EXPECT_EQ(FormatRatio(12.345), "×12.35");
  EXPECT_EQ(FormatInterval({1, 28.614, 29.836, 8}), "[28.61, 29.84]");
  EXPECT_EQ(FormatInterval({1, 28.614, {}, 8}), "");
}

TEST(ReportFormat, DropsControlCharactersAndMendsTextThatIsNotUtf8) {
  EXPECT_EQ(CleanText("a\x01"
                      "b\x1b[31m\tc\nd\x7f"),
            "ab[31m c d");
  EXPECT_EQ(CleanText("\xc2\x85x"), "x");  // U+0085, a control character of two bytes
  EXPECT_EQ(CleanText("\xe2\x80\xae"
                      "evil"),
            "evil");  // U+202E, reverses what follows
  EXPECT_EQ(CleanText("\xff"
                      "a"),
            "\xef\xbf\xbd"
            "a");                                                // no such byte in UTF-8
  EXPECT_EQ(CleanText("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd");  // cut off
  EXPECT_EQ(CleanText("\xc0\xbc"), "\xef\xbf\xbd");              // '<' in two bytes, which is forbidden
  EXPECT_EQ(CleanText("é€𝄞"), "é€𝄞");
}

TEST(ReportFormat, EscapesWhatMarkupWouldRead) {
  EXPECT_EQ(EscapeHtml("<a href=\"x\">'&'"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
  EXPECT_EQ(EscapeHtml("30 % of"), "30\u00a0% of");
  EXPECT_EQ(EscapeMarkdown("a|b_c*d\n[x](y)<img>`#"), "a\\|b\\_c\\*d \\[x\\](y)&lt;img\\>\\`\\#");
}

}  // namespace
}  // namespace espalier
