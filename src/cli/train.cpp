// espalier train: small models from scratch, one for each variant of a recipe.
#include "espalier/recipe/train.h"

#include <fmt/format.h>

#include <cstdio>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

int TrainCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("dry-run", po::bool_switch())("device", po::value<std::string>());
  const po::variables_map parsed = ParseArguments("train", flags, arguments);
  std::vector<std::string> positional = Positional(parsed);
  if (positional.empty())
    throw RecipeError("train: no recipe given; try espalier train recipes/train/bigram-backcopy.yaml --dry-run");
  const std::string path = positional.front();
  positional.erase(positional.begin());
  if (parsed.count("device") > 0) positional.push_back("device=" + parsed["device"].as<std::string>());
  const Recipe recipe = Recipe::Read(path, positional, TrainSchema());
  const TrainOutcome outcome = RunTraining(recipe, {parsed["dry-run"].as<bool>()});
  std::fputs(outcome.table.c_str(), stdout);
  if (outcome.report) std::fputs(fmt::format("\nreport: {}\n", outcome.report->string()).c_str(), stdout);
  return outcome.failed > 0 ? kExitUsage : kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"train",
     "Train small models from scratch: variants of norms, FFNs, gates and attention, one table",
     "RECIPE [key.path=value ...] [--dry-run] [--device D]",
     "Every variant of the recipe with every seed (and every rate of `probe`) is trained on the same data and "
     "measured\n"
     "on the same held-out windows: loss, sinks, spikes, gates. runs/<name>/ gets training.json, .md and .html, and\n"
     "cells/<variant>-seed<n>/model, which the other commands open. Killed at any time, the same command goes on; "
     "what\n"
     "is finished is not trained again.\n\n"
     "  --dry-run   list the models and what is still to do\n"
     "  --device D  cpu, cuda, cuda:1; the same as device=D\n\n"
     "exit codes: 0 every model finished or diverged, 2 a mistake in the recipe, or models failed\n\n"
     "examples:\n"
     "  espalier train recipes/train/bigram-backcopy.yaml\n"
     "  espalier train recipes/train/byte-lm.yaml 'seeds=[0]' train.tokens=200000 name=quick\n"
     "  espalier train recipes/train/byte-lm.yaml 'probe={learning_rates: [0.003, 0.03, 0.3]}' name=rates",
     {"--dry-run", "--device"},
     TrainCommand});

}  // namespace
}  // namespace espalier
