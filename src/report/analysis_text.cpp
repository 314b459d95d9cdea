// The analysis for a terminal.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/report/analysis.h"
#include "espalier/report/format.h"
#include "espalier/report/phenomena_text.h"
#include "espalier/report/text_table.h"

namespace espalier {
namespace {

using Cells = std::vector<std::string>;

constexpr size_t kListed = 12;  // rows of a list below the table; the other forms have all

// A column with a cell for each row of `list`; heads of two lines.
template <class List, class Value>
TextColumn Column(const char* over, const char* under, const List& list, const Value& value) {
  Cells cells = {over, under};
  for (size_t i = 0; i < list.size(); ++i) cells.push_back(value(list[i], i));
  return MakeTextColumn(cells);
}

std::string SinksText(const BlockPhenomena& block) {
  const HeadCounts heads = CountHeads(block);
  return fmt::format("{} + {}", heads.no_op, heads.broadcast);
}

std::string BlocksText(const Phenomena& model) {
  using Block = BlockPhenomena;
  const auto& blocks = model.blocks;
  if (blocks.empty()) return "";
  const auto figure = [&](const char* over, const char* under, double (*value)(const Block&)) {
    return Column(over, under, blocks, [value](const Block& block, size_t) { return FormatCell(value(block)); });
  };
  std::vector<TextColumn> columns = {
      Column("paper's", "blocks", blocks, [](const Block&, size_t i) { return PaperText(static_cast<int64_t>(i)); }),
      figure("max |h|", "attn", [](const Block& block) { return block.attention.residual_max; }),
      figure("max |h|", "FFN", [](const Block& block) { return block.ffn.residual_max; }),
      figure("times", "median", [](const Block& block) { return block.ffn.Ratio(); }),
      figure("largest", "write", [](const Block& b) { return std::max(b.attention.output_max, b.ffn.output_max); }),
      Column("channel@", "position", blocks, [](const Block& b, size_t) { return PeakText(b.ffn.residual_top); }),
      figure("kurto-", "sis", [](const Block& block) { return block.ffn.residual_kurtosis; }),
      figure("", "F-Attn", [](const Block& block) { return block.first_token_mass; }),
      Column("no-op +", "broadcast", blocks, [](const Block& block, size_t) { return SinksText(block); })};
  if (model.HasGates() || model.HasSinkLogits())
    columns.push_back(Column("mean", "gate", blocks, [](const Block& block, size_t) {
      return block.gate ? FormatCell(block.gate->mean) : "";
    }));
  return RenderColumns(Column("", "block", blocks, [](const Block&, size_t i) { return fmt::format("{}", i); }),
                       columns);
}

// Title, table and how many rows were left out.
std::string ListText(const std::string& title, size_t count, const std::string& table) {
  if (count == 0) return "";
  const std::string more = count > kListed ? fmt::format("and {} more\n", count - kListed) : "";
  return "\n" + title + "\n" + table + more;
}

template <class Item>
std::vector<Item> Head(const std::vector<Item>& list) {
  return {list.begin(), list.begin() + static_cast<std::ptrdiff_t>(std::min(list.size(), kListed))};
}

std::string NeuronsText(const Phenomena& model) {
  const std::vector<SpikeNeuron> list = Head(StrongestFirst(model.neurons));
  using Neuron = SpikeNeuron;
  const auto scan = [&](const char* over, const char* under, std::string (*text)(const Amplifier&, const Neuron&)) {
    return Column(over, under, list, [&model, text](const Neuron& neuron, size_t) {
      const Amplifier* amplifier = FindAmplifier(model, neuron);
      return amplifier ? text(*amplifier, neuron) : std::string();
    });
  };
  std::vector<TextColumn> columns = {
      Column("", "role", list, [](const Neuron& n, size_t) { return RoleText(n.role); }),
      Column("activa-", "tion", list, [](const Neuron& n, size_t) { return FormatCell(n.activation); }),
      Column("", "writes", list, [](const Neuron& n, size_t) { return FormatCell(n.contribution); }),
      Column("channel@", "position", list,
             [](const Neuron& n, size_t) { return fmt::format("{}@{}", n.channel, n.position); })};
  if (model.scan) {
    columns.push_back(scan("", "lambda*", [](const Amplifier& a, const Neuron&) { return FormatCell(a.eigenvalue); }));
    columns.push_back(
        scan("domi-", "nance", [](const Amplifier& a, const Neuron&) { return FormatShare(a.dominance); }));
    columns.push_back(scan("", "|cos|", [](const Amplifier& a, const Neuron&) { return FormatCell(a.cosine); }));
    columns.push_back(scan("neuron", "share", [](const Amplifier& a, const Neuron& n) {
      return a.neuron == n.index ? FormatShare(a.neuron_share) : fmt::format("{} leads", a.neuron);
    }));
  }
  const TextColumn names = Column("neuron", "(block, index)", list,
                                  [](const Neuron& n, size_t) { return fmt::format("({}, {})", n.block, n.index); });
  return ListText("Neurons that make and clear spikes", model.neurons.size(), RenderColumns(names, columns));
}

std::string SuperWeightsText(const Phenomena& model) {
  const std::vector<SuperWeight> list = Head(model.super_weights);
  const auto figure = [&](const char* name, double SuperWeight::*member) {
    return Column("", name, list, [member](const SuperWeight& w, size_t) { return FormatCell(w.*member); });
  };
  const TextColumn names = Column("w_down", "block [row, column]", list, [](const SuperWeight& w, size_t) {
    return fmt::format("{} [{}, {}]", w.block, w.row, w.column);
  });
  return ListText("Super weights", model.super_weights.size(),
                  RenderColumns(names, {figure("weight", &SuperWeight::weight), figure("input", &SuperWeight::input),
                                        figure("output", &SuperWeight::output)}));
}

std::string OutliersText(const Phenomena& model) {
  std::vector<std::string> tokens;
  for (const OutlierToken& token : Head(model.outliers.tokens))
    tokens.push_back(fmt::format("{} ×{}", CutText(TokenText(token.text), 20), token.count));
  std::string text = OutlierSentence(model);
  if (!tokens.empty()) text += fmt::format(" Most frequent: {}.", fmt::join(tokens, ", "));
  return "\n" + WrapText(text);
}

std::string Paragraph(const std::string& text) {
  return text.empty() ? "" : "\n" + WrapText(text);
}

std::string Bullets(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += WrapText("- " + item, 2);
  return text;
}

std::string FlagsText(const std::vector<std::string>& flags) {
  return flags.empty() ? "" : "\nFLAGS\n" + Bullets(flags);
}

std::string NoticesText(const std::vector<Phenomena>& models) {
  const std::string items = Bullets(AllNotices(models));
  return items.empty() ? "" : "\nNotices\n" + items;
}

std::string OneModel(const Phenomena& model) {
  const std::string family = model.family.empty() ? "" : fmt::format(", {}", model.family);
  std::string text = WrapText(fmt::format("{}{}, {}", model.model, family, TokensText(model)));
  const std::string blocks = BlocksText(model);
  text += (blocks.empty() ? "" : "\n") + blocks + Paragraph(SpikeSentence(model)) + Paragraph(SinkSentence(model));
  return text + Paragraph(GateSentence(model)) + NeuronsText(model) + SuperWeightsText(model) +
         Paragraph(ScanSentence(model)) + OutliersText(model) + Paragraph(VocabularySentence(model));
}

std::string SeveralModels(const std::vector<Phenomena>& models) {
  std::string text = WrapText(fmt::format("Before and after, {}", TokensText(models.front())));
  Cells names = {"", ""}, change = {"", "change"};
  std::vector<Cells> values;
  for (size_t i = 0; i < models.size(); ++i) values.push_back({i == 0 ? "before" : "after", models[i].model});
  for (const KeyFigureRow& row : CompareKeyFigures(models)) {
    names.push_back(row.name);
    change.push_back(row.change);
    for (size_t i = 0; i < models.size(); ++i) values[i].push_back(row.texts[i]);
  }
  std::vector<TextColumn> columns;
  for (const Cells& cells : values) columns.push_back(MakeTextColumn(cells));
  columns.push_back(MakeTextColumn(change));
  return text + "\n" + RenderColumns(MakeTextColumn(names), columns);
}

}  // namespace

std::string RenderAnalysisTable(const std::vector<Phenomena>& models, const std::vector<std::string>& flags) {
  if (models.empty()) return "";
  const std::string body = models.size() == 1 ? OneModel(models.front()) : SeveralModels(models);
  return body + FlagsText(flags) + NoticesText(models);
}

}  // namespace espalier
