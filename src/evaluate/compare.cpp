#include "espalier/evaluate/compare.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Entries of a protocol that say how a figure was made or shown, not what it is a figure of. Others must agree.
constexpr std::string_view kMayDiffer[] = {"corpus", "dtype", "attention", "interval", "device", "threads"};
constexpr std::string_view kMetric = "perplexity";
constexpr double kMostTokens = 1e12;  // to decide: beyond it, no text will

std::string_view Entry(const Results& results, std::string_view key) {
  for (const auto& [name, value] : results.protocol)
    if (name == key) return value;
  return "nothing";
}

std::string Short(std::string_view value) {
  return value.size() == 64 ? std::string(value.substr(0, 12)) : std::string(value);
}

std::vector<std::string> Keys(const Results& a, const Results& b) {
  std::vector<std::string> keys;
  for (const Results* results : {&a, &b})
    for (const auto& [key, value] : results->protocol)
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  return keys;
}

bool MayDiffer(std::string_view key) {
  return std::find(std::begin(kMayDiffer), std::end(kMayDiffer), key) != std::end(kMayDiffer);
}

void CheckNotTheSameFile(const Evaluation& base, const Evaluation& head) {
  std::error_code error;
  if (!base.source.empty() && !head.source.empty() && fs::equivalent(base.source, head.source, error))
    throw RecipeError(
        fmt::format("compare: {} and {} are the same; expected the evaluations of two models", base.name, head.name));
}

void CheckComparable(const PairedComparison& comparison, const Results& base, const Results& head) {
  const std::vector<std::string> differences = ProtocolDifferences(base, head);
  if (!differences.empty())
    throw RecipeError(fmt::format("compare: {} of {} and of {} are of different protocols ({}); evaluate both in one",
                                  base.id, comparison.base, comparison.head, fmt::join(differences, "; ")));
}

void NoteDifferences(const Results& base, const Results& head, std::vector<std::string>& notices) {
  for (const char* key : {"dtype", "attention"})
    if (Entry(base, key) != Entry(head, key))
      notices.push_back(fmt::format("{}: {} {} against {}: part of the difference may be rounding.", base.id, key,
                                    Entry(base, key), Entry(head, key)));
}

// How many tokens of this kind would narrow the interval until the limit lies outside: widths fall with the root of the
// count. None when the estimate sits on the limit.
std::optional<int64_t> TokensToDecide(const Interval& difference, double limit, int64_t tokens) {
  const double distance = limit - difference.mean;
  const double width = distance > 0 ? difference.high - difference.mean : difference.mean - difference.low;
  const double needed = static_cast<double>(tokens) * std::pow(width / distance, 2);
  if (!std::isfinite(needed) || needed > kMostTokens) return std::nullopt;
  return static_cast<int64_t>(std::ceil(needed));
}

struct Pair {
  const Results& base;
  const Results& head;
  TokenLosses base_losses, head_losses;
};

double MeanPerplexity(const at::Tensor& nll) {
  return std::exp(nll.mean(at::kDouble).item<double>());
}

// All but the verdict, which depends on the other results.
PairedResult Measure(const Pair& pair, const CompareOptions& options, Interval& difference) {
  PairedResult result;
  result.id = pair.base.id;
  result.tokens = pair.base_losses.nll.numel();
  if (pair.head_losses.nll.numel() != result.tokens)
    throw IoError(fmt::format("compare: {}: {} tokens and {}; evaluate both again", result.id, result.tokens,
                              pair.head_losses.nll.numel()));
  if (!pair.base_losses.nll.isfinite().all().item<bool>())
    throw NumericError(fmt::format("compare: {}: the base has losses that are not finite", result.id));
  result.base = MeanPerplexity(pair.base_losses.nll);
  result.head = MeanPerplexity(pair.head_losses.nll);
  if (!pair.head_losses.nll.isfinite().all().item<bool>()) {
    result.p_fail = 0;
    result.ratio = {result.head / result.base, result.ratio.low, result.ratio.high};
    result.reason = "losses of the head are not finite";
    return result;
  }
  const at::Tensor d = (pair.head_losses.nll - pair.base_losses.nll).contiguous();
  const at::Tensor& documents = pair.base_losses.documents;
  BootstrapOptions bootstrap{.resamples = options.resamples, .confidence = options.confidence};
  if (documents.defined())
    bootstrap.documents = {documents.data_ptr<int64_t>(), static_cast<size_t>(documents.numel())};
  result.resampled = documents.defined() ? fmt::format("{} documents", documents.numel())
                                         : fmt::format("blocks of {} tokens", bootstrap.block);
  const BootstrapDistribution distribution =
      Bootstrap({d.data_ptr<float>(), static_cast<size_t>(d.numel())}, bootstrap);
  const double limit = std::log1p(options.tolerance);
  difference = distribution.Percentile(options.confidence);
  result.ratio = {std::exp(difference.mean), std::exp(difference.low), std::exp(difference.high)};
  result.p_pass = distribution.ProbabilityAbove(limit);
  result.p_fail = distribution.ProbabilityBelow(limit);
  if (at::equal(pair.head_losses.nll, pair.base_losses.nll))
    result.reason = "every loss is the same to the last bit: was the same model measured twice?";
  return result;
}

