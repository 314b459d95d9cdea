#include "espalier/report/svg.h"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier {
namespace {

TEST(Svg, WritesCoordinatesWithAtMostOneDecimal) {
  EXPECT_EQ(SvgNumber(12), "12");
  EXPECT_EQ(SvgNumber(12.34), "12.3");
  EXPECT_EQ(SvgNumber(-0.01), "0");
}

TEST(Svg, TicksAreRoundAndInside) {
  EXPECT_EQ(RoundTicks({0, 100, 0, 1, false}, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(RoundTicks({1, 1000, 0, 1, true}, 5), (std::vector<double>{1, 10, 100, 1000}));
  EXPECT_EQ(TickTexts({3.9, 4, 4.1}), (std::vector<std::string>{"3.9", "4.0", "4.1"}));
  EXPECT_EQ(TickTexts({0, 50000}), (std::vector<std::string>{"0", "50k"}));
}

TEST(Svg, ScaleHoldsTheFiniteValuesAndHasExtent) {
  const Scale scale = ScaleAround({3.81, NAN, 4.13, INFINITY}, false, false);  // steps of 0.1
  EXPECT_NEAR(scale.low, 3.8, 1e-9);
  EXPECT_NEAR(scale.high, 4.2, 1e-9);
  EXPECT_GT(ScaleAround({5, 5}, false, false).high, ScaleAround({5, 5}, false, false).low);
  const Scale decades = ScaleAround({0, -3, 31, 24215}, false, true);  // zero has no place on it
  EXPECT_EQ(decades.low, 10);
  EXPECT_EQ(decades.high, 100000);
  EXPECT_GT(ScaleAround({NAN}, false, true).high, ScaleAround({NAN}, false, true).low);
}

TEST(Svg, ScaleMapsTheMiddle) {
  EXPECT_EQ((Scale{0, 10, 100, 200, false}.At(5)), 150);
  EXPECT_NEAR((Scale{1, 100, 0, 200, true}.At(10)), 100, 1e-9);
  EXPECT_EQ((Scale{0, 10, 100, 200, false}.At(50)), 200);  // clamped
}

TEST(Svg, LineHasAGapWhereAValueIsNotFinite) {
  EXPECT_EQ(PolylinePath({0, 1, 2, 3}, {5, NAN, 6, 7}), "M0 5M2 6L3 7");
}

TEST(Svg, EscapesTextAndTitles) {
  Svg svg(10, 20, "a<b");
  svg.Rect(0, 0, 1, 1, "kept", "x & y");
  EXPECT_EQ(svg.Finish(),
            "<svg viewBox=\"0 0 10 20\" role=\"img\" aria-label=\"a&lt;b\">\n"
            "<rect x=\"0\" y=\"0\" width=\"1\" height=\"1\" class=\"kept\"><title>x &amp; y</title></rect>\n</svg>\n");
}

}  // namespace
}  // namespace espalier
