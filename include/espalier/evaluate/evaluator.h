#pragma once
// Evaluators measure one model and return named figures. They never change it.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/comm/comm.h"
#include "espalier/core/registry.h"
#include "espalier/evaluate/results.h"
#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/model.h"

namespace espalier {

struct EvaluationInput {
  const Model& model;
  const Tokenizer& tokenizer;
  std::string model_name;                      // "dense", "pruned", "healed"
  std::filesystem::path folder;                // where per-token values go
  std::optional<std::filesystem::path> dense;  // the dense model's folder, for paired figures
  const Model* base = nullptr;                 // the model that this one came from, for evaluators that need it
  Comm* comm = nullptr;                        // the processes that evaluate together; null: this one alone
};

class Evaluator {
 public:
  static constexpr std::string_view kKind = "evaluator";
  virtual ~Evaluator() = default;
  // Unique in a run when the options are: "perplexity-wikitext-2".
  virtual std::string Id() const = 0;
  // The text that is evaluated on, for the check that nothing calibrates or heals on it; none: no text.
  virtual std::optional<TextSource> Text() const { return std::nullopt; }
  // Further files that the figures depend on, each used whole: another content is another evaluation.
  virtual std::vector<std::filesystem::path> Files() const { return {}; }
  // Names of the metrics that Run returns; `compared`: of a model that is evaluated beside the dense one.
  virtual std::vector<std::string> Figures(bool compared) const = 0;
  // Whether it runs the base model beside the one that it measures. Of the base itself it then returns no figures.
  virtual bool NeedsBase() const { return false; }
  // Whether processes that evaluate together divide its work. All of them then call Run and get the same results, each
  // with a folder of its own; else rank 0 alone calls it.
  virtual bool Shares() const { return false; }
  virtual Results Run(const EvaluationInput& input) const = 0;
};

// IoError when a tokenizer has more entries than the model's vocabulary: it belongs to another model.
void CheckTokenizer(const Tokenizer& tokenizer, const Model& model);

}  // namespace espalier
