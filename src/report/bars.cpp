// Charts of bars: perplexities and what each block keeps.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/charts.h"
#include "espalier/report/svg.h"

namespace espalier {
namespace {

constexpr double kLogFrom = 15;     // perplexities that differ by more than this factor are drawn on a log scale
constexpr size_t kMaxSquares = 16;  // KV groups of a block drawn one by one; more are drawn as a share

Scale PerplexityScale(const Comparison& comparison) {
  std::vector<double> all;
  for (const auto& row : comparison.perplexity)
    for (const auto& cell : row)
      if (cell && std::isfinite(cell->value) && cell->value >= 1) {
        all.push_back(cell->value);
        all.push_back(cell->high.value_or(cell->value));
      }
  if (all.empty()) return {0, 1, 0, 1, false};
  const auto [low, high] = std::minmax_element(all.begin(), all.end());
  if (*high < kLogFrom * *low) return {0, *high, 0, 1, false};
  return {1, *high, 0, 1, true};  // perplexity 1 is perfect prediction, so bars may start there
}

void DrawBar(Svg& svg, const Scale& scale, double y, size_t style, const std::string& model, const Estimate& estimate,
             bool narrow) {
  constexpr double kThick = 20;
  const std::string interval = FormatInterval(estimate);
  const std::string text = FormatFigure(estimate.value);
  svg.Text(scale.from - 10, y + kThick / 2 + 4.5, model, "label end");
  if (!std::isfinite(estimate.value)) {
    svg.Text(scale.from + 6, y + kThick / 2 + 4.5, text, "value");
    return;
  }
  const double end = scale.At(estimate.value);
  svg.Rect(scale.from, y, std::max(end - scale.from, 1.0), kThick, fmt::format("bar m{}", style),
           fmt::format("{}: {} {}", model, text, interval));
  double right = end;
  if (!interval.empty() && std::isfinite(*estimate.low) && std::isfinite(*estimate.high)) {
    const double low = scale.At(*estimate.low), high = scale.At(*estimate.high), middle = y + kThick / 2;
    svg.Path(fmt::format("M{0} {2}H{1}M{0} {3}V{4}M{1} {3}V{4}", SvgNumber(low), SvgNumber(high), SvgNumber(middle),
                         SvgNumber(middle - 5), SvgNumber(middle + 5)),
             "whisker");
    right = std::max(right, high);
  }
  svg.Text(right + 8, y + kThick / 2 + 4.5, text, "value");
  if (!narrow && !interval.empty())
    svg.Text(right + 16 + 8.0 * static_cast<double>(text.size()), y + kThick / 2 + 4.5, interval, "tick");
}

std::string ProtectedText(const ProtectedUnit& unit) {
  return fmt::format("{}: {} ({}{})", UnitText(unit.unit), unit.reason, unit.rule,
                     unit.would_cut ? ", would have been cut" : "");
}

// Geometry shared by everything in the chart of kept units.
struct Columns {
  double left = 46, column = 0, bar = 0;  // first pixel, pitch and thickness of a block's column
  double ffn_top = 24, ffn_bottom = 164, kv_top = 178, square = 0;
  double Middle(int64_t block) const { return left + (static_cast<double>(block) + 0.5) * column; }
};

double Share(const KeptUnits& units) {
  return units.before > 0 ? static_cast<double>(units.kept.size()) / static_cast<double>(units.before) : 0;
}

void DrawFfn(Svg& svg, const Columns& at, int64_t number, const BlockPlan& block) {
  const double height = at.ffn_bottom - at.ffn_top, x = at.Middle(number) - at.bar / 2;
  const KeptUnits& channels = block.At(UnitKind::kFfnChannel);
  const double share = Share(channels);
  const std::string title = fmt::format("block {}: {} of {} FFN channels kept, {}", number,
                                        FormatCount(static_cast<int64_t>(channels.kept.size())),
                                        FormatCount(channels.before), FormatShare(share));
  svg.Rect(x, at.ffn_top, at.bar, height, "cut", title);
  svg.Rect(x, at.ffn_bottom - share * height, at.bar, share * height, "kept", title);
}

void DrawGroups(Svg& svg, const Columns& at, int64_t number, const BlockPlan& block) {
  for (int64_t group = 0; group < block.At(UnitKind::kKvGroup).before; ++group) {
    const bool kept =
        std::binary_search(block.At(UnitKind::kKvGroup).kept.begin(), block.At(UnitKind::kKvGroup).kept.end(), group);
    svg.Rect(at.Middle(number) - at.square / 2, at.kv_top + static_cast<double>(group) * (at.square + 3), at.square,
             at.square, kept ? "kept" : "cut",
             fmt::format("block {}: KV group {} {}", number, group, kept ? "kept" : "removed"));
  }
}

// A ring around a KV group's square; one diamond above a block's column for all else that is protected in it.
void DrawProtected(Svg& svg, const Columns& at, const Plan& plan, bool squares) {
  std::vector<std::string> titles(plan.blocks.size());
  for (const ProtectedUnit& unit : plan.protected_units) {
    if (squares && unit.unit.kind == UnitKind::kKvGroup) {
      const double y = at.kv_top + static_cast<double>(unit.unit.index) * (at.square + 3);
      svg.Rect(at.Middle(unit.unit.block) - at.square / 2 - 1.5, y - 1.5, at.square + 3, at.square + 3, "ring",
               ProtectedText(unit));
      continue;
    }
    if (PerModel(unit.unit.kind)) continue;  // of no block: the table of protected units has it
    std::string& title = titles[static_cast<size_t>(unit.unit.block)];
    title += (title.empty() ? "" : "; ") + ProtectedText(unit);
  }
  for (size_t block = 0; block < titles.size(); ++block)
    if (!titles[block].empty())
      svg.Marker(at.Middle(static_cast<int64_t>(block)), at.ffn_top - 10, 3, "mark protected", titles[block]);
}

int64_t MostGroups(const Plan& plan) {
  int64_t most = 0;
  for (const BlockPlan& block : plan.blocks) most = std::max(most, block.At(UnitKind::kKvGroup).before);
  return most;
}

// With many groups the squares would be specks: the share kept, written as a small bar.
void DrawGroupShare(Svg& svg, const Columns& at, int64_t number, const BlockPlan& block, double height) {
  const KeptUnits& groups = block.At(UnitKind::kKvGroup);
  const double share = Share(groups);
  const std::string title = fmt::format("block {}: {} of {} KV groups kept", number, groups.kept.size(), groups.before);
  svg.Rect(at.Middle(number) - at.bar / 2, at.kv_top, at.bar, height, "cut", title);
  svg.Rect(at.Middle(number) - at.bar / 2, at.kv_top + height * (1 - share), at.bar, height * share, "kept", title);
}

void DrawKeptAxes(Svg& svg, const Columns& at, size_t count, double bottom) {
  for (int percent : {0, 50, 100}) {
    const double y = at.ffn_bottom - percent / 100.0 * (at.ffn_bottom - at.ffn_top);
    svg.Line(at.left, y, svg.width() - 14, y, "grid");
    svg.Text(at.left - 8, y + 4, fmt::format("{} %", percent), "tick end");
  }
  svg.Text(at.left - 8, at.ffn_top + 0.25 * (at.ffn_bottom - at.ffn_top) + 4, "FFN", "axis end");
  svg.Text(at.left - 8, (at.kv_top + bottom) / 2 + 4, "KV", "axis end");
  size_t step = 1;
  for (size_t next : {2, 5, 10, 20, 50})
    if (at.column * static_cast<double>(step) < 24) step = next;
  for (size_t i = 0; i < count; i += step)
    svg.Text(at.Middle(static_cast<int64_t>(i)), bottom + 18, fmt::format("{}", i), "tick mid");
  svg.Text((at.left + svg.width() - 14) / 2, bottom + 35, "block", "axis mid");
}

}  // namespace

size_t ModelStyle(const Comparison& comparison, const std::string& model) {
  size_t others = 3;
  for (const std::string& name : comparison.models) {
    const bool fixed = name == "dense" || name == "pruned" || name == "healed";
    if (name == model) return name == "dense" ? 0 : name == "pruned" ? 1 : name == "healed" ? 2 : 3 + (others - 3) % 3;
    if (!fixed) ++others;
  }
  return model == "dense" ? 0 : model == "pruned" ? 1 : model == "healed" ? 2 : 3;
}

StyledModels AnalysedModels(const ReportView& view) {
  StyledModels models;
  for (const Phenomena& model : view.data.phenomena)
    models.push_back({&model, ModelStyle(view.comparison, model.model)});
  return models;
}

std::string PerplexityChart(const ReportView& view, double width) {
  const Comparison& comparison = view.comparison;
  if (comparison.corpora.empty()) return "";
  constexpr double kPitch = 26, kTitle = 30, kGap = 14;
  double height = 0;
  for (size_t c = 0; c < comparison.corpora.size(); ++c) {
    height += kTitle + (c > 0 ? kGap : 0);
    for (const auto& row : comparison.perplexity) height += row[c] ? kPitch : 0;
  }
  size_t longest = 0;
  for (const std::string& model : comparison.models) longest = std::max(longest, CleanText(model).size());
  const bool narrow = width < 500;
  Scale scale = PerplexityScale(comparison);
  scale.from = std::min(16 + 7.5 * static_cast<double>(longest), width / 3);
  scale.to = width - (narrow ? 62 : 200);
  Svg svg(width, height + 4, "Perplexity of each model with its 95 % interval");
  double y = 0;
  for (size_t c = 0; c < comparison.corpora.size(); ++c) {
    y += c > 0 ? kGap : 0;
    svg.Text(0, y + 16, comparison.corpora[c].Title() + (scale.logarithmic ? ", log scale from 1" : ""), "group");
    y += kTitle;
    for (size_t m = 0; m < comparison.models.size(); ++m) {
      if (!comparison.perplexity[m][c]) continue;
      DrawBar(svg, scale, y, ModelStyle(comparison, comparison.models[m]), comparison.models[m],
              *comparison.perplexity[m][c], narrow);
      y += kPitch;
    }
  }
  return svg.Finish();
}

std::string KeptUnitsChart(const ReportView& view, double width) {
  if (!view.data.plan || view.data.plan->blocks.empty()) return "";
  const Plan& plan = *view.data.plan;
  const auto count = static_cast<int64_t>(plan.blocks.size());
  const int64_t groups = MostGroups(plan);
  Columns at;
  at.column = (width - at.left - 14) / static_cast<double>(count);
  at.bar = std::max(at.column * 0.72, 1.0);
  at.square = std::clamp(at.bar, 1.0, 12.0);
  const bool squares = groups <= static_cast<int64_t>(kMaxSquares);
  const double kv_height = squares ? static_cast<double>(groups) * (at.square + 3) : 50;
  const double bottom = at.kv_top + kv_height;
  Svg svg(width, bottom + 40, "FFN channels and KV groups that each block keeps");
  DrawKeptAxes(svg, at, plan.blocks.size(), bottom);
  for (int64_t i = 0; i < count; ++i) {
    const BlockPlan& block = plan.blocks[static_cast<size_t>(i)];
    DrawFfn(svg, at, i, block);
    if (squares) DrawGroups(svg, at, i, block);
    if (!squares) DrawGroupShare(svg, at, i, block, kv_height);
  }
  DrawProtected(svg, at, plan, squares);
  return svg.Finish();
}

}  // namespace espalier
