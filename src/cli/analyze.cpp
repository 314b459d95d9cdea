// espalier analyze: spikes, sinks and gates of a checkpoint, or of two side by side.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "espalier/analyze/compare.h"
#include "espalier/analyze/options.h"
#include "espalier/analyze/vocabulary.h"
#include "espalier/calibrate/windows.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/version.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "espalier/plan/plan.h"
#include "espalier/report/analysis.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using Texts = std::vector<std::string>;

constexpr int64_t kPrefix = 5;  // tokens before the vocabulary probe's control

struct Request {
  std::vector<fs::path> models;
  std::string data;
  int64_t tokens = 0, length = 0;
  bool vocabulary = false;
  at::Device device = at::kCPU;
  AnalyzeOptions options;
  fs::path out;
  std::string plan;
};

Request ParseRequest(const Texts& arguments) {
  po::options_description flags;
  flags.add_options()("data", po::value<std::string>()->default_value("eval/data/c4/c4-sample.jsonl"))(
      "tokens", po::value<int64_t>()->default_value(8192))("length", po::value<int64_t>()->default_value(512))(
      "out", po::value<std::string>()->default_value(""))("plan", po::value<std::string>()->default_value(""))(
      "vocabulary", po::bool_switch())("device", po::value<std::string>()->default_value("cpu"));
  const po::variables_map parsed = ParseArguments("analyze", flags, arguments);
  Request request;
  Texts settings;
  for (const std::string& argument : Positional(parsed))
    if (argument.find('=') == std::string::npos)
      request.models.emplace_back(argument);
    else
      settings.push_back(argument);
  if (request.models.empty() || request.models.size() > 2)
    throw RecipeError(fmt::format("analyze: {} models; expected one, or two to compare; see espalier analyze --help",
                                  request.models.size()));
  request.options = AnalyzeOptionsFrom(OptionsFromArguments(AnalyzeOptionSpecs(), settings, "analyze"));
  request.data = parsed["data"].as<std::string>();
  request.tokens = parsed["tokens"].as<int64_t>();
  request.length = parsed["length"].as<int64_t>();
  request.vocabulary = parsed["vocabulary"].as<bool>();
  UseFasterFloat32Products();
  request.device = ParseDevice(parsed["device"].as<std::string>());
  request.plan = parsed["plan"].as<std::string>();
  request.out = parsed["out"].as<std::string>();
  if (request.out.empty()) request.out = fs::path("runs/analyze") / ModelName(request.models.back());
  const int64_t least = std::max(request.options.sink_length, request.vocabulary ? kPrefix : 1);
  if (request.length < least || request.tokens < request.length)
    throw RecipeError(fmt::format("analyze: {} tokens in windows of {}; expected at least one window of {}{}",
                                  request.tokens, request.length, least,
                                  least == request.options.sink_length ? " (sink_length)" : ""));
  return request;
}

Phenomena AnalyzeOne(const Request& request, const fs::path& path, const Corpus& corpus, std::string name) {
  LoadShapes(path, at::kFloat);  // a family that is not supported is the first thing to say
  const auto tokenizer = Tokenizer::Open(path);
  const Model model = LoadModel(path, ParseDtype("float32"), request.device);
  const at::Tensor windows = PackWindows(*tokenizer, corpus, request.tokens / request.length, request.length, 0);
  Phenomena phenomena = Analyze(model, windows, request.options, name, tokenizer.get());
  if (request.vocabulary)
    phenomena.vocabulary =
        ProbeVocabulary(model, phenomena, windows[0].narrow(0, 0, kPrefix), tokenizer.get(), request.options);
  return phenomena;
}

NeuronStays StaysByPlan(const std::string& path) {
  if (path.empty()) return nullptr;
  return [plan = PlanFromJson(ReadJson(path), path)](int64_t block, int64_t index) {
    return Keeps(plan, {block, UnitKind::kFfnChannel, index});
  };
}

std::vector<std::pair<std::string, std::string>> Provenance(const Request& request, const Corpus& corpus) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const fs::path& model : request.models) lines.emplace_back("model", model.string());
  lines.emplace_back("text", request.data);
  lines.emplace_back("text sha256", corpus.sha256);
  lines.emplace_back("windows", fmt::format("{} of {} tokens", request.tokens / request.length, request.length));
  lines.emplace_back("espalier", fmt::format("{}, revision {}", Version(), Revision()));
  return lines;
}

int AnalyzeCommand(const Texts& arguments) {
  const Request request = ParseRequest(arguments);
  const Corpus corpus = ReadCorpus({request.data, 0, std::nullopt});
  const NeuronStays stays = StaysByPlan(request.plan);
  std::vector<Phenomena> models;
  for (const fs::path& path : request.models) {
    std::string name = ModelName(path);
    if (!models.empty() && models.front().model == name) name += " (2)";
    models.push_back(AnalyzeOne(request, path, corpus, name));
  }
  Texts flags;
  if (models.size() == 2)
    for (const PhenomenonFlag& flag : ComparePhenomena(models[0], models[1], stays)) flags.push_back(flag.text);
  for (const Phenomena& model : models) WriteJson(request.out / (model.model + ".json"), PhenomenaToJson(model));
  const fs::path page = request.out / "analysis.html";
  WriteFile(page, RenderAnalysisHtml(models, flags, Provenance(request, corpus)));
  std::fputs(RenderAnalysisTable(models, flags).c_str(), stdout);
  std::fputs(fmt::format("\nreport: {}\n", page.string()).c_str(), stdout);
  return flags.empty() ? kExitPass : kExitRegression;
}

const bool kRegistered = RegisterCommand(
    {"analyze",
     "Show the spikes, sinks and gates of a checkpoint and who makes them, or compare two",
     "MODEL [AFTER] [key=value ...] [--data TEXT] [--tokens N] [--length T] [--vocabulary] [--plan FILE] [--out "
     "FOLDER] "
     "[--device D]",
     "Writes one JSON file a model and analysis.html into FOLDER (default runs/analyze/NAME). With two models, for "
     "example\n"
     "a dense and a pruned one, they are shown side by side; exit code 1 when a step-up was lost, sinks collapsed or\n"
     "appeared, or a step-up neuron was touched (--plan: the run's plan.json, which says what was cut). --vocabulary "
     "tries\n"
     "every token at position 0. key=value: spike_ratio, spike_absolute, step_share, neuron_share, sink_epsilon,\n"
     "sink_length, no_op_ratio, super_weight_limit, outlier_ratio, scan, scan_ratio, scan_dominance (espalier describe "
     "analyze).\n\n"
     "examples:\n"
     "  espalier analyze models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf --tokens 2048\n"
     "  espalier analyze models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf runs/smollm2-135m-starter/pruned\n"
     "  espalier analyze MODEL spike_ratio=1000 spike_absolute=100",
     {"--data", "--tokens", "--length", "--vocabulary", "--plan", "--out", "--device"},
     AnalyzeCommand});

}  // namespace
}  // namespace espalier
