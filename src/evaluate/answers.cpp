#include "answers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>
#include <cmath>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/intervals.h"
#include "espalier/evaluate/losses.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kTokensAPass = 4096;  // short prompts run together
constexpr size_t kLeastForInterval = 8;

// Loss of each row's answer after what `cache` holds, whose last hidden states are `hidden` [B, C].
std::vector<double> AnswerLosses(const Model& model, std::span<const Question* const> rows, const Tensor& hidden,
                                 KvCache cache) {
  int64_t longest = 0;
  for (const Question* row : rows) longest = std::max(longest, std::ssize(row->answer));
  std::vector<double> losses(rows.size(), 0);
  if (longest == 0) return losses;
  Tensor ids = at::zeros({std::ssize(rows), longest}, at::kLong);
  for (size_t r = 0; r < rows.size(); ++r)
    ids[static_cast<int64_t>(r)]
        .narrow(0, 0, std::ssize(rows[r]->answer))
        .copy_(at::tensor(rows[r]->answer, at::kLong));
  ids = ids.to(model.device());
  Tensor states = hidden.unsqueeze(1);  // [B, longest, C]: from which each token of the answer is predicted
  if (longest > 1) states = at::cat({states, HiddenStates(model, ids.slice(1, 0, -1), cache)}, 1);
  const Tensor nll = TokenNll(model, states.flatten(0, 1), ids.flatten()).view({-1, longest}).cpu();
  for (size_t r = 0; r < rows.size(); ++r)
    if (const int64_t own = std::ssize(rows[r]->answer); own > 0)
      losses[r] = nll[static_cast<int64_t>(r)].narrow(0, 0, own).mean(at::kDouble).item<double>();
  return losses;
}

std::vector<Answer> AnswerBatch(const Model& model, const Tokenizer& tokenizer, const CachePolicy& policy,
                                std::span<const Question* const> rows, int64_t count) {
  std::vector<Tensor> prompts;
  for (const Question* row : rows) prompts.push_back(at::tensor(row->prompt, at::kLong));
  KvCache cache(model, policy);
  const Tensor hidden = Prefill(model, at::stack(prompts).to(model.device()), cache);  // [B, C]
  const std::vector<double> losses = AnswerLosses(model, rows, hidden, cache);
  std::vector<int64_t> stops;
  if (tokenizer.eos()) stops.push_back(*tokenizer.eos());
  const Tensor generated = Continue(model, hidden, count, stops, cache);  // [B, count]
  std::vector<Answer> answers;
  for (size_t r = 0; r < rows.size(); ++r) {
    const Tensor row = generated[static_cast<int64_t>(r)].to(at::kInt).contiguous();
    answers.push_back({tokenizer.Decode({row.data_ptr<int32_t>(), static_cast<size_t>(row.numel())}), losses[r]});
    if (!std::isfinite(losses[r])) throw NumericError("the loss of an answer is not finite");
  }
  return answers;
}

}  // namespace

std::vector<Answer> AnswerQuestions(const Model& model, const Tokenizer& tokenizer, const CachePolicy& policy,
                                    std::span<const Question> questions, int64_t count, const std::string& title) {
  const at::NoGradGuard no_grad;
  std::vector<size_t> order(questions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto length = [&](size_t i) { return std::ssize(questions[i].prompt); };
  std::ranges::stable_sort(order, {}, length);
  std::vector<Answer> answers(questions.size());
  Progress progress(title, std::accumulate(order.begin(), order.end(), int64_t{0},
                                           [&](int64_t sum, size_t i) { return sum + length(i); }));
  for (size_t first = 0, last = 0; first < order.size(); first = last) {
    std::vector<const Question*> rows;
    for (last = first; last < order.size() && length(order[last]) == length(order[first]) &&
                       (rows.empty() || (std::ssize(rows) + 1) * length(order[first]) <= kTokensAPass);
         ++last)
      rows.push_back(&questions[order[last]]);
    const std::vector<Answer> batch = AnswerBatch(model, tokenizer, policy, rows, count);
    for (size_t i = first; i < last; ++i) answers[order[i]] = batch[i - first];
    progress.Step(std::ssize(rows) * length(order[first]));
  }
  return answers;
}

double ShareFound(const std::vector<std::string>& expected, std::string_view text) {
  const auto found =
      std::ranges::count_if(expected, [&](const std::string& one) { return boost::algorithm::icontains(text, one); });
  return static_cast<double>(found) / static_cast<double>(expected.size());
}

Grid::Value MeanValue(std::span<const float> values, bool share) {
  double sum = 0;
  for (const float value : values) sum += value;
  Grid::Value mean{sum / static_cast<double>(values.size()), std::ssize(values), {}, {}};
  const bool whole = std::ranges::all_of(values, [](float value) { return value == 0 || value == 1; });
  if (share && whole) {
    const Interval interval = WilsonInterval(static_cast<int64_t>(sum), std::ssize(values));
    mean.low = interval.low, mean.high = interval.high;
  } else if (values.size() >= kLeastForInterval) {
    const Interval interval = BootstrapMean(values, {.block = 1});
    mean.low = interval.low, mean.high = interval.high;
  }
  return mean;
}

std::vector<std::string> AccuracyFigures(bool compared, std::vector<std::string> more) {
  more.emplace_back("accuracy");
  if (compared) more.emplace_back("accuracy_change");
  return more;
}

void AddAccuracy(const EvaluationInput& input, const Tensor& scores, Results& results) {
  const auto values = [](const Tensor& t) {
    return std::span<const float>(t.data_ptr<float>(), static_cast<size_t>(t.numel()));
  };
  const Tensor losses = 1 - scores;
  SaveLosses(input.folder, results.id, {losses, {}});
  const Grid::Value mean = MeanValue(values(scores), true);
  results.metrics.push_back({"accuracy", mean.value, "", mean.count, mean.low, mean.high, ""});
  if (!input.dense) return;
  const Tensor dense = LoadLosses(*input.dense, results.id).each;
  if (dense.numel() != losses.numel())
    throw IoError(fmt::format("{}: {} items, this evaluation has {}; evaluate the dense model again",
                              LossesPath(*input.dense, results.id).string(), dense.numel(), losses.numel()));
  const Grid::Value change = MeanValue(values((dense - losses).contiguous()), false);
  results.metrics.push_back({"accuracy_change", change.value, "", change.count, change.low, change.high, "dense"});
}

}  // namespace espalier
