#pragma once
// Whole recipes on a tiny model with SmolLM2's tokenizer, in a folder of their own.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "espalier/core/files.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/load.h"
#include "espalier/recipe/run.h"
#include "espalier/recipe/schema.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {

class TinyRun {
 public:
  TinyRun() {
    TinyShape shape = EvenShape(4, {4, 2, 24});
    shape.V = tokenizer_->vocabulary_size();
    model_ = TinyModel(1, shape);
    model_.config.max_positions = 64;
    SaveModel(model_, *tokenizer_, folder_ / "model");
    std::string text;
    for (int i = 0; i < 1500; ++i) text += fmt::format("the {} and {} of it, ", i * 7 % 31, i);
    WriteFile(folder_ / "text.txt", text);
  }

  const Model& model() const { return model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::filesystem::path Text() const { return folder_ / "text.txt"; }

  // The file of a recipe: what `settings` lay over these.
  std::filesystem::path Recipe(const std::string& name, const std::string& settings) const {
    const std::filesystem::path path = folder_ / (name + ".yaml");
    WriteFile(path,
              fmt::format("name: {}\nruns: {}\nthreads: 1\nmodel: {{path: {}}}\nanalyze: {{tokens: 64}}\ndata:\n"
                          "  calibration: {{path: {}, sequences: 4, length: 64}}\n{}",
                          name, folder_.path().string(), (folder_ / "model").string(), Text().string(), settings));
    return path;
  }

  // The folder of its run, up to the stage `until`.
  std::filesystem::path Run(const std::string& name, const std::string& settings, const std::string& until) const {
    RunOptions options;
    options.until = until;
    RunRecipe(espalier::Recipe::Read(Recipe(name, settings), {}, RunSchema()), options);
    return folder_ / name;
  }
  std::filesystem::path Folder(const std::string& name) const { return folder_ / name; }

 private:
  std::unique_ptr<Tokenizer> tokenizer_ =
      Tokenizer::Open(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/fixtures/tokenizer/smollm2");
  Model model_;
  TempFolder folder_;
};

}  // namespace espalier