bool Identical(const PairedResult& result) {
  return result.ratio.low == 1 && result.ratio.high == 1 && result.base == result.head;
}

void Judge(const CompareOptions& options, const Interval& difference, PairedResult& result) {
  const double level = (1 - options.confidence) / 2;
  if (result.p_fail <= level) {
    result.verdict = Verdict::kFail;
  } else if (Identical(result)) {
    result.verdict = options.identical;
  } else if (result.tokens < options.min_tokens) {
    result.reason = fmt::format("{} tokens are too few, expected at least {}", FormatCount(result.tokens),
                                FormatCount(options.min_tokens));
    result.tokens_to_decide = options.min_tokens;
  } else if (result.p_pass <= level) {
    result.verdict = Verdict::kPass;
  } else {
    result.tokens_to_decide = TokensToDecide(difference, std::log1p(options.tolerance), result.tokens);
    result.reason = result.tokens_to_decide
                        ? fmt::format("about {} tokens would decide", FormatCount(*result.tokens_to_decide))
                        : "the estimate lies on the limit";
  }
}

// p-values of all results are one family.
void Adjust(double PairedResult::*p, std::vector<PairedResult>& results) {
  std::vector<double> values;
  for (const PairedResult& result : results) values.push_back(result.*p);
  const std::vector<double> adjusted = HolmAdjusted(values);
  for (size_t i = 0; i < results.size(); ++i) results[i].*p = adjusted[i];
}

Verdict Overall(const std::vector<PairedResult>& results) {
  Verdict verdict = Verdict::kPass;
  for (const PairedResult& result : results) {
    if (result.verdict == Verdict::kFail) return Verdict::kFail;
    if (result.verdict == Verdict::kInconclusive) verdict = Verdict::kInconclusive;
  }
  return verdict;
}

std::vector<Pair> Pairs(const Evaluation& base, const Evaluation& head, PairedComparison& comparison) {
  std::vector<Pair> pairs;
  for (const Results& results : base.results) {
    const Results* other = head.Find(results.id);
    if (results.Find(kMetric) == nullptr) continue;
    if (other == nullptr || other->Find(kMetric) == nullptr) {
      comparison.notices.push_back(fmt::format("{}: only in {}; not compared.", results.id, base.name));
      continue;
    }
    const auto own = base.losses.find(results.id), others = head.losses.find(results.id);
    if (own == base.losses.end() || others == head.losses.end())
      throw IoError(fmt::format("compare: {} of {} has no per-token losses beside it; evaluate it again", results.id,
                                own == base.losses.end() ? base.name : head.name));
    CheckComparable(comparison, results, *other);
    NoteDifferences(results, *other, comparison.notices);
    pairs.push_back({results, *other, own->second, others->second});
  }
  return pairs;
}

std::vector<std::string> Ids(const Evaluation& evaluation) {
  std::vector<std::string> ids;
  for (const Results& results : evaluation.results) ids.push_back(results.id);
  return ids;
}

}  // namespace

std::vector<std::string> ProtocolDifferences(const Results& base, const Results& head) {
  std::vector<std::string> differences;
  for (const std::string& key : Keys(base, head))
    if (!MayDiffer(key) && Entry(base, key) != Entry(head, key))
      differences.push_back(fmt::format("{} {} and {}", key, Short(Entry(base, key)), Short(Entry(head, key))));
  return differences;
}

PairedComparison CompareEvaluations(const Evaluation& base, const Evaluation& head, const CompareOptions& options) {
  CheckNotTheSameFile(base, head);
  PairedComparison comparison;
  comparison.base = base.name;
  comparison.head = head.name;
  comparison.options = options;
  const std::vector<Pair> pairs = Pairs(base, head, comparison);
  if (pairs.empty())
    throw RecipeError(fmt::format("compare: no text that both were measured on: {} has {}; {} has {}", base.name,
                                  fmt::join(Ids(base), ", "), head.name, fmt::join(Ids(head), ", ")));
  std::vector<Interval> differences(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) comparison.results.push_back(Measure(pairs[i], options, differences[i]));
  Adjust(&PairedResult::p_pass, comparison.results);
  Adjust(&PairedResult::p_fail, comparison.results);
  for (size_t i = 0; i < pairs.size(); ++i) Judge(options, differences[i], comparison.results[i]);
  comparison.verdict = Overall(comparison.results);
  return comparison;
}

}  // namespace espalier
