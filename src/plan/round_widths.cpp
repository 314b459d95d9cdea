#include "round_widths.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// The FFN of one block on its way to a width that is allowed.
struct Width {
  int64_t F = 0, wanted = 0, kept = 0;  // before the cut, as allocated, now
  std::vector<Unit> order;              // in which its channels go
  std::optional<int64_t> saving;        // of the next step; none: it may not be taken

  int64_t Below(int64_t step) const { return kept > 0 ? (kept - 1) / step * step : 0; }
  // How much nearer (negative) or farther from what was allocated the next step leads.
  int64_t Price(int64_t step) const { return std::abs(Below(step) - wanted) - std::abs(kept - wanted); }
};

// Channels in the order in which they go: those that the allocator took, then the others, each from the least
// important.
std::vector<Unit> OrderOf(const UnitGroup& group, const Ledger& allocated) {
  std::vector<Unit> order;
  for (const int64_t unit : Ascending(group.score.mean(1).contiguous())) order.push_back(group.At(unit));
  std::stable_partition(order.begin(), order.end(), [&](const Unit& unit) { return !allocated.Stays(unit); });
  return order;
}

class Rounding {
 public:
  Rounding(int64_t step, const AllocationInput& input, const Ledger& intact, const Ledger& allocated)
      : step_(step), input_(input), ledger_(intact) {
    before_ = ledger_.Measured();
    RemoveOthers(allocated);
    for (const UnitGroup& group : input.groups)
      if (group.kind == UnitKind::kFfnChannel && group.size() > 0) StartAbove(group, allocated);
    if (widths_.empty())
      throw RecipeError(
          fmt::format("prune.allocate.round_ffn_to: {}, but no ffn_channel may go; add it to prune.units "
                      "or leave the option out",
                      step_));
  }

  Ledger Run(const Allocator& allocator) {
    while (Width* next = Nearest()) Step(*next);
    Finish(allocator);
    return ledger_;
  }

 private:
  int64_t Left() const { return input_.target - (before_ - ledger_.Measured()); }

  void RemoveOthers(const Ledger& allocated) {
    for (const UnitGroup& group : input_.groups) {
      if (group.kind == UnitKind::kFfnChannel) continue;
      for (int64_t unit = 0; unit < group.size(); ++unit)
        if (!allocated.Stays(group.At(unit))) ledger_.Remove(group.At(unit));
    }
  }

  void StartAbove(const UnitGroup& group, const Ledger& allocated) {
    Width width;
    width.F = group.size();
    if (step_ > width.F)
      throw RecipeError(fmt::format(
          "prune.allocate.round_ffn_to: {} is more than the {} FFN channels of block {}; ask for at most as "
          "many",
          step_, width.F, group.block));
    width.wanted = std::ssize(allocated.KeptOf(group.block, UnitKind::kFfnChannel).kept);
    width.kept = std::min(width.F, (width.wanted + step_ - 1) / step_ * step_);
    width.order = OrderOf(group, allocated);
    for (int64_t i = 0; i < width.F - width.kept; ++i) ledger_.Remove(width.order[static_cast<size_t>(i)]);
    width.saving = SavingOf(width);
    widths_.push_back(std::move(width));
  }

  // Removes the channels of the next step. False when one may not go; what the step as a whole saves.
  bool Take(const Width& width, Ledger& ledger, int64_t& saving) const {
    int64_t missing = width.kept - width.Below(step_);
    if (missing == 0) return false;
    const int64_t before = ledger.Measured();
    // Protected channels stay where they are in the order: the next ones go instead.
    for (auto unit = width.order.begin(); unit != width.order.end() && missing > 0; ++unit) {
      if (!ledger.Of(*unit)) continue;
      ledger.Remove(*unit);
      --missing;
    }
    saving = before - ledger.Measured();
    return missing == 0;
  }

  std::optional<int64_t> SavingOf(const Width& width) const {
    Ledger trial = ledger_;
    int64_t saving = 0;
    return Take(width, trial, saving) ? std::optional(saving) : std::nullopt;
  }

  // The block whose next step fits and leads least away from what was allocated; the first of equals.
  Width* Nearest() {
    const int64_t left = Left();
    Width* nearest = nullptr;
    for (Width& width : widths_)
      if (width.saving && *width.saving <= left && (!nearest || width.Price(step_) < nearest->Price(step_)))
        nearest = &width;
    return nearest;
  }

  void Step(Width& width) {
    int64_t saving = 0;
    Take(width, ledger_, saving);
    width.kept = width.Below(step_);
    width.saving = SavingOf(width);
  }

  void Finish(const Allocator& allocator) {
    std::vector<UnitGroup> others;
    for (const UnitGroup& group : input_.groups)
      if (group.kind != UnitKind::kFfnChannel) others.push_back(group);
    const AllocationInput rest = {others, Left(), input_.model, input_.windows, input_.prune};
    if (!others.empty() && rest.target > 0) allocator.Allocate(rest, ledger_);
    const int64_t left = Left();
    if (left == 0 || MoreMayGo(others)) return;
    throw RecipeError(
        fmt::format("prune.allocate.round_ffn_to: with widths in multiples of {} and what is protected, {} "
                    "of {} asked for can go; ask for less, or round to less",
                    step_, input_.target - left, input_.target));
  }

  // Whether something may still go, so that only its size is in the way.
  bool MoreMayGo(const std::vector<UnitGroup>& others) const {
    if (std::any_of(widths_.begin(), widths_.end(), [](const Width& width) { return width.saving.has_value(); }))
      return true;
    for (const UnitGroup& group : others)
      for (int64_t unit = 0; unit < group.size(); ++unit)
        if (ledger_.Of(group.At(unit))) return true;
    return false;
  }

  int64_t step_;
  const AllocationInput& input_;
  Ledger ledger_;
  int64_t before_ = 0;
  std::vector<Width> widths_;
};

}  // namespace

Ledger RoundFfnWidths(int64_t step, const Allocator& allocator, const AllocationInput& input, const Ledger& intact,
                      const Ledger& allocated) {
  return Rounding(step, input, intact, allocated).Run(allocator);
}

}  // namespace espalier
