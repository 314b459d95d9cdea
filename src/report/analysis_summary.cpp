// The top of the analysis page: what was found, before any detail.
#include <fmt/format.h>

#include "analysis_parts.h"
#include "espalier/core/log.h"
#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_text.h"

namespace espalier {
namespace {

std::string Eyebrow(const std::vector<Phenomena>& models) {
  if (models.empty()) return "Espalier analysis";
  const Phenomena& model = models.back();
  return fmt::format("Espalier analysis · {}{}{}", model.family, model.family.empty() ? "" : " · ", TokensText(model));
}

std::string Title(const std::vector<Phenomena>& models) {
  if (models.empty()) return "No model was analysed";
  return models.size() == 1 ? models.front().model : fmt::format("{} → {}", models.front().model, models.back().model);
}

std::string Verdict(const std::vector<Phenomena>& models, size_t flags) {
  if (models.size() < 2) return "";
  return fmt::format("<p class=\"verdict {}\">{}</p>\n", flags > 0 ? "fail" : "pass",
                     flags > 0 ? fmt::format("✗ {} {}", flags, flags == 1 ? "flag" : "flags") : "✓ no flags");
}

std::string Small(const std::string& text) {
  return text.empty() ? "" : fmt::format("<small>{}</small>", EscapeHtml(text));
}

// The last model's figure, under it what it means and what it was before.
struct Tile {
  std::string what;
  std::string (*figure)(const Phenomena&);
  std::string (*below)(const Phenomena&);
};

const std::vector<Tile>& SummaryTiles() {
  static const std::vector<Tile> tiles = {
      {"Largest |h|", [](const Phenomena& p) { return FormatFigure(p.LargestResidual()); },
       [](const Phenomena& p) { return fmt::format("M-Act {}, mean over blocks", FormatFigure(p.massive_mean)); }},
      {"Spike channels", [](const Phenomena& p) { return fmt::format("{}", p.spike_channels.size()); },
       [](const Phenomena& p) { return ChannelsText(p.spike_channels); }},
      {"Step-up / step-down",
       [](const Phenomena& p) { return fmt::format("{} / {}", p.step_up.size(), p.step_down.size()); },
       [](const Phenomena& p) { return SublayersText(p.step_up) + " / " + SublayersText(p.step_down); }},
      {"Sink rate", [](const Phenomena& p) { return FormatShare(p.sink_rate); },
       [](const Phenomena& p) { return fmt::format("alpha_1 > {:g} at T {}", p.sink_epsilon, p.sink_length); }},
      {"Sink heads",
       [](const Phenomena& p) { return fmt::format("{} of {}", CountHeads(p).Sinks(), CountHeads(p).heads); },
       [](const Phenomena& p) {
         return fmt::format("{} no-op, {} broadcast", CountHeads(p).no_op, CountHeads(p).broadcast);
       }},
      {"F-Attn", [](const Phenomena& p) { return FormatCell(p.first_token_mass); },
       [](const Phenomena& p) { return fmt::format("attention to the first token, T {}", p.sequence_length); }}};
  return tiles;
}

std::string GateText(const GateMeans& gates) {
  return gates.blocks > 0 ? FormatCell(gates.mean) : "none";
}

Tile GateTile(bool sink_logits) {
  if (sink_logits)
    return {"Mean effective gate", [](const Phenomena& p) { return GateText(MeanGate(p, true)); },
            [](const Phenomena&) { return std::string("of the sink logits"); }};
  return {"Mean gate score", [](const Phenomena& p) { return GateText(MeanGate(p, false)); },
          [](const Phenomena& p) {
            const GateMeans gates = MeanGate(p, false);
            return gates.blocks > 0 ? FormatShare(gates.below_tenth) + " below 0.1" : std::string();
          }};
}

std::string RenderTile(const std::vector<Phenomena>& models, const Tile& tile) {
  std::string below = Small(tile.below(models.back()));
  if (models.size() > 1) below += Small("before: " + tile.figure(models.front()));
  return HtmlTile(tile.what, tile.figure(models.back()), below);
}

}  // namespace

std::string AnalysisHero(const std::vector<Phenomena>& models, const std::vector<std::string>& flags) {
  std::string hero = fmt::format("<header>\n<p class=\"eyebrow\">{}</p>\n<h1>{}</h1>\n{}", EscapeHtml(Eyebrow(models)),
                                 EscapeHtml(Title(models)), Verdict(models, flags.size()));
  hero += HtmlAlert("Flags", flags);
  for (const Phenomena& model : models) {
    if (models.size() > 1) hero += fmt::format("<h3>{}</h3>\n", EscapeHtml(model.model));
    for (const std::string& text : {SpikeSentence(model), SinkSentence(model), GateSentence(model)})
      if (!text.empty()) hero += fmt::format("<p class=\"lead\">{}</p>\n", EscapeHtml(text));
  }
  return hero + "</header>\n";
}

std::string AnalysisTiles(const std::vector<Phenomena>& models) {
  if (models.empty()) return "";
  std::string tiles;
  for (const Tile& tile : SummaryTiles()) tiles += RenderTile(models, tile);
  for (const bool sink_logits : {false, true}) {
    int64_t blocks = 0;
    for (const Phenomena& model : models) blocks += MeanGate(model, sink_logits).blocks;
    if (blocks > 0) tiles += RenderTile(models, GateTile(sink_logits));
  }
  return HtmlTiles(tiles);
}

std::string AnalysisComparison(const StyledModels& models) {
  if (models.size() < 2) return "";
  std::vector<Phenomena> phenomena;
  std::string head = TextHead("Figure"), rows;
  for (const StyledModel& model : models) {
    phenomena.push_back(*model.phenomena);
    head += fmt::format("<th class=\"num\" scope=\"col\"><span class=\"key b{}\"></span>{}</th>", model.style,
                        EscapeHtml(model.phenomena->model));
  }
  for (const KeyFigureRow& row : CompareKeyFigures(phenomena)) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th>", EscapeHtml(Capital(row.name)));
    for (const std::string& text : row.texts) rows += NumberCell(text);
    rows += NumberCell(row.change) + "</tr>\n";
  }
  return HtmlTable(head + HeadCell("Change"), rows, {.dense = true});
}

}  // namespace espalier
