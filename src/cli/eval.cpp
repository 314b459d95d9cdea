// espalier eval: one evaluator on one checkpoint.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

void PrintResults(const Results& results) {
  for (const auto& [key, value] : results.protocol) std::fputs(fmt::format("{:<18} {}\n", key, value).c_str(), stdout);
  for (const Metric& metric : results.metrics) {
    std::string line =
        fmt::format("{:<18} {:.4f}{}{}", metric.name, metric.value, metric.unit.empty() ? "" : " ", metric.unit);
    if (metric.low && metric.high) line += fmt::format("  [{:.4f}, {:.4f}]", *metric.low, *metric.high);
    std::fputs((line + "\n").c_str(), stdout);
  }
}

int EvalCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("suite", po::value<std::string>()->default_value("perplexity"))(
      "out", po::value<std::string>()->default_value("runs/eval"))(
      "device", po::value<std::string>()->default_value("cpu"))("dtype",
                                                                po::value<std::string>()->default_value("float32"));
  const po::variables_map parsed = ParseArguments("eval", flags, arguments);
  std::vector<std::string> positional = Positional(parsed);
  if (positional.empty()) throw RecipeError("eval: no model given; see espalier eval --help");
  const std::filesystem::path path = positional.front();
  positional.erase(positional.begin());
  const auto& entry = Registry<Evaluator>::Find(parsed["suite"].as<std::string>());
  const auto evaluator = entry.make(OptionsFromArguments(entry.info.options, positional, "eval " + entry.info.name));
  LoadShapes(path, at::kFloat);  // a family that is not supported is the first thing to say
  const auto tokenizer = Tokenizer::Open(path);
  UseFasterFloat32Products();
  const Model model =
      LoadModel(path, ParseDtype(parsed["dtype"].as<std::string>()), ParseDevice(parsed["device"].as<std::string>()));
  const std::filesystem::path out = parsed["out"].as<std::string>();
  const Results results = evaluator->Run({model, *tokenizer, path.filename().string(), out, std::nullopt});
  WriteJson(out / (results.id + ".json"), ResultsToJson(results));
  PrintResults(results);
  std::fputs(fmt::format("written to         {}\n", (out / (results.id + ".json")).string()).c_str(), stdout);
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"eval",
     "Evaluate any checkpoint: perplexity, speed",
     "MODEL [--suite SUITE] [key=value ...] [--out FOLDER] [--device D] [--dtype T]",
     "MODEL is a GGUF file or a folder with config.json and safetensors; key=value are the suite's options (espalier "
     "describe SUITE).\n\n"
     "examples:\n"
     "  espalier eval runs/smollm2-135m-starter/pruned data=eval/data/wikitext-2/wiki.test.raw windows=4\n"
     "  espalier eval models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf --suite speed length=512",
     {"--suite", "--out", "--device", "--dtype"},
     EvalCommand});

}  // namespace
}  // namespace espalier
