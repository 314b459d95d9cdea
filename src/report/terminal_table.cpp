#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/report/report.h"
#include "espalier/report/text_table.h"
#include "espalier/report/view.h"

namespace espalier {
namespace {

std::vector<TextColumn> SizeColumns(const ReportView& view) {
  std::vector<std::string> blocks = {"block", "parameters"}, all = {"all", "parameters"}, bytes = {"", "bytes"};
  std::vector<std::string> block_share = {"of", "dense"}, all_share = block_share, byte_share = block_share;
  for (const std::string& name : view.comparison.models) {
    const ModelSummary* model = FindModel(view.data.models, name);
    const auto shares = SharesOf(view.data.models, name);
    blocks.push_back(model ? FormatCount(model->block_parameters) : "");
    all.push_back(model ? FormatCount(model->parameters) : "");
    bytes.push_back(model ? FormatBytes(static_cast<double>(model->bytes)) : "");
    block_share.push_back(shares ? FormatShare(shares->block_parameters) : "");
    all_share.push_back(shares ? FormatShare(shares->total_parameters) : "");
    byte_share.push_back(shares ? FormatShare(shares->bytes) : "");
  }
  std::vector<TextColumn> columns;
  for (const auto& cells : {blocks, block_share, all, all_share, bytes, byte_share})
    columns.push_back(MakeTextColumn(cells));
  return columns;
}

std::vector<TextColumn> FigureColumns(const Comparison& comparison) {
  std::vector<TextColumn> columns;
  for (size_t c = 0; c < comparison.corpora.size(); ++c) {
    std::vector<std::string> value = {comparison.corpora[c].corpus, comparison.corpora[c].preset};
    std::vector<std::string> ratio = {"times", "dense"};
    for (size_t m = 0; m < comparison.models.size(); ++m) {
      const auto& perplexity = comparison.perplexity[m][c];
      const auto& times = comparison.ratio[m][c];
      const std::string interval = perplexity ? FormatInterval(*perplexity) : "";
      value.push_back(perplexity ? FormatFigure(perplexity->value) + (interval.empty() ? "" : " " + interval) : "");
      ratio.push_back(times ? FormatRatio(times->value) : "");
    }
    columns.push_back(MakeTextColumn(value));
    columns.push_back(MakeTextColumn(ratio));
  }
  for (size_t s = 0; s < comparison.speeds.size(); ++s) {
    std::vector<std::string> cells = {comparison.speeds[s], "tokens/s"};
    for (const auto& row : comparison.speed) cells.push_back(row[s] ? FormatFigure(row[s]->value) : "");
    columns.push_back(MakeTextColumn(cells));
  }
  return columns;
}

}  // namespace

std::string RenderTerminalTable(const Json& report) {
  const ReportView view = ReadReport(report);
  const Comparison& comparison = view.comparison;
  std::vector<std::string> cells = {"", "model"};
  cells.insert(cells.end(), comparison.models.begin(), comparison.models.end());
  TextColumn names = MakeTextColumn(cells);
  std::string text = view.data.models.empty() ? "" : RenderColumns(names, SizeColumns(view));
  names.cells[0] = comparison.corpora.empty() ? "" : "perplexity";
  names.width = std::max(names.width, names.cells[0].size());
  const std::string figures = RenderColumns(names, FigureColumns(comparison));
  return text + (text.empty() || figures.empty() ? "" : "\n") + figures;
}

}  // namespace espalier
