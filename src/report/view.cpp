#include "espalier/report/view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/analyze/compare.h"

namespace espalier {
namespace {

constexpr const char* kDense = "dense";

template <class T>
size_t IndexOrAdd(std::vector<T>& list, const T& value) {
  const auto found = std::find(list.begin(), list.end(), value);
  if (found != list.end()) return static_cast<size_t>(found - list.begin());
  list.push_back(value);
  return list.size() - 1;
}

std::string ProtocolValue(const Results& results, std::string_view key, const std::string& otherwise) {
  for (const auto& [name, value] : results.protocol)
    if (name == key) return value;
  return otherwise;
}

Estimate EstimateOf(const Metric& metric) {
  return {metric.value, metric.low, metric.high, metric.count};
}

std::string SpeedName(const Metric& metric) {
  constexpr std::string_view kTail = "_tokens_per_second";
  std::string_view name = metric.name;
  if (name.ends_with(kTail)) name.remove_suffix(kTail.size());
  return PlainName(name);
}

size_t CorpusIndex(std::vector<Corpus>& corpora, const Results& results) {
  const Corpus corpus = {ProtocolValue(results, "corpus", results.id), ProtocolValue(results, "preset", "")};
  for (size_t i = 0; i < corpora.size(); ++i)
    if (corpora[i].corpus == corpus.corpus && corpora[i].preset == corpus.preset) return i;
  corpora.push_back(corpus);
  return corpora.size() - 1;
}

void PutFirst(std::vector<std::optional<Estimate>>& row, size_t column, const Metric& metric) {
  if (row.size() <= column) row.resize(column + 1);
  if (!row[column]) row[column] = EstimateOf(metric);
}

// "wikitext-2 (gptq-2048)" needs its preset once; a second mention in the summary names the corpus alone.
std::string RatioList(const Comparison& comparison, size_t model, bool with_presets) {
  std::vector<std::string> parts;
  for (size_t c = 0; c < comparison.corpora.size(); ++c) {
    const auto& ratio = comparison.ratio[model][c];
    if (!ratio) continue;
    const std::string interval = FormatInterval(*ratio);
    const Corpus& corpus = comparison.corpora[c];
    parts.push_back(fmt::format("{}{}{} on {}", FormatRatio(ratio->value), interval.empty() ? "" : " ", interval,
                                with_presets ? corpus.Title() : corpus.corpus));
  }
  return fmt::format("{}", fmt::join(parts, " and "));
}

std::string AbsoluteList(const Comparison& comparison, size_t model) {
  std::vector<std::string> parts;
  for (size_t c = 0; c < comparison.corpora.size(); ++c) {
    const auto& value = comparison.perplexity[model][c];
    if (!value) continue;
    const std::string interval = FormatInterval(*value);
    parts.push_back(fmt::format("{}{}{} on {}", FormatFigure(value->value), interval.empty() ? "" : " ", interval,
                                comparison.corpora[c].Title()));
  }
  return fmt::format("{}", fmt::join(parts, " and "));
}

// "The pruned model keeps ... of the block parameters (...); perplexity ×1.43 ..."
std::string SummarizeModel(const ReportInput& input, const Comparison& comparison, size_t model) {
  const std::string& name = comparison.models[model];
  std::string text;
  if (const auto shares = SharesOf(input.models, name))
    text = fmt::format("The {} model keeps {} of the block parameters ({} of all parameters, {} of the bytes)", name,
                       FormatShare(shares->block_parameters), FormatShare(shares->total_parameters),
                       FormatShare(shares->bytes));
  const std::string ratios = RatioList(comparison, model, true);
  if (ratios.empty()) return text;
  return text.empty() ? fmt::format("The {} model has perplexity {}", name, ratios)
                      : fmt::format("{}; perplexity {}", text, ratios);
}

}  // namespace

std::string Corpus::Title() const {
  return preset.empty() ? corpus : fmt::format("{} ({})", corpus, preset);
}

const ModelSummary* FindModel(const std::vector<ModelSummary>& models, const std::string& name) {
  for (const ModelSummary& model : models)
    if (model.name == name) return &model;
  return nullptr;
}

std::optional<Shares> SharesOf(const std::vector<ModelSummary>& models, const std::string& model) {
  const ModelSummary* dense = FindModel(models, kDense);
  const ModelSummary* other = FindModel(models, model);
  if (!dense || !other || dense->block_parameters <= 0 || dense->parameters <= 0 || dense->bytes <= 0)
    return std::nullopt;
  const auto share = [](int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); };
  return Shares{share(other->block_parameters, dense->block_parameters), share(other->parameters, dense->parameters),
                share(other->bytes, dense->bytes)};
}

