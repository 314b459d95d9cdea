// A model's predictions in llama.cpp's file (io/base_logits.h): written, so that llama-perplexity --kl-divergence can
// judge a GGUF against this model; and read, so that a model can be judged against one that is not at hand.
#include "espalier/io/base_logits.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "divergence_figures.h"
#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "text_protocol.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

// What the file says of rarer tokens is a bound and no prediction; llama-perplexity leaves them out, too.
constexpr double kFloor = -16;

// Options of a text under the one preset that the file knows.
Options LlamaCppOptions(const Options& options) {
  Options text(TextProtocolOptions(), {{"data", options.Text("data")}}, "save_base_logits");
  for (const OptionSpec& spec : options.specs())
    if (spec.name != "file" && options.Has(spec.name)) text.Set(spec.name, options.Value(spec.name));
  text.Set("preset", std::string("llama.cpp"));
  return text;
}

class SaveBaseLogits final : public Evaluator {
 public:
  explicit SaveBaseLogits(const Options& options) : protocol_(LlamaCppOptions(options)) {
    if (options.Has("file")) file_ = options.Text("file");
  }

  std::string Id() const override { return "base-logits-" + protocol_.Name(); }
  std::optional<TextSource> Text() const override { return protocol_.source(); }
  std::vector<std::string> Figures(bool) const override { return {"mean_nll", "file_bytes"}; }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const at::NoGradGuard no_grad;
    const PreparedText prepared = protocol_.Prepare(input.tokenizer);
    const ScoredText& text = prepared.text;
    const BaseLogitsShape shape{text.window, input.model.embedding.size(0), std::ssize(text.windows)};
    const Tensor ids = text.ids.slice(0, 0, shape.chunks * shape.context).to(at::kInt).contiguous();
    // Of several models the first has the name that was asked for.
    const fs::path path = file_ && !input.dense ? *file_ : input.folder / (Id() + ".kld");
    BaseLogitsWriter writer(path, shape, {ids.data_ptr<int32_t>(), static_cast<size_t>(ids.numel())});
    double nll = 0;
    ForEachBatch(text, fmt::format("{} {}", input.model_name, Id()), [&](const Tensor& rows, int64_t scored) {
      const Tensor tokens = rows.to(input.model.device());
      const Tensor hidden = HiddenStates(input.model, tokens).slice(1, scored - 1, -1);  // [B, rows, C]
      for (int64_t b = 0; b < tokens.size(0); ++b) {
        const Tensor log_p = LogProbabilities(input.model, hidden[b]).cpu().contiguous();  // [rows, V]
        nll -= log_p.gather(1, rows[b].slice(0, scored).unsqueeze(1)).sum(at::kDouble).item<double>();
        for (int64_t row = 0; row < log_p.size(0); ++row)
          writer.Add({log_p.data_ptr<float>() + row * shape.vocabulary, static_cast<size_t>(shape.vocabulary)});
      }
      return std::string();
    });
    if (!std::isfinite(nll))
      throw NumericError(fmt::format("{} {}: the mean loss is {}; nothing was saved", input.model_name, Id(),
                                     nll / static_cast<double>(prepared.scored)));
    writer.Commit();
    Results results;
    results.id = Id();
    results.suite = "save_base_logits";
    results.model = input.model_name;
    results.protocol = protocol_.Entries(input, prepared);
    results.protocol.emplace_back("file", path.string());
    results.metrics.push_back(
        {"mean_nll", nll / static_cast<double>(prepared.scored), "nats", prepared.scored, {}, {}, ""});
    results.metrics.push_back({"file_bytes", static_cast<double>(fs::file_size(path)), "bytes", 1, {}, {}, ""});
    return results;
  }

 private:
  TextProtocol protocol_;
  std::optional<fs::path> file_;
};

class DivergenceFromLogits final : public Evaluator {
 public:
  explicit DivergenceFromLogits(const Options& options)
      : file_(options.Text("file")), label_(options.Has("label") ? options.Text("label") : file_.stem().string()) {}

