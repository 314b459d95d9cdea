#pragma once
// How a variant looks, the same in picture and legend.
#include <cstddef>
#include <string>

namespace espalier {

struct SweepStyle {
  std::string curve, error, band, mark;  // classes of the page's style sheet
  size_t shape = 0;                      // of the marker
};
// Five colours, first with full lines, then dashed; grey is the dense model's.
SweepStyle StyleOf(size_t variant);

}  // namespace espalier
