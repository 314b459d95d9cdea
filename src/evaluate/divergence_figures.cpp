#include "divergence_figures.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "espalier/evaluate/bootstrap.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kPercentiles[] = {0.1, 1, 5, 10, 50, 90, 95, 99, 99.9};

void AddMean(const std::string& name, const Tensor& values, Results& results) {
  const Tensor own = values.contiguous();
  const Interval interval = BootstrapMean({own.data_ptr<float>(), static_cast<size_t>(own.numel())});
  results.metrics.push_back({name, interval.mean, "", own.numel(), interval.low, interval.high, "base"});
}

void AddPercentiles(const std::string& name, const Tensor& values, Results& results) {
  const Tensor sorted = std::get<0>(values.sort());
  const int64_t n = sorted.numel();
  const auto add = [&](const std::string& which, int64_t i) {
    results.metrics.push_back({fmt::format("{}_{}", name, which), sorted[i].item<float>(), "", n, {}, {}, "base"});
  };
  add("min", 0);
  for (const double percent : kPercentiles)
    add(fmt::format("p{:g}", percent), std::llround(percent / 100 * static_cast<double>(n - 1)));
  add("max", n - 1);
}

}  // namespace

// Sums in float64: in float32 the rarest of 50,000 tokens vanish beside the sum so far, which makes every
// log-probability 1.6e-5 too large on SmolLM2-135M.
Tensor LogProbabilities(const Model& model, const Tensor& hidden) {
  const Tensor logits = at::linear(hidden, model.Head()).to(at::kFloat);
  const Tensor below = logits - logits.amax(-1, /*keepdim=*/true);
  return below - below.exp().sum(-1, /*keepdim=*/true, at::kDouble).log().to(at::kFloat);
}

void TokenDivergence::Add(const Tensor& base_log_p, const Tensor& log_p, const Tensor& targets, double floor) {
  const Tensor target = targets.unsqueeze(1);
  same_top_.push_back(base_log_p.argmax(1).eq(log_p.argmax(1)).to(at::kFloat).cpu());
  base_nll_.push_back(base_log_p.gather(1, target).squeeze(1).neg().cpu());
  nll_.push_back(log_p.gather(1, target).squeeze(1).neg().cpu());
  Tensor parts = (base_log_p - log_p).mul_(base_log_p.exp());
  if (std::isfinite(floor)) parts = at::where(base_log_p > floor, parts, 0);
  const Tensor kl = parts.sum(1).clamp_min(0).cpu();  // rounding alone is below 0
  sum_ += kl.sum(at::kDouble).item<double>();
  tokens_ += kl.numel();
  kl_.push_back(kl);
}

bool TokenDivergence::Finite() const {
  return std::isfinite(sum_);
}

double TokenDivergence::MeanKl() const {
  return sum_ / static_cast<double>(tokens_);
}

std::vector<std::string> TokenDivergence::Figures() {
  return {"kl", "kl_max", "same_top", "delta_p", "delta_p_rms", "log_perplexity_ratio", "log_p_correlation"};
}

void TokenDivergence::AddMetrics(Results& results) const {
  const Tensor kl = at::cat(kl_), base_nll = at::cat(base_nll_), nll = at::cat(nll_);
  const auto add = [&results, &nll](const std::string& name, double value) {
    results.metrics.push_back({name, value, "", nll.numel(), {}, {}, "base"});
  };
  AddMean("kl", kl, results);
  AddPercentiles("kl", kl, results);
  AddMean("same_top", at::cat(same_top_), results);
  const Tensor delta_p = (-nll).exp() - (-base_nll).exp();  // of the token that follows in the text
  AddMean("delta_p", delta_p, results);
  add("delta_p_rms", std::sqrt(delta_p.square().mean(at::kDouble).item<double>()));
  AddPercentiles("delta_p", delta_p, results);
  AddMean("log_perplexity_ratio", nll - base_nll, results);
  add("log_p_correlation", at::corrcoef(at::stack({base_nll, nll}).to(at::kDouble))[0][1].item<double>());
}

}  // namespace espalier
