// Random tokens said twice: a model that can look back predicts the second time (induction heads, Olsson et al. 2022,
// arXiv 2209.11895). The cheapest test of what attention still does, and one that tiny models pass.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "answers.h"
#include "context.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/random.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr uint64_t kTokenStream = 0x636f7079;
constexpr int64_t kRowsAPass = 8;

class Copying final : public Evaluator {
 public:
  explicit Copying(const Options& options)
      : context_(options), length_(options.Int("length")), sequences_(options.Int("sequences")) {}

  std::string Id() const override { return "copying" + context_.Suffix(); }
  std::vector<std::string> Figures(bool compared) const override {
    return AccuracyFigures(compared, {"first_time_nll", "second_time_nll"});
  }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const at::NoGradGuard no_grad;
    const Model model = context_.Of(input.model);
    const CachePolicy policy = context_.PolicyOf(model);
    Progress progress(fmt::format("{} {}", input.model_name, Id()), sequences_);
    std::vector<float> first, second, right;  // a value a sequence
    for (int64_t begin = 0; begin < sequences_; begin += kRowsAPass) {
      const int64_t rows = std::min(kRowsAPass, sequences_ - begin);
      const at::Tensor once = RandomRows(begin, rows, input.tokenizer.vocabulary_size());  // [rows, length]
      const at::Tensor ids = at::cat({once, once}, 1).to(model.device());
      const at::Tensor hidden = HiddenStates(model, ids, policy);
      for (int64_t r = 0; r < rows; ++r) {
        const at::Tensor nll = TokenNll(model, hidden[r].slice(0, 0, -1), ids[r].slice(0, 1)).cpu();
        first.push_back(nll.slice(0, 0, length_ - 1).mean().item<float>());
        second.push_back(nll.slice(0, length_).mean().item<float>());  // from the second token of the second time
        right.push_back(ShareRight(model, hidden[r].slice(0, length_, -1), ids[r].slice(0, length_ + 1)));
        if (!std::isfinite(second.back())) throw NumericError(fmt::format("{}: the loss is not finite", Id()));
      }
      progress.Step(rows);
    }
    return Report(input, first, second, right);
  }

 private:
  static float ShareRight(const Model& model, const at::Tensor& hidden, const at::Tensor& targets) {
    const at::Tensor likeliest = at::linear(hidden, model.Head()).argmax(-1);
    return likeliest.eq(targets).to(at::kFloat).mean().item<float>();
  }

  at::Tensor RandomRows(int64_t begin, int64_t rows, int64_t V) const {
    at::Tensor ids = at::empty({rows, length_}, at::kLong);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = 0; t < length_; ++t)
        ids.data_ptr<int64_t>()[r * length_ + t] = static_cast<int64_t>(RandomBelow(
            static_cast<uint64_t>(V), kTokenStream, static_cast<uint64_t>(begin + r), static_cast<uint64_t>(t)));
    return ids;
  }

  Results Report(const EvaluationInput& input, const std::vector<float>& first, const std::vector<float>& second,
                 const std::vector<float>& right) const {
    Results results;
    results.id = Id();
    results.suite = "copying";
    results.model = input.model_name;
    results.protocol = {{"length", std::to_string(length_)},
                        {"sequences", std::to_string(sequences_)},
                        {"tokenizer_sha256", input.tokenizer.Fingerprint()},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "95 %, bootstrap over sequences"}};
    for (auto& entry : context_.Entries()) results.protocol.push_back(std::move(entry));
    AddAccuracy(input, at::tensor(right), results);
    const auto add = [&](const std::string& name, const std::vector<float>& values) {
      const Grid::Value mean = MeanValue(values, false);
      results.metrics.push_back({name, mean.value, "nats", mean.count, mean.low, mean.high, ""});
    };
    add("first_time_nll", first);
    add("second_time_nll", second);
    return results;
  }

  ContextChange context_;
  int64_t length_, sequences_;
};

std::vector<OptionSpec> CopyingOptions() {
  std::vector<OptionSpec> specs = {IntOption("length", 128, "Random tokens, said twice").Between(4, 1 << 19),
                                   IntOption("sequences", 16, "How many such texts").Between(8, 1 << 16)};
  for (OptionSpec& spec : ContextOptions()) specs.push_back(std::move(spec));
  return specs;
}

const bool kRegistered = Registry<Evaluator>::Register(
    {"copying",
     "Random tokens said twice: how well the second time is predicted",
     "Olsson et al. 2022, arXiv 2209.11895",
     {},
     CopyingOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Copying>(options); });

}  // namespace
}  // namespace espalier
