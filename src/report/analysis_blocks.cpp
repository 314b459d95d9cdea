// Tables with a row for each block or head.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "analysis_parts.h"
#include "espalier/core/log.h"
#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_text.h"

namespace espalier {
namespace {

int First(const StyledModels& models) {
  return models.size() > 1 ? 1 : 0;  // the column of blocks
}

// A row for each block of each model that `cells` has something to say of.
template <class Cells>
std::string BlockRows(const StyledModels& models, const Cells& cells) {
  std::string rows;
  for (const StyledModel& model : models)
    for (size_t i = 0; i < model.phenomena->blocks.size(); ++i) {
      const std::string text = cells(model.phenomena->blocks[i], static_cast<int64_t>(i));
      if (!text.empty())
        rows += fmt::format("<tr>{}{}{}</tr>\n", ModelCell(models, model), NumberCell(fmt::format("{}", i)), text);
    }
  return rows;
}

std::string Figures(std::initializer_list<double> values) {
  std::string cells;
  for (double value : values) cells += NumberCell(FormatCell(value));
  return cells;
}

std::string Heads(std::initializer_list<const char*> names) {
  std::string head;
  for (const char* name : names) head += HeadCell(name);
  return head;
}

bool AnyGateOfHeads(const StyledModels& models) {
  for (const StyledModel& model : models)
    for (const BlockPhenomena& block : model.phenomena->blocks)
      if (block.gate && !block.gate->head_mean.empty()) return true;
  return false;
}

std::string HeadCells(const BlockPhenomena& block, size_t number, bool gates) {
  const HeadPhenomena& head = block.heads[number];
  std::string cells = NumberCell(fmt::format("{}", number)) + TextCell(ClassText(head.head_class), "keep") +
                      Figures({head.first_token_mass, head.alpha, head.logit_gap, head.logit_gap_deviation,
                               head.value_norm_ratio, head.output_norm, head.written_norm});
  if (!gates) return cells;
  const auto figure = [&](std::vector<double> GatePhenomena::*list) {
    return block.gate && number < (*block.gate.*list).size() ? FormatCell((*block.gate.*list)[number]) : std::string();
  };
  return cells + NumberCell(figure(&GatePhenomena::head_mean)) + NumberCell(figure(&GatePhenomena::head_below_tenth));
}

// Shares of small values, below 1e-2 and below 1e-3.
std::string SmallText(const std::vector<double>& shares) {
  std::vector<std::string> texts;
  for (double share : shares) texts.push_back(FormatShare(share));
  return fmt::format("{}", fmt::join(texts, " / "));
}

std::string RegimeCells(const BlockPhenomena& block) {
  const Regime& regime = block.regime;
  const PostNorm& norm = block.post_norm;
  const auto figure = [](bool measured, double value) { return NumberCell(measured ? FormatCell(value) : ""); };
  const bool spikes = regime.spike_tokens > 0, normed = norm.tokens > 0;
  return NumberCell(FormatCount(regime.spike_tokens)) + figure(spikes, regime.spike_cosine) +
         figure(spikes, regime.spike_ratio) + Figures({regime.other_cosine, regime.other_ratio}) +
         NumberCell(FormatCount(norm.tokens)) + figure(normed, norm.largest) + figure(normed, norm.energy_share) +
         figure(normed, norm.cosine) + figure(normed, norm.key_rank);
}

std::string BlockCells(const BlockPhenomena& block, int64_t number) {
  const HeadCounts heads = CountHeads(block);
  return NumberCell(PaperText(number)) +
         Figures({block.attention.residual_max, block.ffn.residual_max, block.ffn.residual_median, block.ffn.Ratio(),
                  block.ffn.residual_kurtosis, block.attention.output_max, block.ffn.output_max}) +
         NumberCell(PeakText(block.ffn.residual_top)) + Figures({block.first_token_mass}) +
         NumberCell(FormatShare(block.sink_share)) + NumberCell(fmt::format("{}", heads.no_op)) +
         NumberCell(fmt::format("{}", heads.broadcast)) +
         NumberCell(block.window > 0 ? FormatCount(block.window) : "full") +
         NumberCell(block.gate ? FormatCell(block.gate->mean) : "");
}

}  // namespace

std::string HeadTable(const StyledModels& models) {
  const bool gates = AnyGateOfHeads(models);
  std::string rows;
  for (const StyledModel& model : models)
    for (size_t i = 0; i < model.phenomena->blocks.size(); ++i)
      for (size_t head = 0; head < model.phenomena->blocks[i].heads.size(); ++head)
        rows += fmt::format("<tr>{}{}{}</tr>\n", ModelCell(models, model), NumberCell(fmt::format("{}", i)),
                            HeadCells(model.phenomena->blocks[i], head, gates));
  const std::string head =
      ModelColumn(models) + HeadCell("Block") + HeadCell("Head") + TextHead("Class") +
      Heads({"F-Attn", "alpha", "Logit gap", "Deviation", "Value norm", "Output norm", "Written norm"}) +
      (gates ? Heads({"Gate mean", "Gate < 0.1"}) : "");
  return HtmlTable(
      head, rows, {.dense = true, .tall = true, .sortable = true, .range = First(models), .choice = First(models) + 2});
}

std::string GateTable(const StyledModels& models) {
  const std::string rows = BlockRows(models, [](const BlockPhenomena& block, int64_t) {
    if (!block.gate) return std::string();
    const GatePhenomena& gate = *block.gate;
    return TextCell(GateFormText(gate.form), "keep") + Figures({gate.mean}) +
           NumberCell(FormatShare(gate.below_tenth)) + Figures({gate.magnitude_before, gate.magnitude_after}) +
           NumberCell(SmallText(gate.small_before)) + NumberCell(SmallText(gate.small_after)) +
           NumberCell(SmallText(gate.small_control));
  });
  if (rows.empty()) return "";
  return "<p class=\"note\">Small values: shares of attention outputs below 1e-2 / 1e-3 before the gate, after it, and "
         "of a control that is scaled by the mean score.</p>\n" +
         HtmlTable(ModelColumn(models) + HeadCell("Block") + TextHead("Form") + HeadCell("Mean") + HeadCell("< 0.1") +
                       HeadCell("|Y| before") + HeadCell("|Y| after") + HeadCell("Small before") +
                       HeadCell("Small after") + HeadCell("Control"),
                   rows, {.dense = true, .tall = true, .sortable = true});
}

std::string RegimeTable(const StyledModels& models) {
  return HtmlTable(
      ModelColumn(models) + Heads({"Block", "Spike tokens", "Cosine", "Ratio", "Cosine, others", "Ratio, others",
                                   "Normed tokens", "Largest", "Energy share", "Cosine of pairs", "Key rank"}),
      BlockRows(models, [](const BlockPhenomena& block, int64_t) { return RegimeCells(block); }),
      {.dense = true, .sortable = true});
}

std::string BlockTable(const StyledModels& models) {
  return HtmlTable(ModelColumn(models) + Heads({"Block", "Paper's", "|h| attention", "|h| FFN", "Median", "Ratio",
                                                "Kurtosis", "Write attn", "Write FFN", "Largest at", "F-Attn",
                                                "Sink share", "No-op", "Broadcast", "Window", "Gate"}),
                   BlockRows(models, BlockCells), {.dense = true, .sortable = true});
}

}  // namespace espalier
