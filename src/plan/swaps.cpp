#include "swaps.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>

#include "espalier/calibrate/input_system.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/score/removal.h"

namespace espalier {
namespace {

// The search in one block: a channel of the FFN is one input of w_down.
SwapResult SearchBlock(int64_t swaps, const ScoreInput& input, const Ledger& intact, const Ledger& allocated) {
  const KeptUnits kept = allocated.KeptOf(input.block, input.kind);
  std::vector<int64_t> removed, held;
  for (int64_t unit = 0; unit < kept.before; ++unit) {
    const Unit channel{input.block, input.kind, unit};
    if (!allocated.Stays(channel)) removed.push_back(unit);
    if (!intact.Of(channel)) held.push_back(unit);
  }
  if (kept.kept.empty() || removed.empty()) return {removed, 0, 0, 0};
  const bool gradient = BlockFor(input).gradient_products.contains(RoleName(Role::kDown));
  return SearchSwaps(InputSystem(SiteFor(input, Role::kDown), kDefaultRidge),
                     OutputSystem(input, Role::kDown, gradient), removed, held, swaps);
}

}  // namespace

Ledger SwapFfnChannels(int64_t swaps, const Model& model, const Statistics& statistics,
                       const std::vector<UnitGroup>& groups, const Ledger& intact, const Ledger& allocated) {
  Ledger swapped = intact;
  double before = 0, after = 0;
  int64_t exchanges = 0, searched = 0;
  for (const UnitGroup& group : groups) {
    if (group.kind != UnitKind::kFfnChannel) {
      for (int64_t unit = 0; unit < group.size(); ++unit)
        if (!allocated.Stays(group.At(unit))) swapped.Remove(group.At(unit));
      continue;
    }
    const SwapResult found = SearchBlock(swaps, {model, group.block, group.kind, &statistics}, intact, allocated);
    for (const int64_t unit : found.removed) swapped.Remove(group.At(unit));
    before += found.before, after += found.after, exchanges += found.exchanges, ++searched;
  }
  if (searched == 0)
    throw RecipeError(
        "prune.allocate.swaps: exchanges FFN channels, and none may go; add ffn_channel to prune.units or "
        "leave the option out");
  ESPALIER_CHECK(swapped.Measured() == allocated.Measured(), "FFN channels of a block cost the same");
  LogInfo("swaps: {} exchanges of FFN channels lower the cost of the removal from {:.6g} to {:.6g}", exchanges, before,
          after);
  return swapped;
}

}  // namespace espalier
