// The lines under the titles of sections: what the chart shows, in figures.
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/report/html_parts.h"

namespace espalier {

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
    narrowest = std::min(narrowest, block.ffn_channels.size());
    widest = std::max(widest, block.ffn_channels.size());
    groups += block.kv_groups.size();
    channels_before = std::max(channels_before, block.ffn_channels_before);
    groups_before += block.kv_groups_before;
  }
  return fmt::format("FFN widths from {} to {} of {}; {} of {} KV groups.",
                     FormatCount(static_cast<int64_t>(narrowest)), FormatCount(static_cast<int64_t>(widest)),
                     FormatCount(channels_before), groups, groups_before);
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
