// espalier sweep: many runs of one recipe, one table and one picture a text.
#include "espalier/recipe/sweep.h"

#include <fmt/format.h>

#include <cstdio>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

int SweepCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("dry-run", po::bool_switch())("keep-models", po::bool_switch())("device",
                                                                                      po::value<std::string>());
  const po::variables_map parsed = ParseArguments("sweep", flags, arguments);
  std::vector<std::string> positional = Positional(parsed);
  if (positional.empty())
    throw RecipeError("sweep: no recipe given; try espalier sweep recipes/smollm2-135m/ladder.yaml --dry-run");
  const std::string path = positional.front();
  positional.erase(positional.begin());
  if (parsed.count("device") > 0) positional.push_back("device=" + parsed["device"].as<std::string>());
  const Recipe recipe = Recipe::Read(path, positional, RunSchema());
  const SweepOutcome outcome = RunSweep(recipe, {parsed["dry-run"].as<bool>(), parsed["keep-models"].as<bool>()});
  std::fputs(outcome.table.c_str(), stdout);
  if (outcome.report) std::fputs(fmt::format("\nreport: {}\n", outcome.report->string()).c_str(), stdout);
  return outcome.failed > 0 ? kExitUsage : kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"sweep",
     "Run a recipe many times: variants, seeds, shares; one table and one picture",
     "RECIPE [key.path=value ...] [--dry-run] [--keep-models] [--device D]",
     "Every variant of the recipe's `sweep` section (or of `protect: compare`) with every seed and share is a run in\n"
     "runs/<name>/cells/. What runs have in common is computed once. Killed at any time, the same command goes on; a\n"
     "cell that fails is recorded, the others go on, and the next call tries it again.\n\n"
     "  --dry-run      list the cells and what is still to do\n"
     "  --keep-models  keep the checkpoint of every cell; else it goes once it is evaluated\n"
     "  --device D     cpu, cuda, cuda:1; the same as device=D\n\n"
     "exit codes: 0 every cell finished, 2 a mistake in the recipe, or cells failed\n\n"
     "examples:\n"
     "  espalier sweep recipes/smollm2-135m/ladder.yaml\n"
     "  espalier sweep recipes/smollm2-135m/protection.yaml 'sweep.seeds=[0]' --dry-run\n"
     "  espalier sweep recipes/smollm2-135m/one-shot.yaml 'sweep={remove: [0.1, 0.2, 0.3]}' name=shares",
     {"--dry-run", "--keep-models", "--device"},
     SweepCommand});

}  // namespace
}  // namespace espalier
