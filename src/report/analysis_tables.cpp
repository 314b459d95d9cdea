// Tables of who makes spikes: neurons, single weights, amplifiers, tokens.
#include <fmt/format.h>

#include <algorithm>

#include "analysis_parts.h"
#include "espalier/core/log.h"
#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_text.h"

namespace espalier {
namespace {

// Anchors: "n1-11-1229" is a neuron of the second model, "a" an amplifier (block, channel).
std::string Anchor(char kind, size_t model, int64_t block, int64_t index) {
  return fmt::format("{}{}-{}-{}", kind, model, block, index);
}

std::string Linked(const std::string& anchor, const std::string& text) {
  return fmt::format("<a href=\"#{}\">{}</a>", anchor, EscapeHtml(text));
}

bool HasNeuron(const Phenomena& model, int64_t block, int64_t index) {
  for (const SpikeNeuron& neuron : model.neurons)
    if (neuron.block == block && neuron.index == index) return true;
  return false;
}

// "(11, 1229)", a link when the table of neurons has it.
std::string NeuronLink(const StyledModels& models, size_t model, int64_t block, int64_t index) {
  const std::string text = fmt::format("({}, {})", block, index);
  return HasNeuron(*models[model].phenomena, block, index) ? Linked(Anchor('n', model, block, index), text)
                                                           : EscapeHtml(text);
}

bool AnyScan(const StyledModels& models) {
  return std::any_of(models.begin(), models.end(),
                     [](const StyledModel& model) { return model.phenomena->scan.has_value(); });
}

std::string ScanCells(const Phenomena& model, const SpikeNeuron& neuron) {
  const Amplifier* amplifier = FindAmplifier(model, neuron);
  if (!amplifier) return NumberCell("") + NumberCell("") + NumberCell("") + NumberCell("");
  const bool leads = amplifier->neuron == neuron.index;
  return NumberCell(FormatFigure(amplifier->eigenvalue)) + NumberCell(FormatShare(amplifier->dominance)) +
         NumberCell(FormatCell(amplifier->cosine)) +
         NumberCell(leads ? FormatShare(amplifier->neuron_share) : fmt::format("{} leads", amplifier->neuron));
}

std::string NeuronRow(const StyledModels& models, size_t number, const SpikeNeuron& neuron) {
  const Phenomena& model = *models[number].phenomena;
  const std::string channel = fmt::format("{}", neuron.channel);
  const std::string link = FindAmplifier(model, neuron)
                               ? Linked(Anchor('a', number, neuron.block, neuron.channel), channel)
                               : EscapeHtml(channel);
  return fmt::format(
      "<tr id=\"{}\">{}<th scope=\"row\" class=\"keep\">({}, {})</th>{}{}<td class=\"num\">{}</td>{}{}{}</tr>\n",
      Anchor('n', number, neuron.block, neuron.index), ModelCell(models, models[number]), neuron.block, neuron.index,
      TextCell(RoleText(neuron.role), "keep"), NumberCell(FormatFigure(neuron.activation)), link,
      NumberCell(FormatFigure(neuron.contribution)), NumberCell(fmt::format("{}", neuron.position)),
      AnyScan(models) ? ScanCells(model, neuron) : "");
}

std::string AmplifierRow(const StyledModels& models, size_t number, const Amplifier& amplifier) {
  return fmt::format("<tr id=\"{}\">{}{}{}{}{}{}{}{}<td class=\"num\">{}</td>{}</tr>\n",
                     Anchor('a', number, amplifier.block, amplifier.channel), ModelCell(models, models[number]),
                     NumberCell(fmt::format("{}", amplifier.block)), NumberCell(fmt::format("{}", amplifier.channel)),
                     NumberCell(FormatFigure(amplifier.norm)), NumberCell(FormatRatio(amplifier.ratio)),
                     NumberCell(FormatFigure(amplifier.eigenvalue)), NumberCell(FormatShare(amplifier.dominance)),
                     NumberCell(FormatCell(amplifier.cosine)),
                     NeuronLink(models, number, amplifier.block, amplifier.neuron),
                     NumberCell(FormatShare(amplifier.neuron_share)));
}

}  // namespace

std::string ModelColumn(const StyledModels& models) {
  return models.size() > 1 ? TextHead("Model") : "";
}

std::string ModelCell(const StyledModels& models, const StyledModel& model) {
  if (models.size() < 2) return "";
  return fmt::format("<td class=\"name\"><span class=\"key b{}\"></span>{}</td>", model.style,
                     EscapeHtml(model.phenomena->model));
}

std::string NeuronTable(const StyledModels& models) {
  std::string rows;
  for (size_t number = 0; number < models.size(); ++number)
    for (const SpikeNeuron& neuron : StrongestFirst(models[number].phenomena->neurons))
      rows += NeuronRow(models, number, neuron);
  const std::string scan =
      AnyScan(models) ? HeadCell("lambda*") + HeadCell("Dominance") + HeadCell("|cos|") + HeadCell("Neuron share") : "";
  return HtmlTable(ModelColumn(models) + TextHead("Neuron") + TextHead("Role") + HeadCell("Activation") +
                       HeadCell("Channel") + HeadCell("Writes") + HeadCell("Position") + scan,
                   rows, {.dense = true, .tall = true, .sortable = true});
}

std::string SuperWeightTable(const StyledModels& models) {
  std::string rows;
  for (size_t number = 0; number < models.size(); ++number)
    for (const SuperWeight& weight : models[number].phenomena->super_weights)
      rows += fmt::format("<tr>{}{}{}{}{}{}{}<td class=\"num\">{}</td></tr>\n", ModelCell(models, models[number]),
                          NumberCell(fmt::format("{}", weight.block)), NumberCell(fmt::format("{}", weight.row)),
                          NumberCell(fmt::format("{}", weight.column)), NumberCell(FormatFigure(weight.input)),
                          NumberCell(FormatFigure(weight.output)), NumberCell(FormatFigure(weight.weight)),
                          NeuronLink(models, number, weight.block, weight.column));
  return HtmlTable(ModelColumn(models) + HeadCell("Block") + HeadCell("Row (channel)") + HeadCell("Column (neuron)") +
                       HeadCell("Input") + HeadCell("Output") + HeadCell("Weight") + HeadCell("Neuron"),
                   rows, {.dense = true, .fit = true, .sortable = true});
}

std::string AmplifierTable(const StyledModels& models) {
  std::string rows;
  for (size_t number = 0; number < models.size(); ++number) {
    if (!models[number].phenomena->scan) continue;
    for (const Amplifier& amplifier : models[number].phenomena->scan->amplifiers)
      rows += AmplifierRow(models, number, amplifier);
  }
  return HtmlTable(ModelColumn(models) + HeadCell("Block") + HeadCell("Channel") + HeadCell("|U|") +
                       HeadCell("Over median") + HeadCell("lambda*") + HeadCell("Dominance") + HeadCell("|cos|") +
                       HeadCell("Neuron") + HeadCell("Neuron share"),
                   rows, {.dense = true, .tall = true, .sortable = true, .range = models.size() > 1 ? 1 : 0});
}

std::string OutlierTable(const StyledModels& models) {
  std::string rows;
  for (const StyledModel& model : models)
    for (const OutlierToken& token : model.phenomena->outliers.tokens)
      rows += fmt::format("<tr>{}<td class=\"keep\"><code>{}</code></td>{}{}{}</tr>\n", ModelCell(models, model),
                          EscapeHtml(TokenText(token.text)), NumberCell(fmt::format("{}", token.id)),
                          NumberCell(FormatCount(token.count)), NumberCell(FormatCount(token.first)));
  return HtmlTable(
      ModelColumn(models) + TextHead("Token") + HeadCell("Id") + HeadCell("Occurrences") + HeadCell("At position 0"),
      rows, {.dense = true, .fit = true, .sortable = true});
}

std::string VocabularyParts(const StyledModels& models) {
  std::string html;
  for (const StyledModel& model : models) {
    if (!model.phenomena->vocabulary) continue;
    std::string chips;
    for (const OutlierToken& token : model.phenomena->vocabulary->exceptions)
      chips += fmt::format("<li><code>{}</code> {}</li>\n", EscapeHtml(TokenText(token.text)), token.id);
    const std::string of = models.size() > 1 ? " of " + model.phenomena->model : "";
    html += chips.empty() ? fmt::format("<p class=\"note\">No exceptions{}.</p>\n", EscapeHtml(of))
                          : fmt::format("<h3>Exceptions{}, with their ids</h3>\n<ul class=\"chips\">\n{}</ul>\n",
                                        EscapeHtml(of), chips);
  }
  return html;
}

}  // namespace espalier
