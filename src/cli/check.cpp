// espalier check: a recipe without running it.
#include <cstdio>

#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/recipe/run.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

int CheckCommand(const std::vector<std::string>& arguments) {
  if (arguments.empty())
    throw RecipeError("check: no recipe given; try espalier check recipes/smollm2-135m/starter.yaml");
  const Recipe recipe = Recipe::Read(arguments.front(), {arguments.begin() + 1, arguments.end()}, RunSchema());
  std::fputs(CheckRecipe(recipe).c_str(), stdout);
  return kExitPass;
}

const bool kRegistered =
    RegisterCommand({"check",
                     "Check a recipe: mistakes, what would be removed, memory and time",
                     "RECIPE [key.path=value ...]",
                     "Reads the recipe, the model's headers and the texts; no weights. Shows every mistake at once.\n\n"
                     "example:\n  espalier check recipes/smollm2-135m/starter.yaml prune.budget.remove=0.5",
                     {},
                     CheckCommand});

}  // namespace
}  // namespace espalier
