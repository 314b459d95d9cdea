#include "espalier/evaluate/compare.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Entries of a protocol that say how a figure was made or shown, not what it is a figure of. Others must agree.
constexpr std::string_view kMayDiffer[] = {"corpus", "dtype", "attention", "interval", "device", "threads"};
constexpr double kMostToDecide = 1e12;  // tokens or items: beyond it, no text will

std::string Short(std::string_view value) {
  if (value.empty()) return "nothing";
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
    if (ProtocolEntry(base, key) != ProtocolEntry(head, key))
      notices.push_back(fmt::format("{}: {} {} against {}: part of the difference may be rounding.", base.id, key,
                                    ProtocolEntry(base, key), ProtocolEntry(head, key)));
}

// How many more would narrow the interval until the limit lies outside: widths fall with the root of the count. None
// when the estimate sits on the limit.
std::optional<int64_t> CountToDecide(const Interval& loss, double limit, int64_t count) {
  const double distance = limit - loss.mean;
  const double width = distance > 0 ? loss.high - loss.mean : loss.mean - loss.low;
  const double needed = static_cast<double>(count) * std::pow(width / distance, 2);
  if (!std::isfinite(needed) || needed > kMostToDecide) return std::nullopt;
  return static_cast<int64_t>(std::ceil(needed));
}

// A kind of loss: what its mean is called, and how a rise of the mean reads.
struct LossKind {
  std::string_view metric, counted;
  double (*value)(double mean_loss);
  // The rise of the mean loss at the limit, and the change that a rise is.
  double (*limit)(const CompareOptions& options);
  Interval (*change)(const Interval& rise);
  int64_t CompareOptions::*least;
  int64_t block;  // of the bootstrap
};

constexpr LossKind kLossKinds[] = {{"perplexity", "tokens", [](double loss) { return std::exp(loss); },
                                    [](const CompareOptions& options) { return std::log1p(options.tolerance); },
                                    [](const Interval& rise) {
                                      return Interval{std::exp(rise.mean), std::exp(rise.low), std::exp(rise.high)};
                                    },
                                    &CompareOptions::min_tokens, BootstrapOptions().block},
                                   // Items are independent; 0-1 losses, so that a rise is a fall of accuracy.
                                   {"accuracy", "items", [](double loss) { return 1 - loss; },
                                    [](const CompareOptions& options) { return options.drop; },
                                    [](const Interval& rise) {
                                      return Interval{-rise.mean, -rise.high, -rise.low};
                                    },
                                    &CompareOptions::min_items, 1}};

const LossKind* KindOf(const Results& results) {
  for (const LossKind& kind : kLossKinds)
    if (results.Find(kind.metric) != nullptr) return &kind;
  return nullptr;
}

struct Pair {
  const LossKind& kind;
  const Results& base;
  const Results& head;
  Losses base_losses, head_losses;
};

double Mean(const at::Tensor& losses) {
  return losses.mean(at::kDouble).item<double>();
}

bool Finite(const at::Tensor& losses) {
  return losses.isfinite().all().item<bool>();
}

// McNemar's exact test (two-sided binomial) of items that only one of the two got right: what reviewers look for.
std::string McNemar(const at::Tensor& rise) {
  const auto worse = static_cast<double>((rise > 0).sum().item<int64_t>());
  const auto better = static_cast<double>((rise < 0).sum().item<int64_t>());
  if (worse + better == 0) return "";
  const boost::math::binomial coin(worse + better, 0.5);
  const double p = std::min(1.0, 2 * boost::math::cdf(coin, std::min(worse, better)));
  return fmt::format("{:.0f} items lost, {:.0f} gained (McNemar p {:.3g})", worse, better, p);
}

