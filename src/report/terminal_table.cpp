#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/report/report.h"
#include "espalier/report/view.h"

namespace espalier {
namespace {

constexpr size_t kWidth = 100;     // columns of the terminal
constexpr size_t kMaxColumn = 30;  // of one table column; a longer text is cut
constexpr std::string_view kGap = "  ";

// Characters shown: bytes that are not the tail of a UTF-8 sequence.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Cut(const std::string& text) {
  std::string clean = CleanText(text);
  if (Width(clean) <= kMaxColumn) return clean;
  size_t bytes = 0;
  for (size_t shown = 0; bytes < clean.size(); ++bytes)
    if ((clean[bytes] & 0xC0) != 0x80 && ++shown == kMaxColumn) break;
  return clean.substr(0, bytes) + "…";
}

// Two lines of head over one cell for each model.
struct TableColumn {
  std::vector<std::string> cells;
  size_t width = 0;
};

TableColumn MakeColumn(const std::vector<std::string>& cells) {
  TableColumn column;
  for (const std::string& cell : cells) {
    column.cells.push_back(Cut(cell));
    column.width = std::max(column.width, Width(column.cells.back()));
  }
  return column;
}

std::string Padding(size_t count) {
  return std::string(count, ' ');
}

// The columns from `first` to before `last`, after the column of names.
std::string Lines(const TableColumn& names, const std::vector<TableColumn>& columns, size_t first, size_t last) {
  std::string text;
  for (size_t row = 0; row < names.cells.size(); ++row) {
    std::string line = names.cells[row] + Padding(names.width - Width(names.cells[row]));
    for (size_t c = first; c < last; ++c)
      line += std::string(kGap) + Padding(columns[c].width - Width(columns[c].cells[row])) + columns[c].cells[row];
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::vector<TableColumn> SizeColumns(const ReportView& view) {
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
  std::vector<TableColumn> columns;
  for (const auto& cells : {blocks, block_share, all, all_share, bytes, byte_share})
    columns.push_back(MakeColumn(cells));
  return columns;
}

std::vector<TableColumn> FigureColumns(const Comparison& comparison) {
  std::vector<TableColumn> columns;
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
    columns.push_back(MakeColumn(value));
    columns.push_back(MakeColumn(ratio));
  }
  for (size_t s = 0; s < comparison.speeds.size(); ++s) {
    std::vector<std::string> cells = {comparison.speeds[s], "tokens/s"};
    for (const auto& row : comparison.speed) cells.push_back(row[s] ? FormatFigure(row[s]->value) : "");
    columns.push_back(MakeColumn(cells));
  }
  return columns;
}

// As many columns a table as fit; what does not goes below, with the names again.
std::string Wrap(const TableColumn& names, const std::vector<TableColumn>& columns) {
  std::string text;
  for (size_t first = 0; first < columns.size();) {
    size_t last = first, width = names.width;
    while (last < columns.size() && (last == first || width + kGap.size() + columns[last].width <= kWidth))
      width += kGap.size() + columns[last++].width;
    text += (text.empty() ? "" : "\n") + Lines(names, columns, first, last);
    first = last;
  }
  return text;
}

}  // namespace

std::string RenderTerminalTable(const Json& report) {
  const ReportView view = ReadReport(report);
  const Comparison& comparison = view.comparison;
  std::vector<std::string> cells = {"", "model"};
  cells.insert(cells.end(), comparison.models.begin(), comparison.models.end());
  TableColumn names = MakeColumn(cells);
  std::string text = view.data.models.empty() ? "" : Wrap(names, SizeColumns(view));
  names.cells[0] = comparison.corpora.empty() ? "" : "perplexity";
  names.width = std::max(names.width, names.cells[0].size());
  const std::string figures = Wrap(names, FigureColumns(comparison));
  return text + (text.empty() || figures.empty() ? "" : "\n") + figures;
}

}  // namespace espalier
