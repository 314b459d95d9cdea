#include "suite.h"

#include <fmt/format.h>

#include <algorithm>

#include "arguments.h"
#include "espalier/core/error.h"
#include "espalier/evaluate/compare.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuites = "eval/suites";  // of the folder that the command is called in, as the texts are

fs::path SuiteFile(const std::string& name) {
  return fs::path(name).extension() == ".yaml" ? fs::path(name) : fs::path(kSuites) / (name + ".yaml");
}

std::vector<std::string> KnownSuites() {
  std::vector<std::string> names = Registry<Evaluator>::Names();
  if (fs::is_directory(kSuites))
    for (const auto& entry : fs::directory_iterator(kSuites))
      if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  return names;
}

}  // namespace

Suite MakeSuite(const std::string& name, const std::vector<std::string>& options) {
  Suite suite{name, {}};
  if (const fs::path file = SuiteFile(name); fs::exists(file)) {
    const Recipe read = Recipe::Read(file, options, SuiteSchema());
    for (const RecipeEntry& entry : read.List("evaluate"))
      suite.evaluators.push_back(Registry<Evaluator>::Create(entry.name, entry.options));
    if (suite.evaluators.empty())
      throw RecipeError(fmt::format("{}: evaluate: nothing is measured; list at least one suite", file.string()));
    return suite;
  }
  const std::vector<std::string> known = KnownSuites();
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw RecipeError("eval: --suite: " + UnknownName("suite", name, known));
  const auto& entry = Registry<Evaluator>::Find(name);
  suite.evaluators.push_back(entry.make(OptionsFromArguments(entry.info.options, options, "eval " + name)));
  return suite;
}

void CheckBaseline(const Evaluation& baseline, const Suite& suite, const Tokenizer& tokenizer) {
  for (const auto& evaluator : suite.evaluators) {
    if (!evaluator->Text()) continue;
    const Results* stored = baseline.Find(evaluator->Id());
    if (stored == nullptr)
      throw RecipeError(
          fmt::format("{}: no result {}, which suite {} measures; write the baseline again with "
                      "--baseline",
                      baseline.source.string(), evaluator->Id(), suite.name));
    const auto expect = [&](const char* key, const std::string& found, const char* what) {
      if (ProtocolEntry(*stored, key) != found)
        throw RecipeError(
            fmt::format("{}: {} was measured with another {} ({} {}, here {}); such figures cannot be "
                        "compared",
                        baseline.source.string(), stored->id, what, key, ProtocolEntry(*stored, key).substr(0, 12),
                        found.substr(0, 12)));
    };
    expect("tokenizer_sha256", tokenizer.Fingerprint(), "tokenizer");
    expect("corpus_sha256", ReadCorpus(*evaluator->Text()).sha256, "text");
  }
}

}  // namespace espalier
