#pragma once
// How much a sublayer or block turns the residual stream, from what calibration summed.
#include <string_view>

#include "espalier/score/scorer.h"

namespace espalier {

bool TurnsTheStream(UnitKind kind);  // attention, ffn, block

struct StreamInfluence {
  double cosine, angle;  // means over counted tokens of cos(h_in, h_out) and of arccos(cos) / pi
  double last_angle;     // mean over sequences of the last token's arccos(cos) / pi
};
StreamInfluence InfluenceFor(const ScoreInput& input);

}  // namespace espalier
