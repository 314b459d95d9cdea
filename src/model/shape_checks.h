#pragma once
// CheckShapes in its parts, for models whose blocks come one at a time. Both throw as it does.
#include "espalier/model/model.h"

namespace espalier {

void CheckFrameShapes(const Model& model);  // what is in no block
void CheckBlockShapes(const Model& model, int64_t l);

}  // namespace espalier
