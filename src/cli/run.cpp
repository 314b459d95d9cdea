// espalier run: the pipeline.
#include "espalier/recipe/run.h"

#include <fmt/format.h>

#include <cstdio>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/recipe/schema.h"
#include "processes.h"
#include "workflow.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

int RunCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("from", po::value<std::string>()->default_value(""))(
      "until", po::value<std::string>()->default_value(""))("dry-run", po::bool_switch())("device",
                                                                                          po::value<std::string>());
  const po::variables_map parsed = ParseArguments("run", flags, arguments);
  std::vector<std::string> positional = Positional(parsed);
  if (positional.empty()) throw RecipeError("run: no recipe given; try espalier run recipes/smollm2-135m/starter.yaml");
  const std::string path = positional.front();
  positional.erase(positional.begin());
  if (parsed.count("device") > 0) positional.push_back("device=" + parsed["device"].as<std::string>());
  const auto comm = MeetOthers("run", arguments);
  const Recipe recipe = Recipe::Read(path, positional, RunSchema());
  const RunOutcome outcome = RunRecipe(recipe, {parsed["from"].as<std::string>(), parsed["until"].as<std::string>(),
                                                parsed["dry-run"].as<bool>(), comm.get()});
  if (!outcome.report) return kExitPass;
  std::fputs(fmt::format("\n{}\nreport: {}\n", outcome.table, outcome.report->string()).c_str(), stdout);
  TellWorkflow(outcome.gates, outcome.markdown);
  return ExitCodeOf(outcome.gates);
}

const bool kRegistered = RegisterCommand(
    {"run",
     "Run a recipe: analyze, calibrate, plan, prune, heal, evaluate, report, export",
     "RECIPE [key.path=value ...] [--from STAGE] [--until STAGE] [--dry-run] [--device D]",
     "Stages that are finished under the same inputs are reused, so a second call takes seconds, a changed budget does "
     "not\n"
     "calibrate again, and a killed run goes on where it stopped. Everything goes to runs/<name>/.\n\n"
     "  --from STAGE   run this stage and those after it again although nothing changed\n"
     "  --until STAGE  stop after this stage (analyze, calibrate, plan, prune, heal, evaluate, report, export)\n"
     "  --dry-run      say which stages would run\n"
     "  --device D     cpu, cuda, cuda:1; the same as device=D\n\n"
     "examples:\n"
     "  espalier run recipes/smollm2-135m/starter.yaml\n"
     "  espalier run recipes/smollm2-135m/starter.yaml name=half prune.budget.remove=0.5\n"
     "  espalier run runs/smollm2-135m-starter/recipe.yaml --until plan",
     {"--from", "--until", "--dry-run", "--device"},
     RunCommand,
     /*many_processes=*/true});

}  // namespace
}  // namespace espalier
