#pragma once
// Exchanges of kept and removed units after allocation.
#include "espalier/plan/ledger.h"
#include "espalier/score/scorer.h"

namespace espalier {

// `allocated` with kept FFN channels exchanged for removed ones of the same block, at most `swaps` a block, while the
// least-squares cost of the removal falls (SearchSwaps in score/removal.h, H with the ridge of least_squares' default);
// outputs are weighted by the loss's gradients where they were measured. Channels cost the same, so that the budget
// stays as it is met; protected ones stay. Logs the cost before and after. RecipeError when nothing of the plan is an
// ffn_channel.
Ledger SwapFfnChannels(int64_t swaps, const Model& model, const Statistics& statistics,
                       const std::vector<UnitGroup>& groups, const Ledger& intact, const Ledger& allocated);

}  // namespace espalier
