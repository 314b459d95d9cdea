// The ablation as JSON and as a table.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/evaluate/ablation.h"

namespace espalier {
namespace {

constexpr size_t kNameWidth = 26;  // with two texts the table is 100 columns wide

std::string Shortened(const std::string& text) {
  return text.size() <= kNameWidth ? text : fmt::format("{}...", text.substr(0, kNameWidth - 3));
}

std::string PerplexityCell(const AblationRow& row, size_t text) {
  if (!std::isfinite(row.perplexity[text])) return fmt::format("{:>9} {:>7}", "inf", "");
  const std::string ratio = row.ratio.empty() ? "" : fmt::format("x{:.3g}", row.ratio[text].mean);
  return fmt::format("{:>9.2f} {:>7}", row.perplexity[text], ratio);
}

std::string RowText(const AblationRow& row) {
  std::string text = fmt::format("{:<{}}", Shortened(row.intervention), kNameWidth);
  for (size_t i = 0; i < row.perplexity.size(); ++i) text += " " + PerplexityCell(row, i);
  return text + fmt::format(" {:>8.0f} {:>12} {:>5.1f}% {:>6.3f}\n", row.phenomena.LargestResidual(),
                            SublayersText(row.phenomena.step_up), 100 * row.phenomena.sink_rate,
                            row.phenomena.first_token_mass);
}

}  // namespace

std::string AblationTable(const Ablation& ablation) {
  std::string text =
      fmt::format("{}: perplexity of {} windows of {} tokens, each on its own; phenomena of {} tokens\n\n",
                  ablation.model, ablation.windows, ablation.window,
                  ablation.rows.front().phenomena.sequences * ablation.rows.front().phenomena.sequence_length);
  text += fmt::format("{:<{}}", "intervention", kNameWidth);
  for (const std::string& name : ablation.texts) text += fmt::format(" {:>17}", name.substr(0, 17));
  text += fmt::format(" {:>8} {:>12} {:>6} {:>6}\n", "max |h|", "step-up", "sinks", "F-Attn");
  for (const AblationRow& row : ablation.rows) text += RowText(row);
  bool first = true;
  for (const AblationRow& row : ablation.rows) {
    if (row.intervention.size() > kNameWidth || !row.flags.empty()) {
      text += fmt::format("{}{}\n", first ? "\n" : "", row.intervention);
      first = false;
    }
    for (const PhenomenonFlag& flag : row.flags) text += fmt::format("  {}: {}\n", FlagKindName(flag.kind), flag.text);
  }
  return text;
}

Json AblationToJson(const Ablation& ablation) {
  Json json = {{"schema", "espalier.ablation/1"}, {"model", ablation.model},   {"texts", ablation.texts},
               {"windows", ablation.windows},     {"window", ablation.window}, {"rows", Json::array()}};
  for (const AblationRow& row : ablation.rows) {
    Json ratios = Json::array(), flags = Json::array();
    for (const Interval& ratio : row.ratio)
      ratios.push_back({{"value", ratio.mean}, {"low", ratio.low}, {"high", ratio.high}});
    for (const PhenomenonFlag& flag : row.flags)
      flags.push_back({{"kind", FlagKindName(flag.kind)}, {"text", flag.text}});
    json["rows"].push_back({{"intervention", row.intervention},
                            {"perplexity", row.perplexity},
                            {"ratio", ratios},
                            {"flags", flags},
                            {"phenomena", PhenomenaToJson(row.phenomena)}});
  }
  return json;
}

}  // namespace espalier
