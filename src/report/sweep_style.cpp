#include "sweep_style.h"

#include <fmt/format.h>

namespace espalier {

SweepStyle StyleOf(size_t variant) {
  constexpr size_t kColours = 5;
  const size_t colour = 1 + variant % kColours;
  const bool dashed = variant / kColours % 2 == 1;
  return {fmt::format("curve s{}{}", colour, dashed ? " dashed" : ""), fmt::format("error s{}", colour),
          fmt::format("band m{}", colour), fmt::format("mark m{}", colour), variant % 4};
}

}  // namespace espalier
