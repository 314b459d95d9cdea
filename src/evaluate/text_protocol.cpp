#include "text_protocol.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/calibrate/windows.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr int64_t kMinScored = 1024;    // fewer predictions say nothing; an interval needs blocks
constexpr int64_t kTokensAPass = 2048;  // short windows of one shape run together

// Windows that can be fed as one batch: same length, same scored part.
bool SameShape(const ScoredWindow& a, const ScoredWindow& b) {
  return a.end - a.begin == b.end - b.begin && a.first_scored - a.begin == b.first_scored - b.begin;
}

// The ends of batches among the windows: those of one shape that fit into a pass.
std::vector<size_t> BatchEnds(const std::vector<ScoredWindow>& windows) {
  std::vector<size_t> ends;
  for (size_t first = 0, last = 0; first < windows.size(); first = last) {
    const int64_t length = windows[first].end - windows[first].begin;
    const auto fits = [&](size_t count) { return static_cast<int64_t>(count) * length <= kTokensAPass; };
    for (last = first;
         last < windows.size() && SameShape(windows[first], windows[last]) && (last == first || fits(last + 1 - first));
         ++last) {
    }
    ends.push_back(last);
  }
  return ends;
}

}  // namespace

std::vector<OptionSpec> LabelledTextOptions() {
  std::vector<OptionSpec> specs = TextSourceOptions("data");
  specs.push_back(
      TextOption("label", std::nullopt, "Name of the corpus in tables; default: the file's stem").Optional());
  return specs;
}

LabelledText LabelledTextFrom(const Options& options) {
  TextSource source = TextSourceFrom(options, "data");
  std::string label = options.Has("label") ? options.Text("label") : source.path.stem().string();
  return {std::move(source), std::move(label)};
}

std::vector<OptionSpec> TextProtocolOptions() {
  std::vector<OptionSpec> specs = LabelledTextOptions();
  specs.insert(specs.begin(),
               TextOption("preset", "gptq-2048", "Protocol: gptq-2048, strided, llama.cpp, lm-eval, streaming"));
  specs.insert(specs.end(),
               {IntOption("windows", 0, "At most this many windows (lm-eval: documents); 0: all").AtLeast(0),
                IntOption("window", std::nullopt, "Tokens a window; default: the preset's (gptq-2048 has no other)")
                    .Between(8, 1 << 20)
                    .Optional(),
                IntOption("stride", 512, "Tokens between window starts (strided only)").Between(1, 1 << 20),
                IntOption("sinks", 4, "First tokens that stay in the cache (streaming only)").Between(0, 1 << 20)});
  return specs;
}

TextProtocol::TextProtocol(const Options& options)
    : preset_name_(options.Text("preset")),
      preset_(Registry<PerplexityPreset>::Create(preset_name_)),
      text_(LabelledTextFrom(options)) {
  if (options.Has("window")) options_.window = options.Int("window");
  options_.stride = options.Int("stride");
  options_.limit = options.Int("windows");
  options_.sinks = options.Int("sinks");
  preset_->Check(options_);
}

std::string TextProtocol::Name() const {
  return text_.label + preset_->Suffix();
}

PreparedText TextProtocol::Prepare(const Tokenizer& tokenizer) const {
  const Corpus corpus = ReadCorpus(text_.source);
  PreparedText prepared{corpus.sha256, preset_->Prepare(tokenizer, corpus, options_), 0};
  for (const ScoredWindow& window : prepared.text.windows) prepared.scored += window.end - window.first_scored;
  if (prepared.scored < kMinScored)
    throw RecipeError(fmt::format(
        "{}: {} tokens give {} scored predictions in windows of {}, expected at least {}; use a longer text",
        text_.source.path.string(), prepared.text.ids.size(0), prepared.scored, prepared.text.window, kMinScored));
  return prepared;
}

std::vector<std::pair<std::string, std::string>> TextProtocol::Entries(const EvaluationInput& input,
                                                                       const PreparedText& prepared) const {
  const ScoredText& text = prepared.text;
  std::vector<std::pair<std::string, std::string>> entries = {{"preset", preset_name_},
                                                              {"window", std::to_string(text.window)}};
  if (text.stride) entries.emplace_back("stride", std::to_string(*text.stride));
  entries.insert(entries.end(), {{"windows", std::to_string(text.windows.size())},
                                 {"bos", text.bos},
                                 {"corpus", text_.label},
                                 {"corpus_sha256", prepared.corpus_sha256},
                                 {"corpus_tokens", std::to_string(text.ids.size(0))},
                                 {"scored_tokens", std::to_string(prepared.scored)}});
  if (text.cache.Drops())
    entries.emplace_back("cache", fmt::format("{} sinks and {} recent tokens", text.cache.sinks, text.cache.recent));
  if (text.words) entries.emplace_back("words", std::to_string(*text.words));
  if (text.bytes) entries.emplace_back("bytes", std::to_string(*text.bytes));
  entries.insert(entries.end(), {{"tokenizer_sha256", input.tokenizer.Fingerprint()},
                                 {"dtype", std::string(DtypeName(input.model.dtype()))},
                                 {"attention", "scaled_dot_product_attention"},
                                 {"interval", "95 %, moving-block bootstrap, blocks of 512 tokens, 2000 resamples"}});
  return entries;
}

void ForEachBatch(const ScoredText& text, const std::string& title, const ScoreWindows& score, const Comm* comm) {
  const std::vector<ScoredWindow>& windows = text.windows;
  const std::vector<size_t> ends = BatchEnds(windows);
  const auto start = [&](int64_t batch) { return batch == 0 ? 0 : ends[static_cast<size_t>(batch) - 1]; };
  const Share share = comm != nullptr ? OwnShare(*comm, std::ssize(ends)) : Share{0, std::ssize(ends)};
  Progress progress(title, static_cast<int64_t>(start(share.end) - start(share.first)));
  for (int64_t batch = share.first; batch < share.end; ++batch) {
    std::vector<at::Tensor> rows;
    for (size_t window = start(batch); window < start(batch + 1); ++window)
      rows.push_back(text.ids.slice(0, windows[window].begin, windows[window].end));
    const ScoredWindow& any = windows[start(batch)];
    const std::string note = score(at::stack(rows), any.first_scored - any.begin);
    progress.Step(std::ssize(rows), note);
  }
}

}  // namespace espalier
