#include "train_setup.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "espalier/analyze/options.h"
#include "espalier/calibrate/windows.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/heal/bigram_backcopy.h"
#include "espalier/io/byte_tokenizer.h"
#include "espalier/recipe/train.h"

namespace espalier {
namespace {

constexpr const char* kBackcopy = "bigram_backcopy";

std::vector<OptionSpec> TopOptions() {
  return {TextOption("name", std::nullopt, "Folder of the run under `runs`; default: the recipe's folder and file name")
              .Optional(),
          TextOption("question", std::nullopt, "What the recipe asks, for the report's heading").Optional(),
          TextOption("runs", "runs", "Folder that holds the run folders"),
          IntListOption("seeds", std::vector<int64_t>{0}, "Each in turn: where weights start, and the order of windows")
              .AtLeast(0),
          IntOption("threads", 0, "Threads of tensor work; 0: all cores. Results are bitwise equal for equal counts")
              .Between(0, 1024),
          TextOption("device", "cpu", "cpu, cuda, cuda:1")};
}

template <class E>
OptionSpec NamedOption(const char* name, E value, const char* doc) {
  return TextOption(name, NameOf(value), doc).OneOf(NamesOf<E>());
}

std::vector<OptionSpec> ModelOptions() {
  const ModelConfig d;
  const Variants& v = d.variants;
  return {
      IntOption("layers", 4, "Blocks").Between(1, 256),
      IntOption("width", 128, "Channels of the residual stream").Between(2, 16384),
      IntOption("heads", 4, "Query heads").Between(1, 1024),
      IntOption("kv_heads", 0, "Key/value heads; 0: as many as query heads").Between(0, 1024),
      IntOption("head_width", 32, "Channels of a head; even").Between(2, 4096),
      IntOption("ffn_width", 352, "Channels of the FFN; 0: attention only").Between(0, 65536),
      NamedOption("ffn", v.ffn, "gated: SwiGLU or GeGLU; plain: two layers; linear: one, ffn_width = width"),
      NamedOption("activation", d.activation, "Of the FFN"),
      NamedOption("norm", v.norm, "RMSNorm, or DynamicTanh (arXiv 2503.10622)"),
      NamedOption("norm_placement", d.norm_placement,
                  "pre: before sublayers; output: on what they add; sandwich: both; post: after the addition"),
      NamedOption("qk_norm", d.qk_norm, "RMSNorm of queries and keys; with norm_placement output: as OLMo 2"),
      NamedOption("gate", GateKind::kNone,
                  "Scores of the gate: for each channel, each head, or one (arXiv 2505.06708)"),
      NamedOption("gate_place", v.gate_place, "g1: attention's output; g2 values; g3 keys; g4 queries; g5 after w_o"),
      BoolOption("gate_shared", v.gate_shared, "All heads have the mean of their scores"),
      NamedOption("gate_apply", v.gate_apply, "Multiply by the scores, or add them"),
      NamedOption("gate_function", v.gate_function, "Of the gate's logits; ns_sigmoid: 0.5 + 0.5 sigmoid"),
      NamedOption("gate_signal", v.gate_signal, "What the gate reads: the state, nothing, the position, the token"),
      NamedOption("head_transform", v.head_transform, "A function without parameters on each head's output"),
      NamedOption("attention_weights", v.weights,
                  "softmax1: 1 in the denominator; softpick (arXiv 2504.20966); clipped (arXiv 2306.12929)"),
      RealOption("clip_low", v.clip_low, "clipped: gamma, at most 0").Between(-10, 0),
      RealOption("clip_high", v.clip_high, "clipped: zeta, at least 1").Between(1, 10),
      BoolOption("sink_logits", false, "A learned logit a head, of a key without value"),
      BoolOption("kv_bias", v.kv_bias, "A learned key and value a key/value head (arXiv 2402.17762)"),
      RealOption("output_clip", v.output_clip, "Hold what sublayers add within +- this; 0: not (arXiv 2505.06708, A.6)")
          .AtLeast(0),
      RealOption("rope_theta", d.rope.theta, "Base of the rotary embedding").AtLeast(1),
      BoolOption("tied_head", d.tied_head, "The head is the embedding")};
}

std::vector<OptionSpec> DataOptions() {
  const BigramBackcopyOptions d;
  std::vector<OptionSpec> options = {
      TextOption("task", "text",
                 "text: the bytes of the text; bigram_backcopy: a chain of its pairs (arXiv 2410.13835)")
          .OneOf({"text", kBackcopy})};
  for (OptionSpec& option : TextSourceOptions()) options.push_back(std::move(option));
  options.push_back(IntOption("seed", 0, "Of the order of documents, and of the chain").AtLeast(0));
  options.push_back(IntOption("symbols", d.symbols, "bigram_backcopy: different bytes").Between(2, 256));
  options.push_back(IntOption("triggers", d.triggers, "bigram_backcopy: bytes after which is copied").Between(1, 255));
  return options;
}

// Of the options of healing, those that need neither a teacher nor other processes, with defaults for starting from
// nothing.
std::vector<OptionSpec> TrainOptions() {
  const std::vector<std::string> others = {"next_token",   "logits",        "temperature",
                                           "top",          "teacher_cache", "hidden",
                                           "local_tokens", "local_rate",    "shard_optimizer"};
  const std::vector<std::pair<std::string, OptionValue>> defaults = {
      {"tokens", int64_t{1} << 20}, {"batch", int64_t{16}},
      {"length", int64_t{256}},     {"learning_rate", 3e-3},
      {"weight_decay", 0.1},        {"checkpoint_activations", false},
      {"validations", int64_t{10}}, {"validation_windows", int64_t{32}},
      {"save_seconds", 30.0}};
  std::vector<OptionSpec> options;
  for (OptionSpec& option : HealRecipeOptions()) {
    if (std::ranges::find(others, option.name) != others.end()) continue;
    for (const auto& [name, value] : defaults)
      if (name == option.name) option.default_value = value;
    options.push_back(std::move(option));
  }
  const HealOptions d;
  options.push_back(RealOption("beta2", d.beta2, "Of AdamW").Between(0, 1));
  options.push_back(
      IntOption("first_position", d.first_position, "First prediction of a window that is trained on, from 1")
          .AtLeast(1));
  options.push_back(IntOption("last_position", d.last_position, "Last one; 0: of the window").AtLeast(0));
  return options;
}

}  // namespace

std::vector<SectionSpec> TrainSchema() {
  using enum SectionForm;
  return {
      {"", kMap, "The run", TopOptions(), "", "", false, ""},
      {"model", kMap, "The model that is trained", ModelOptions(), "", "", false, ""},
      {"data", kMap, "What it is trained on", DataOptions(), "", "", true, ""},
      {"train", kMap, "How", TrainOptions(), "", "", false, ""},
      {"analyze", kMap, "How spikes and sinks are found", AnalyzeOptionSpecs(), "", "", false, ""},
      {"probe",
       kMap,
       "Stability: every variant at every rate",
       {RealListOption("learning_rates", std::nullopt, "Each in turn as train.learning_rate").Between(0, 10)},
       "",
       "",
       false,
       "",
       true},
      {"variants",
       kMapList,
       "Recipes to compare, the first the one that others are compared with; default: this one alone",
       {TextOption("name", std::nullopt, "Name in tables and folders: letters, digits, _ + - ."),
        TextListOption("set", {{}}, "Overrides laid over the recipe, as on the command line: \"model.gate=headwise\"")},
       "",
       "",
       false,
       ""},
  };
}

ModelConfig ConfigOf(const Recipe& recipe, int64_t vocabulary) {
  const Options& o = recipe.Entry("model").options;
  const auto named = [&]<class E>(const char* key, E& into) { into = Named<E>(o.Text(key), key); };
  ModelConfig config;
  config.family = "espalier";
  config.V = vocabulary;
  config.C = o.Int("width"), config.D = o.Int("head_width");
  config.max_positions = recipe.Entry("train").options.Int("length");
  config.rope.theta = o.Real("rope_theta");
  config.tied_head = o.Bool("tied_head");
  named("activation", config.activation);
  named("norm_placement", config.norm_placement);
  named("qk_norm", config.qk_norm);
  Variants& v = config.variants;
  named("ffn", v.ffn);
  named("norm", v.norm);
  named("gate_place", v.gate_place);
  named("gate_apply", v.gate_apply);
  named("gate_function", v.gate_function);
  named("gate_signal", v.gate_signal);
  named("head_transform", v.head_transform);
  named("attention_weights", v.weights);
  v.gate_shared = o.Bool("gate_shared");
  v.clip_low = o.Real("clip_low"), v.clip_high = o.Real("clip_high");
  v.kv_bias = o.Bool("kv_bias");
  v.output_clip = o.Real("output_clip");
  BlockConfig block;
  block.H = o.Int("heads"), block.G = o.Int("kv_heads") > 0 ? o.Int("kv_heads") : block.H, block.F = o.Int("ffn_width");
  if (block.G > block.H || block.H % block.G != 0 || config.D % 2 != 0)
    throw RecipeError(
        fmt::format("model: {} heads of {} and {} kv_heads; expected heads of even width, a multiple of "
                    "kv_heads",
                    block.H, config.D, block.G));
  block.kv_of_head = EvenKvOfHead(block.H, block.G);
  named("gate", block.gate);
  block.sink_logits = o.Bool("sink_logits");
  config.blocks.assign(static_cast<size_t>(o.Int("layers")), block);
  CheckVariants(config);
  return config;
}

HealOptions HealOptionsOf(const Recipe& recipe, uint64_t seed, at::Device device) {
  const Options& chosen = recipe.Entry("train").options;
  Options all{HealRecipeOptions()};
  for (const OptionSpec& option : all.specs())
    if (std::ranges::any_of(chosen.specs(), [&](const OptionSpec& own) { return own.name == option.name; }))
      all.Set(option.name, chosen.Value(option.name));
  HealOptions options = HealOptionsFrom(all, seed, device);
  options.beta2 = chosen.Real("beta2");
  options.first_position = chosen.Int("first_position");
  options.last_position = chosen.Int("last_position");
  if (options.validation_windows == 0)
    throw RecipeError("train.validation_windows: variants are compared on held-out windows; expected at least 1");
  return options;
}

AnalyzeOptions AnalyzeOptionsOf(const Recipe& recipe) {
  return AnalyzeOptionsFrom(recipe.Entry("analyze").options);
}

TrainData MakeTrainData(const Recipe& recipe) {
  const Options &data = recipe.Entry("data").options, &train = recipe.Entry("train").options;
  const Corpus corpus = ReadCorpus(TextSourceFrom(data));
  const std::string path = corpus.source.path.filename().string();
  const auto seed = static_cast<uint64_t>(data.Int("seed"));
  const int64_t length = train.Int("length"), held_out = train.Int("validation_windows");
  if (data.Text("task") == kBackcopy) {
    std::string text;
    for (const std::string& document : corpus.documents) text += document;
    BigramBackcopy task = MakeBigramBackcopy(text, {.sequences = train.Int("tokens") / length + held_out,
                                                    .length = length,
                                                    .symbols = data.Int("symbols"),
                                                    .triggers = data.Int("triggers"),
                                                    .seed = seed});
    return {ByteTokenizer(true), task.windows, task.optimal_loss.slice(0, -held_out).mean().item<double>(),
            fmt::format("Bigram-Backcopy on the pairs of {}", path), corpus.sha256};
  }
  auto tokenizer = ByteTokenizer(false);
  at::Tensor windows = PackWindows(*tokenizer, corpus, 0, length, seed);
  return {std::move(tokenizer), windows, std::numeric_limits<double>::quiet_NaN(), "the bytes of " + path,
          corpus.sha256};
}

}  // namespace espalier
