// How much each group gives is measured: the rise of the mean loss on a few calibration windows when that group alone
// loses a few shares of its units, the least important by the scorer, compensated as the recipe says where that needs
// no pass over the model. The shares are then chosen together: those that save the target at the least sum of rises
// (multiple-choice knapsack, exact). Measured levels are coarse, so the group that pays most for its last step gives
// less than its level until the target is met exactly, and what is still missing goes in the order of the next steps'
// prices. That the rises of groups add up is an assumption.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/plan/allocator.h"
#include "espalier/score/dense_pass.h"
#include "knapsack.h"

namespace espalier {
namespace {

// A group with what it loses at each level.
struct Curve {
  std::vector<Unit> order;    // from the least important
  std::vector<Unit> removed;  // of them, at the highest level
  std::vector<Level> levels;
  std::vector<int64_t> counts;  // of `removed`, at each level
  int64_t chosen = -1;
  // Rise for what the step to `level` saves.
  double Price(int64_t level) const {
    if (level >= std::ssize(levels)) return std::numeric_limits<double>::infinity();
    const Level now = levels[static_cast<size_t>(level)],
                before = level > 0 ? levels[static_cast<size_t>(level - 1)] : Level{};
    return (now.cost - before.cost) / static_cast<double>(std::max<int64_t>(1, now.saving - before.saving));
  }
};

class Sensitivity final : public Allocator {
 public:
  Sensitivity(std::vector<int64_t> percent, int64_t sequences) : percent_(std::move(percent)), sequences_(sequences) {}

  int64_t Allocate(const AllocationInput& input, Savings& savings) const override {
    ESPALIER_CHECK(input.model != nullptr && input.windows.defined() && input.prune, "sensitivity runs the model");
    if (!pass_ || !pass_->IsOf(*input.model, input.windows)) {
      pass_.emplace(*input.model, input.windows, sequences_);
      rises_.clear();
    }
    std::vector<Curve> curves;
    std::vector<std::vector<Level>> levels;
    Progress progress("sensitivity", std::ssize(input.groups));
    for (const UnitGroup& group : input.groups) {
      curves.push_back(Measure(input, group, savings));
      levels.push_back(curves.back().levels);
      progress.Step();
    }
    const std::vector<int64_t> chosen = ChooseLevels(levels, input.target);
    for (size_t g = 0; g < curves.size(); ++g) curves[g].chosen = chosen[g];
    const int64_t saved = RemoveInOrder(Chosen(curves), input.target, savings);
    return saved + RemoveInOrder(Others(curves), input.target - saved, savings);
  }

 private:
  // Units at each level; a group of few has fewer levels.
  std::set<int64_t> Counts(const UnitGroup& group) const {
    if (group.size() == 1) return {1};
    std::set<int64_t> counts;
    for (const int64_t percent : percent_) counts.insert((percent * group.size() + 50) / 100);
    counts.erase(0);
    return counts;
  }

  Curve Measure(const AllocationInput& input, const UnitGroup& group, const Savings& savings) const {
    if (PerModel(group.kind))
      throw RecipeError(
          "prune.allocate: sensitivity measures groups of a block; leave residual_channel out of "
          "prune.units, or allocate by global");
    Curve curve;
    for (const int64_t unit : Ascending(group.score.mean(1).contiguous())) curve.order.push_back(group.At(unit));
    const std::unique_ptr<Savings> trial = savings.Clone();
    std::vector<Unit>& removed = curve.removed;
    int64_t saved = 0;
    auto next = curve.order.begin();
    for (const int64_t count : Counts(group)) {
      const int64_t before = saved;
      for (; next != curve.order.end() && std::ssize(removed) < count; ++next)
        if (const auto saving = trial->Of(*next)) trial->Remove(*next), removed.push_back(*next), saved += *saving;
      if (saved == before) continue;
      curve.levels.push_back({saved, Rise(input, group.block, removed)});
      curve.counts.push_back(std::ssize(removed));
    }
    return curve;
  }

  double Rise(const AllocationInput& input, int64_t block, const std::vector<Unit>& removed) const {
    const auto [place, added] = rises_.try_emplace(removed, 0);
    if (!added) return place->second;
    const double loss = pass_->LossFrom(input.prune(removed), block);
    if (!std::isfinite(loss))
      throw NumericError(fmt::format("allocator sensitivity: block {}: the loss without {} units is not finite", block,
                                     removed.size()));
    return place->second = loss - pass_->loss();
  }

  // The curves in the order of a price, each with the units that `units` gives.
  template <class PriceOf, class UnitsOf>
  static std::vector<Unit> InOrderOfPrice(const std::vector<Curve>& curves, const PriceOf& price,
                                          const UnitsOf& units) {
    std::vector<const Curve*> sorted;
    for (const Curve& curve : curves) sorted.push_back(&curve);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](const Curve* a, const Curve* b) { return price(*a) < price(*b); });
    std::vector<Unit> order;
    for (const Curve* curve : sorted) units(*curve, order);
    return order;
  }

  // The units of the chosen levels; those that pay most for them last, so that they are held back where they exceed.
  static std::vector<Unit> Chosen(const std::vector<Curve>& curves) {
    return InOrderOfPrice(
        curves, [](const Curve& curve) { return curve.chosen < 0 ? 0 : curve.Price(curve.chosen); },
        [](const Curve& curve, std::vector<Unit>& order) {
          if (curve.chosen < 0) return;
          const int64_t count = curve.counts[static_cast<size_t>(curve.chosen)];
          order.insert(order.end(), curve.removed.begin(), curve.removed.begin() + count);
        });
  }

  static std::vector<Unit> Others(const std::vector<Curve>& curves) {
    return InOrderOfPrice(
        curves, [](const Curve& curve) { return curve.Price(curve.chosen + 1); },
        [](const Curve& curve, std::vector<Unit>& order) {
          order.insert(order.end(), curve.order.begin(), curve.order.end());
        });
  }

  std::vector<int64_t> percent_;
  int64_t sequences_;
  // Kept between calls for the same model: a plan is made with and without protection.
  mutable std::optional<DensePass> pass_;
  mutable std::map<std::vector<Unit>, double> rises_;
};

const bool kRegistered = Registry<Allocator>::Register(
    {"sensitivity",
     "Shares of every group chosen together by the rise of the loss that each alone causes",
     "ours; error of groups measured one at a time: NetAdapt, arXiv 1804.03230",
     {"windows"},
     {IntListOption("percent", std::vector<int64_t>{12, 25, 50, 75}, "Shares of a group's units that are tried")
          .Between(1, 100),
      IntOption("sequences", 4, "Calibration windows that every trial is run on").AtLeast(1)}},
    [](const Options& options) -> std::unique_ptr<Allocator> {
      return std::make_unique<Sensitivity>(options.IntList("percent"), options.Int("sequences"));
    });

}  // namespace
}  // namespace espalier
