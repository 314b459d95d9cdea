#pragma once
// What `espalier eval --suite` names: one evaluator with its options, or a file that lists several.
#include <memory>
#include <string>
#include <vector>

#include "espalier/evaluate/evaluation.h"
#include "espalier/evaluate/evaluator.h"

namespace espalier {

struct Suite {
  std::string name;
  std::vector<std::unique_ptr<Evaluator>> evaluators;
};

// `name`: an evaluator, whose options `options` are as key=value; a file eval/suites/NAME.yaml; or a path to a .yaml,
// over which `options` are laid ("evaluate.0.windows=4"). RecipeError for anything else.
Suite MakeSuite(const std::string& name, const std::vector<std::string>& options);

// RecipeError when what `suite` measures could not be compared with `baseline`: said before any work.
void CheckBaseline(const Evaluation& baseline, const Suite& suite, const Tokenizer& tokenizer);

}  // namespace espalier
