// espalier compare: is HEAD worse than BASE, token by token.
#include "espalier/evaluate/compare.h"

#include <fmt/format.h>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "judging.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

int CompareCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("out", po::value<std::string>()->default_value("runs/compare"));
  AddJudgingFlags(flags, CompareOptions().identical);
  const po::variables_map parsed = ParseArguments("compare", flags, arguments);
  const std::vector<std::string> paths = Positional(parsed);
  if (paths.size() != 2)
    throw RecipeError(
        fmt::format("compare: expected BASE and HEAD, found {} arguments; see espalier compare --help", paths.size()));
  const CompareOptions options = JudgingOptions(parsed);
  return ReportComparison(CompareEvaluations(ReadEvaluation(paths[0]), ReadEvaluation(paths[1]), options),
                          parsed["out"].as<std::string>());
}

const bool kRegistered = RegisterCommand(
    {"compare",
     "Compare two evaluations token by token: pass, fail, or not enough evidence",
     "BASE HEAD [--tolerance T] [--drop D] [--confidence C] [--identical V] [--out FOLDER]",
     std::string(
         "BASE and HEAD are runs (their last model), folders of results (runs/x/evaluate/dense), or stored baselines.\n"
         "Both must have been measured on the same text with the same protocol and tokenizer. Exit code: 0 pass, 1 "
         "fail,\n"
         "2 not comparable, 3 inconclusive.\n\n") +
         kJudgingHelp +
         "  --out FOLDER    comparison.json, .md, .html, .csv and junit.xml (runs/compare)\n\n"
         "examples:\n"
         "  espalier compare runs/a runs/b\n"
         "  espalier compare runs/a/evaluate/dense runs/a/evaluate/pruned --tolerance 0.5\n"
         "  espalier compare eval/baselines/smollm2-135m.json runs/eval",
     {"--tolerance", "--drop", "--confidence", "--identical", "--out"},
     CompareCommand});

}  // namespace
}  // namespace espalier
