// espalier eval: one evaluator, or a suite of them, on one checkpoint; against a baseline on request.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/compare.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "judging.h"
#include "processes.h"
#include "suite.h"

namespace espalier {
namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

void PrintResults(const Results& results) {
  for (const auto& [key, value] : results.protocol) std::fputs(fmt::format("{:<18} {}\n", key, value).c_str(), stdout);
  for (const Metric& metric : results.metrics) {
    std::string line =
        fmt::format("{:<18} {:.4f}{}{}", metric.name, metric.value, metric.unit.empty() ? "" : " ", metric.unit);
    if (metric.low && metric.high) line += fmt::format("  [{:.4f}, {:.4f}]", *metric.low, *metric.high);
    std::fputs((line + "\n").c_str(), stdout);
  }
}

// On rank 0 all results, on the others none.
Evaluation Evaluate(const Suite& suite, const Model& model, const Model* base, const Tokenizer& tokenizer,
                    const std::string& name, const fs::path& out, Comm& comm) {
  Evaluation evaluation;
  evaluation.name = name;
  const auto run = [&](const Evaluator& evaluator, Comm* together) {
    const Results results = evaluator.Run({model, tokenizer, name, out, std::nullopt, base, together});
    if (!comm.Leads()) return;
    WriteJson(out / (results.id + ".json"), ResultsToJson(results));
    if (fs::exists(LossesPath(out, results.id))) evaluation.losses[results.id] = LoadLosses(out, results.id);
    PrintResults(results);
    std::fputs(fmt::format("written to         {}\n\n", (out / (results.id + ".json")).string()).c_str(), stdout);
    evaluation.results.push_back(results);
  };
  for (const auto& evaluator : suite.evaluators) {
    if (evaluator->Shares())
      run(*evaluator, &comm);
    else
      OnLeader(comm, [&] { run(*evaluator, nullptr); });
  }
  return evaluation;
}

po::variables_map ParseEval(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("suite", po::value<std::string>()->default_value("perplexity"))(
      "out", po::value<std::string>()->default_value("runs/eval"))("base", po::value<std::string>())(
      "against", po::value<std::string>())("baseline", po::value<std::string>())(
      "device", po::value<std::string>()->default_value("cpu"))("dtype",
                                                                po::value<std::string>()->default_value("float32"));
  AddJudgingFlags(flags, Verdict::kPass);
  return ParseArguments("eval", flags, arguments);
}

int EvalCommand(const std::vector<std::string>& arguments) {
  const po::variables_map parsed = ParseEval(arguments);
  std::vector<std::string> positional = Positional(parsed);
  if (positional.empty()) throw RecipeError("eval: no model given; see espalier eval --help");
  const fs::path path = positional.front();
  positional.erase(positional.begin());
  const Suite suite = MakeSuite(parsed["suite"].as<std::string>(), positional);
  const CompareOptions judging = JudgingOptions(parsed);
  for (const auto& evaluator : suite.evaluators)
    if (evaluator->NeedsBase() && parsed.count("base") == 0)
      throw RecipeError(fmt::format("eval: {} compares with the model that this one came from; name it with --base",
                                    evaluator->Id()));
  LoadShapes(path, at::kFloat);  // a family that is not supported is the first thing to say
  const auto comm = MeetOthers("eval", arguments);
  std::string hash;
  if (comm->size() > 1) WorkTogether(*comm, [&] { hash = HashPath(path); });
  comm->RequireSame("SHA-256 of " + path.string(), hash);
  const auto tokenizer = Tokenizer::Open(path);
  std::optional<Evaluation> baseline;
  if (parsed.count("against") > 0) {
    baseline = ReadEvaluation(parsed["against"].as<std::string>());
    CheckBaseline(*baseline, suite, *tokenizer);
  }
  UseFasterFloat32Products();
  const auto load = [&](const fs::path& from) {
    return LoadModel(from, ParseDtype(parsed["dtype"].as<std::string>()),
                     ParseDevice(parsed["device"].as<std::string>()));
  };
  std::optional<Model> model, base;
  WorkTogether(*comm, [&] {
    model = load(path);
    if (parsed.count("base") > 0) base = load(parsed["base"].as<std::string>());
  });
  const RankFolder folder(*comm, parsed["out"].as<std::string>());
  const fs::path& out = folder.path();
  const Evaluation head =
      Evaluate(suite, *model, base ? &*base : nullptr, *tokenizer, WithoutSlash(path).filename().string(), out, *comm);
  if (!comm->Leads()) return kExitPass;
  if (parsed.count("baseline") > 0) {
    SaveEvaluation(head, parsed["baseline"].as<std::string>());
    std::fputs(fmt::format("baseline: {}\n", parsed["baseline"].as<std::string>()).c_str(), stdout);
  }
  return baseline ? ReportComparison(CompareEvaluations(*baseline, head, judging), out) : kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"eval",
     "Evaluate any checkpoint: perplexity, speed; against a baseline: pass or fail",
     "MODEL [--suite SUITE] [key=value ...] [--against BASELINE] [--baseline FILE] [--out FOLDER]",
     std::string(
         "MODEL is a GGUF file or a folder with config.json and safetensors. SUITE is an evaluator, whose options "
         "key=value\n"
         "are (espalier describe SUITE), or a file that lists several (eval/suites).\n\n"
         "  --suite SUITE    perplexity (default), speed, quick, or a path to a .yaml\n"
         "  --base MODEL     the model that this one came from, for suites that need it (divergence)\n"
         "  --against FILE   compare with a stored baseline, a run, or a folder of results; exit code 0 pass, 1 fail, "
         "3\n"
         "                   inconclusive\n"
         "  --baseline FILE  store what was measured as FILE.json, with the losses beside it\n"
         "  --out FOLDER     results (runs/eval)\n"
         "  --device D, --dtype T\n") +
         kJudgingHelp +
         "\nexamples:\n"
         "  espalier eval runs/smollm2-135m-starter/pruned data=eval/data/wikitext-2/wiki.test.raw windows=4\n"
         "  espalier eval models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf --suite speed length=512\n"
         "  espalier eval MODEL --suite quick --against eval/baselines/smollm2-135m.json",
     {"--suite", "--out", "--base", "--against", "--baseline", "--device", "--dtype", "--tolerance", "--drop",
      "--confidence", "--identical"},
     EvalCommand,
     /*many_processes=*/true});

}  // namespace
}  // namespace espalier