  std::string Id() const override { return "divergence-" + label_; }
  std::vector<fs::path> Files() const override { return {file_}; }
  std::vector<std::string> Figures(bool) const override { return TokenDivergence::Figures(); }

  Results Run(const EvaluationInput& input) const override {
    const at::NoGradGuard no_grad;
    const BaseLogitsFile file(file_);
    const BaseLogitsShape& shape = file.shape();
    if (shape.vocabulary != input.model.embedding.size(0))
      throw ShapeError(fmt::format("{}: predictions of {} tokens, the model predicts {}; expected one vocabulary",
                                   file_.string(), shape.vocabulary, input.model.embedding.size(0)));
    TokenDivergence tokens;
    Progress progress(fmt::format("{} {}", input.model_name, Id()), shape.chunks);
    for (int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
      AddChunk(input.model, file, chunk, tokens);
      progress.Step(1, fmt::format("KL {:.4f}", tokens.MeanKl()));
    }
    Results results;
    results.id = Id();
    results.suite = "divergence_from_logits";
    results.model = input.model_name;
    results.protocol = {{"preset", "llama.cpp"},
                        {"window", std::to_string(shape.context)},
                        {"windows", std::to_string(shape.chunks)},
                        {"file", file_.string()},
                        {"file_sha256", HashFile(file_)},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "95 %, moving-block bootstrap"}};
    tokens.AddMetrics(results);
    return results;
  }

 private:
  void AddChunk(const Model& model, const BaseLogitsFile& file, int64_t chunk, TokenDivergence& tokens) const {
    const BaseLogitsShape& shape = file.shape();
    const auto begin = file.tokens().begin() + chunk * shape.context;
    const Tensor ids = at::tensor(std::vector<int64_t>(begin, begin + shape.context), at::kLong).to(model.device());
    const Tensor hidden = HiddenStates(model, ids.unsqueeze(0)).squeeze(0).slice(0, shape.FirstScored(), -1);
    const Tensor targets = ids.slice(0, shape.FirstScored() + 1);
    for (int64_t row = 0; row < targets.size(0); row += kDivergenceRows) {
      const Tensor own = LogProbabilities(model, hidden.slice(0, row, row + kDivergenceRows));
      Tensor base = at::empty({own.size(0), shape.vocabulary}, at::kFloat);
      for (int64_t r = 0; r < base.size(0); ++r)
        file.Read(chunk, row + r,
                  {base.data_ptr<float>() + r * shape.vocabulary, static_cast<size_t>(shape.vocabulary)});
      tokens.Add(base.to(model.device()), own, targets.slice(0, row, row + kDivergenceRows), kFloor);
    }
    if (!tokens.Finite()) throw NumericError(fmt::format("{}: not finite after {} tokens", Id(), tokens.tokens()));
  }

  fs::path file_;
  std::string label_;
};

std::vector<OptionSpec> SaveOptions() {
  std::vector<OptionSpec> specs;
  for (OptionSpec& spec : TextProtocolOptions())
    if (spec.name != "preset" && spec.name != "stride" && spec.name != "sinks") specs.push_back(std::move(spec));
  specs.push_back(TextOption("file", std::nullopt, "Where to; default: beside the results, ID.kld").Optional());
  return specs;
}

const bool kSave = Registry<Evaluator>::Register(
    {"save_base_logits",
     "Writes the predictions on a text as llama-perplexity --kl-divergence-base reads them",
     "llama.cpp, tools/perplexity",
     {},
     SaveOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<SaveBaseLogits>(options); });

const bool kRead = Registry<Evaluator>::Register(
    {"divergence_from_logits",
     "Divergence from predictions that save_base_logits or llama-perplexity wrote",
     "llama.cpp, tools/perplexity --kl-divergence",
     {},
     {TextOption("file", std::nullopt, "The base's predictions: a file that starts with _logits_"),
      TextOption("label", std::nullopt, "Name of the text in tables; default: the file's stem").Optional()}},
    [](const Options& options) -> std::unique_ptr<Evaluator> {
      return std::make_unique<DivergenceFromLogits>(options);
    });

}  // namespace
}  // namespace espalier
