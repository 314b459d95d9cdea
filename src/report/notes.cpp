// The lines under the titles of sections: what the chart shows, in figures.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "espalier/core/log.h"
#include "espalier/report/html_parts.h"

namespace espalier {

namespace {

struct UnitTotal {
  int64_t kept = 0, before = 0;
  void Add(const KeptUnits& units) {
    kept += static_cast<int64_t>(units.kept.size());
    before += units.before;
  }
};

// Over all blocks, of the kinds that the plan lists besides the two that it always does.
std::map<UnitKind, UnitTotal> OtherKinds(const Plan& plan) {
  std::map<UnitKind, UnitTotal> totals;
  for (const BlockPlan& block : plan.blocks)
    for (const auto& [kind, units] : block.units)
      if (kind != UnitKind::kKvGroup && kind != UnitKind::kFfnChannel) totals[kind].Add(units);
  if (plan.residual_channels) totals[UnitKind::kResidualChannel].Add(*plan.residual_channels);
  return totals;
}

}  // namespace

std::string BudgetNote(const ReportView& view) {
  if (!view.data.plan) return "";
  const Plan& plan = *view.data.plan;
  return fmt::format("Asked to remove {} of {}, removed {:.2f} %. Scorer {}, allocation {}.",
                     FormatShare(plan.requested_share), PlainName(plan.budget_of), 100 * plan.achieved_share,
                     plan.scorer, plan.allocator);
}

std::string KeptUnitsNote(const ReportView& view) {
  if (!view.data.plan || view.data.plan->blocks.empty()) return "";
  size_t narrowest = SIZE_MAX, widest = 0, groups = 0;
  int64_t channels_before = 0, groups_before = 0;
  for (const BlockPlan& block : view.data.plan->blocks) {
    const KeptUnits &channels = block.At(UnitKind::kFfnChannel), &of_block = block.At(UnitKind::kKvGroup);
    narrowest = std::min(narrowest, channels.kept.size());
    widest = std::max(widest, channels.kept.size());
    groups += of_block.kept.size();
    channels_before = std::max(channels_before, channels.before);
    groups_before += of_block.before;
  }
  std::string text =
      fmt::format("FFN widths from {} to {} of {}; {} of {} KV groups", FormatCount(static_cast<int64_t>(narrowest)),
                  FormatCount(static_cast<int64_t>(widest)), FormatCount(channels_before), groups, groups_before);
  for (const auto& [kind, units] : OtherKinds(*view.data.plan))
    text += fmt::format("; {} of {} {}", FormatCount(static_cast<int64_t>(units.kept)), FormatCount(units.before),
                        PlainName(InfoOf(kind).plural));
  return text + ".";
}

std::string SinkNote(const ReportView& view) {
  if (view.data.phenomena.empty()) return "";
  const Phenomena& first = view.data.phenomena.front();
  return fmt::format(
      "Share of (sequence, head) pairs that give the first token more than {:g} of their attention, over "
      "{} sequences of {} tokens.",
      first.sink_epsilon, first.sequences, first.sink_length);
}

std::string HealingNote(const ReportView& view) {
  if (!view.data.healing || view.data.healing->tokens.empty()) return "";
  const HealingCurve& curve = *view.data.healing;
  std::string text =
      fmt::format("Loss in nats per token over {} steps", FormatCount(static_cast<int64_t>(curve.loss.size())));
  if (!curve.validation_loss.empty())
    text += fmt::format("; validation {} to {}", FormatFigure(curve.validation_loss.front()),
                        FormatFigure(curve.validation_loss.back()));
  return text + ".";
}

}  // namespace espalier
