// Multiple choice by log-likelihood: each choice is scored as the continuation of its question, and the likeliest one
// is the answer; the way of lm-evaluation-harness (Gao et al.), whose acc and acc_norm these are. Brown et al. 2020,
// arXiv 2005.14165, section 2.4, for scoring continuations at all.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "choice_items.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/intervals.h"
#include "espalier/evaluate/losses.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr int64_t kTokensAPass = 4096;  // continuations of similar length run together

struct Answers {
  at::Tensor right, right_normalised;  // [items] float32: 1 where the answer is right
};

class MultipleChoice final : public Evaluator {
 public:
  explicit MultipleChoice(const Options& options)
      : data_(options.Text("data")),
        label_(options.Has("label") ? options.Text("label") : data_.stem().string()),
        delimiter_(options.Text("delimiter")),
        limit_(options.Int("items")) {}

  std::string Id() const override { return fmt::format("choice-{}", label_); }
  std::vector<std::filesystem::path> Files() const override { return {data_}; }
  std::vector<std::string> Figures(bool) const override { return {"accuracy", "accuracy_norm"}; }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const ChoiceItems items = ReadChoiceItems(data_, limit_);
    const std::vector<Continuation> continuations = EncodeContinuations(items, input.tokenizer, delimiter_);
    const Answers answers = Judge(items, continuations, Score(input, continuations));
    SaveLosses(input.folder, Id(), {1 - answers.right, {}});
    Results results;
    results.id = Id();
    results.suite = "multiple_choice";
    results.model = input.model_name;
    results.protocol = {{"items", std::to_string(items.items.size())},
                        {"delimiter", fmt::format("\"{}\"", delimiter_)},
                        {"corpus", label_},
                        {"corpus_sha256", items.sha256},
                        {"tokenizer_sha256", input.tokenizer.Fingerprint()},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"attention", "scaled_dot_product_attention"},
                        {"interval", "95 %, Wilson"}};
    AddAccuracy("accuracy", answers.right, results);
    AddAccuracy("accuracy_norm", answers.right_normalised, results);
    return results;
  }

 private:
  static void AddAccuracy(const std::string& name, const at::Tensor& right, Results& results) {
    const Interval interval = WilsonInterval(static_cast<int64_t>(right.sum().item<float>()), right.numel());
    results.metrics.push_back({name, interval.mean, "", right.numel(), interval.low, interval.high, ""});
  }

  // log p of each continuation given its context, nats: [continuations].
  std::vector<double> Score(const EvaluationInput& input, const std::vector<Continuation>& all) const {
    const at::NoGradGuard no_grad;
    std::vector<size_t> order(all.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return all[a].ids.size() > all[b].ids.size(); });  // longest first
    std::vector<double> log_p(all.size());
    Progress progress(fmt::format("{} {}", input.model_name, Id()), static_cast<int64_t>(all.size()));
    for (size_t first = 0, last = 0; first < order.size(); first = last) {
      const auto length = static_cast<int64_t>(all[order[first]].ids.size());
      last = std::min(order.size(), first + static_cast<size_t>(std::max<int64_t>(1, kTokensAPass / length)));
      ScoreBatch(input.model, all, std::span(order).subspan(first, last - first), length, log_p);
      progress.Step(static_cast<int64_t>(last - first));
    }
    return log_p;
  }

  // Shorter rows are filled up at the end, where a causal model cannot see it.
  void ScoreBatch(const Model& model, const std::vector<Continuation>& all, std::span<const size_t> batch,
                  int64_t length, std::vector<double>& log_p) const {
    at::Tensor ids = at::zeros({static_cast<int64_t>(batch.size()), length}, at::kLong);
    for (size_t row = 0; row < batch.size(); ++row) {
      const std::vector<int64_t>& own = all[batch[row]].ids;
      ids[static_cast<int64_t>(row)].slice(0, 0, std::ssize(own)).copy_(at::tensor(own, at::kLong));
    }
    const at::Tensor tokens = ids.to(model.device());
    const at::Tensor hidden = HiddenStates(model, tokens);  // [B, T, C]
    for (size_t row = 0; row < batch.size(); ++row) {
      const Continuation& one = all[batch[row]];
      const auto r = static_cast<int64_t>(row), end = std::ssize(one.ids), start = one.first_scored;
      const double nll = TokenNll(model, hidden[r].slice(0, start - 1, end - 1), tokens[r].slice(0, start, end))
                             .sum(at::kDouble)
                             .item<double>();
      if (!std::isfinite(nll)) throw NumericError(fmt::format("{}: the loss of item {} is not finite", Id(), one.item));
      log_p[batch[row]] = -nll;
    }
  }

  // The first of equals wins, as numpy's argmax has it.
  static Answers Judge(const ChoiceItems& items, const std::vector<Continuation>& all,
                       const std::vector<double>& log_p) {
    const auto count = std::ssize(items.items);
    Answers answers{at::zeros({count}, at::kFloat), at::zeros({count}, at::kFloat)};
    for (size_t first = 0, last = 0; first < all.size(); first = last) {
      size_t best = first, best_normalised = first;
      for (last = first; last < all.size() && all[last].item == all[first].item; ++last) {
        if (log_p[last] > log_p[best]) best = last;
        if (log_p[last] / all[last].characters > log_p[best_normalised] / all[best_normalised].characters)
          best_normalised = last;
      }
      const size_t answer = first + static_cast<size_t>(items.items[static_cast<size_t>(all[first].item)].answer);
      answers.right[all[first].item] = best == answer ? 1 : 0;
      answers.right_normalised[all[first].item] = best_normalised == answer ? 1 : 0;
    }
    return answers;
  }

  std::filesystem::path data_;
  std::string label_, delimiter_;
  int64_t limit_;
};

const bool kRegistered = Registry<Evaluator>::Register(
    {"multiple_choice",
     "Accuracy on questions with choices, by log-likelihood; also normalised by the choice's length",
     "lm-evaluation-harness (acc, acc_norm); arXiv 2005.14165, section 2.4",
     {},
     {TextOption("data", std::nullopt,
                 "JSONL: {\"context\": text, \"choices\": [text, ...], \"answer\": number from 0} a line"),
      TextOption("label", std::nullopt, "Name of the set in tables; default: the file's stem").Optional(),
      TextOption("delimiter", " ", "Put between context and choice"),
      IntOption("items", 0, "At most this many items; 0: all").AtLeast(0)}},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<MultipleChoice>(options); });

}  // namespace
}  // namespace espalier
