// The order of the analysis page.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "analysis_parts.h"
#include "espalier/report/analysis.h"
#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_text.h"
#include "espalier/report/table_script.h"

namespace espalier {
namespace {

constexpr size_t kSingle = 3, kBefore = 0, kAfter = 1;  // styles: one model, and the pair of them

StyledModels Style(const std::vector<Phenomena>& models) {
  StyledModels styled;
  for (size_t i = 0; i < models.size(); ++i)
    styled.push_back({&models[i], models.size() == 1 ? kSingle : i == 0 ? kBefore : kAfter});
  return styled;
}

// A note in the words of each model; models that say the same say it once.
std::string NoteOf(const StyledModels& models, std::string (*sentence)(const Phenomena&)) {
  std::vector<std::string> texts, named;
  for (const StyledModel& model : models) {
    const std::string text = sentence(*model.phenomena);
    if (text.empty() || std::find(texts.begin(), texts.end(), text) != texts.end()) continue;
    texts.push_back(text);
    named.push_back(fmt::format("{}: {}", model.phenomena->model, text));
  }
  return texts.size() == 1 ? texts.front() : fmt::format("{}", fmt::join(named, " "));
}

// The map of each model under its name.
std::string Maps(const StyledModels& models, std::string (*map)(const Phenomena&, double), const std::string& legend) {
  std::string html;
  for (const StyledModel& model : models) {
    const std::string figure =
        HtmlFigure([&](double width) { return map(*model.phenomena, width); }, html.empty() ? legend : "");
    if (!figure.empty() && models.size() > 1) html += fmt::format("<h3>{}</h3>\n", EscapeHtml(model.phenomena->model));
    html += figure;
  }
  return html;
}

std::string SinkFigures(const StyledModels& models) {
  const std::string legend = models.size() > 1 ? ModelLegend(models) : "";
  const std::string pair =
      HtmlHalfFigure(
          "F-Attn: mean attention to the first token", [&](double width) { return FirstTokenChart(models, width); },
          legend) +
      HtmlHalfFigure(
          "Sink rate of each position", [&](double width) { return PositionChart(models, width); }, legend);
  return Maps(models, SinkMap, SinkMapLegend()) + (pair.empty() ? "" : "<div class=\"pair\">\n" + pair + "</div>\n");
}

std::string GateFigures(const StyledModels& models) {
  const std::string scores = Maps(models, GateHistogram, GateHistogramLegend());
  if (scores.empty()) return "";
  return scores + "<h3>Mean score of each head</h3>\n" + Maps(models, GateMap, GateMapLegend()) + GateTable(models);
}

std::string SpikeSections(const StyledModels& models) {
  return HtmlSection("Life cycle of spikes",
                     "Blocks are decoder layers from 0, each of an attention and an FFN half; the paper (arXiv "
                     "2603.05498) counts halves from 1, shown at each point.",
                     HtmlFigure([&](double width) { return LifeCycleChart(models, width); }, LifeCycleLegend(models))) +
         HtmlSection("Neurons that make and clear spikes",
                     "Those that write most first. lambda*, dominance, |cos| and the neuron's share are read from the "
                     "weights alone (arXiv 2603.05498, eq. 15-19), where another neuron may lead the channel.",
                     NeuronTable(models)) +
         HtmlSection("Super weights", "Entries of w_down by the iterative finder of arXiv 2411.07191.",
                     SuperWeightTable(models)) +
         HtmlSection("Amplifiers in the weights", NoteOf(models, ScanSentence), AmplifierTable(models)) +
         HtmlSection("Outlier tokens", NoteOf(models, OutlierSentence), OutlierTable(models)) +
         HtmlSection("Vocabulary probe", NoteOf(models, VocabularySentence), VocabularyParts(models));
}

}  // namespace

std::string RenderAnalysisHtml(const std::vector<Phenomena>& models, const std::vector<std::string>& flags,
                               const std::vector<std::pair<std::string, std::string>>& provenance) {
  const StyledModels styled = Style(models);
  std::string page = HtmlHead(models.empty() ? "Analysis" : models.back().model, kTableScript);
  page += AnalysisHero(models, flags);
  page += AnalysisTiles(models);
  page += HtmlSection("Before and after", "", AnalysisComparison(styled));
  page += SpikeSections(styled);
  page += HtmlSection("Attention sinks", NoteOf(styled, SinkSentence), SinkFigures(styled));
  page += HtmlSection("Heads", "", HeadTable(styled));
  page += HtmlSection("Gates", NoteOf(styled, GateSentence), GateFigures(styled));
  page += HtmlSection("Notices", "", HtmlList(AllNotices(models)));
  page += HtmlDetails("Activation regime and normalisation of spike tokens",
                      "How near the FFN's activation is to the identity (cosine and norm ratio of its output to its "
                      "input), and what RMSNorm makes of spike tokens before its gain.",
                      RegimeTable(styled));
  page += HtmlDetails("All blocks", "", BlockTable(styled));
  page += HtmlProvenanceTable(provenance);
  return page + HtmlTail("Rendered by Espalier from the phenomena, which the JSON form holds in full.", kTableScript);
}

}  // namespace espalier