// All but the verdict, which depends on the other results. `rise` receives the interval of the mean loss's rise.
PairedResult Measure(const Pair& pair, const CompareOptions& options, Interval& rise) {
  const LossKind& kind = pair.kind;
  const at::Tensor &base = pair.base_losses.each, &head = pair.head_losses.each;
  PairedResult result;
  result.id = pair.base.id;
  result.metric = kind.metric;
  result.counted = kind.counted;
  result.count = base.numel();
  if (head.numel() != result.count)
    throw IoError(fmt::format("compare: {}: {} {} and {}; evaluate both again", result.id, result.count, kind.counted,
                              head.numel()));
  if (!Finite(base)) throw NumericError(fmt::format("compare: {}: the base has losses that are not finite", result.id));
  result.base = kind.value(Mean(base));
  result.head = kind.value(Mean(head));
  const double limit = kind.limit(options);
  result.limit = kind.change({limit, limit, limit}).mean;
  if (!Finite(head)) {
    result.p_fail = 0;
    result.change.mean = std::numeric_limits<double>::quiet_NaN();
    result.reason = "losses of the head are not finite";
    return result;
  }
  const at::Tensor d = (head - base).contiguous();
  const at::Tensor& documents = pair.base_losses.documents;
  BootstrapOptions bootstrap{.block = kind.block, .resamples = options.resamples, .confidence = options.confidence};
  if (documents.defined())
    bootstrap.documents = {documents.data_ptr<int64_t>(), static_cast<size_t>(documents.numel())};
  result.resampled = documents.defined() ? fmt::format("{} documents", documents.numel())
                     : kind.block == 1   ? std::string(kind.counted)
                                         : fmt::format("blocks of {} {}", kind.block, kind.counted);
  const BootstrapDistribution distribution =
      Bootstrap({d.data_ptr<float>(), static_cast<size_t>(d.numel())}, bootstrap);
  rise = distribution.Percentile(options.confidence);
  result.change = kind.change(rise);
  result.p_pass = distribution.ProbabilityAbove(limit);
  result.p_fail = distribution.ProbabilityBelow(limit);
  if (at::equal(head, base))
    result.reason = "every loss is the same to the last bit: nothing has changed, or one model was measured twice";
  else if (kind.metric == "accuracy")
    result.reason = McNemar(d);
  return result;
}

void AddReason(PairedResult& result, const std::string& reason) {
  result.reason += (result.reason.empty() ? "" : "; ") + reason;
}

void Judge(const Pair& pair, const CompareOptions& options, const Interval& rise, PairedResult& result) {
  const double level = (1 - options.confidence) / 2;
  if (result.p_fail <= level) {
    result.verdict = Verdict::kFail;
  } else if (at::equal(pair.head_losses.each, pair.base_losses.each)) {
    result.verdict = options.identical;
  } else if (result.count < options.*pair.kind.least) {
    result.to_decide = options.*pair.kind.least;
    AddReason(result, fmt::format("{} {} are too few, expected at least {}", FormatCount(result.count), result.counted,
                                  FormatCount(*result.to_decide)));
  } else if (result.p_pass <= level) {
    result.verdict = Verdict::kPass;
  } else {
    result.to_decide = CountToDecide(rise, pair.kind.limit(options), result.count);
    AddReason(result, result.to_decide
                          ? fmt::format("about {} {} would decide", FormatCount(*result.to_decide), result.counted)
                          : "the estimate lies on the limit");
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
    const LossKind* kind = KindOf(results);
    if (kind == nullptr) continue;
    if (other == nullptr || other->Find(kind->metric) == nullptr) {
      comparison.notices.push_back(fmt::format("{}: only in {}; not compared.", results.id, base.name));
      continue;
    }
    const auto own = base.losses.find(results.id), others = head.losses.find(results.id);
    if (own == base.losses.end() || others == head.losses.end())
      throw IoError(fmt::format("compare: {} of {} has no losses beside it; evaluate it again", results.id,
                                own == base.losses.end() ? base.name : head.name));
    CheckComparable(comparison, results, *other);
    NoteDifferences(results, *other, comparison.notices);
    pairs.push_back({*kind, results, *other, own->second, others->second});
  }
  return pairs;
}

std::vector<std::string> Ids(const Evaluation& evaluation) {
  std::vector<std::string> ids;
  for (const Results& results : evaluation.results) ids.push_back(results.id);
  return ids;
}

}  // namespace

std::string_view ProtocolEntry(const Results& results, std::string_view key) {
  for (const auto& [name, value] : results.protocol)
    if (name == key) return value;
  return "";
}

std::vector<std::string> ProtocolDifferences(const Results& base, const Results& head) {
  std::vector<std::string> differences;
  for (const std::string& key : Keys(base, head))
    if (!MayDiffer(key) && ProtocolEntry(base, key) != ProtocolEntry(head, key))
      differences.push_back(
          fmt::format("{} {} and {}", key, Short(ProtocolEntry(base, key)), Short(ProtocolEntry(head, key))));
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
  std::vector<Interval> rises(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) comparison.results.push_back(Measure(pairs[i], options, rises[i]));
  Adjust(&PairedResult::p_pass, comparison.results);
  Adjust(&PairedResult::p_fail, comparison.results);
  for (size_t i = 0; i < pairs.size(); ++i) Judge(pairs[i], options, rises[i], comparison.results[i]);
  comparison.verdict = Overall(comparison.results);
  return comparison;
}

}  // namespace espalier