Comparison Compare(const std::vector<ModelSummary>& models, const std::vector<Results>& results) {
  Comparison comparison;
  for (const ModelSummary& model : models) IndexOrAdd(comparison.models, model.name);
  for (const Results& result : results) IndexOrAdd(comparison.models, result.model);
  const size_t count = comparison.models.size();
  comparison.perplexity.resize(count);
  comparison.ratio.resize(count);
  comparison.speed.resize(count);
  for (const Results& result : results) {
    const size_t model = IndexOrAdd(comparison.models, result.model);
    for (const Metric& metric : result.metrics) {
      if (metric.name == "perplexity")
        PutFirst(comparison.perplexity[model], CorpusIndex(comparison.corpora, result), metric);
      if (metric.name == "perplexity_ratio" && metric.of == kDense)
        PutFirst(comparison.ratio[model], CorpusIndex(comparison.corpora, result), metric);
      if (metric.unit == "tokens/s")
        PutFirst(comparison.speed[model], IndexOrAdd(comparison.speeds, SpeedName(metric)), metric);
    }
  }
  for (size_t model = 0; model < count; ++model) {
    comparison.perplexity[model].resize(comparison.corpora.size());
    comparison.ratio[model].resize(comparison.corpora.size());
    comparison.speed[model].resize(comparison.speeds.size());
  }
  return comparison;
}

std::string OverallVerdict(const std::vector<GateOutcome>& gates) {
  const auto any = [&gates](std::string_view verdict) {
    return std::any_of(gates.begin(), gates.end(), [&](const GateOutcome& gate) { return gate.verdict == verdict; });
  };
  if (gates.empty()) return "none";
  return any("fail") ? "fail" : any("inconclusive") ? "inconclusive" : "pass";
}

std::string Summarize(const ReportInput& input) {
  const Comparison comparison = Compare(input.models, input.results);
  std::string summary;
  for (size_t model = 0; model < comparison.models.size(); ++model) {
    const std::string& name = comparison.models[model];
    if (name == kDense) continue;
    const std::string healed = RatioList(comparison, model, false);
    if (name == "healed" && !summary.empty() && !healed.empty()) {
      summary.back() = ';';
      summary += fmt::format(" healing brings it to {}.", healed);
      continue;
    }
    const std::string text = SummarizeModel(input, comparison, model);
    if (!text.empty()) summary += (summary.empty() ? "" : " ") + text + ".";
  }
  if (!summary.empty()) return summary;
  for (size_t model = 0; model < comparison.models.size(); ++model) {
    const std::string values = AbsoluteList(comparison, model);
    if (!values.empty())
      summary += fmt::format("{}Perplexity of the {} model: {}.", summary.empty() ? "" : " ", comparison.models[model],
                             values);
  }
  return summary.empty() ? "This run measured no perplexity." : summary;
}

std::vector<std::string> PhenomenonFlags(const ReportInput& input) {
  NeuronStays stays;
  if (input.plan)
    stays = [&plan = *input.plan](int64_t block, int64_t index) {
      return Keeps(plan, {block, UnitKind::kFfnChannel, index});
    };
  std::vector<std::string> flags;
  for (size_t i = 1; i < input.phenomena.size(); ++i)
    for (const PhenomenonFlag& flag : ComparePhenomena(input.phenomena.front(), input.phenomena[i], stays))
      flags.push_back(fmt::format("{}: {}", input.phenomena[i].model, flag.text));
  return flags;
}

}  // namespace espalier
