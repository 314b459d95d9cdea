#include "stream_influence.h"

#include <ATen/ATen.h>

#include "espalier/core/error.h"

namespace espalier {

bool TurnsTheStream(UnitKind kind) {
  return kind == UnitKind::kAttention || kind == UnitKind::kFfn || kind == UnitKind::kBlock;
}

StreamInfluence InfluenceFor(const ScoreInput& input) {
  const NamedSums& sums = BlockFor(input).influence;
  const auto found = sums.find(UnitKindName(input.kind));
  ESPALIER_CHECK(found != sums.end(), "a scorer of influence must declare it in `needs`");
  const auto at = [&](int64_t i) { return found->second[i].item<double>(); };
  return {at(1) / at(0), at(2) / at(0), at(4) / at(3)};
}

}  // namespace espalier
