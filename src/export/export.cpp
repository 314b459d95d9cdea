#include "espalier/export/export.h"

#include <fmt/format.h>

#include <charconv>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// "pruned.q8_0.gguf" or "pruned-hf" beside the model; of a run "export/..." in its folder.
fs::path DefaultOut(const ExportSource& source, const ExportOptions& options) {
  const fs::path last = WithoutSlash(source.model);
  const std::string stem = last.extension() == ".gguf" ? last.stem().string() : last.filename().string();
  const fs::path folder = source.run ? *source.run / "export" : last.parent_path();
  switch (options.form) {
    case ExportForm::kGguf:
      return folder / fmt::format("{}.{}.gguf", stem, options.type.value_or("f16"));
    case ExportForm::kFolder:
      return folder / (stem + "-hf");
    case ExportForm::kPaddedFolder:
      return folder / (stem + "-padded");
    case ExportForm::kPlainFolder:
      return folder / (stem + "-safetensors");
  }
  throw InternalError("unknown form of export");
}

}  // namespace

ExportForm ParseExportForm(std::string_view name) {
  if (name == "gguf") return ExportForm::kGguf;
  if (name == "hf") return ExportForm::kFolder;
  if (name == "padded") return ExportForm::kPaddedFolder;
  if (name == "safetensors") return ExportForm::kPlainFolder;
  throw RecipeError("export: " + UnknownName("form", name, {"gguf", "hf", "padded", "safetensors"}));
}

int64_t ParseBytes(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const double scale = unit.empty() || unit == "B"    ? 1
                       : unit == "kB" || unit == "KB" ? 1e3
                       : unit == "MB"                 ? 1e6
                       : unit == "GB"                 ? 1e9
                                                      : 0;
  if (error != std::errc() || scale == 0 || !(number * scale >= 1) || !(number * scale < 1e18))
    throw RecipeError(fmt::format("'{}' is no size; expected a number and B, kB, MB or GB, for example 5GB", text));
  return static_cast<int64_t>(number * scale);
}

Exported ExportModel(const ExportSource& source, const ExportOptions& options) {
  LoadShapes(source.model, at::kFloat);  // a model that cannot be read is the first thing to say
  ExportOptions whole = options;
  whole.out = options.out ? WithoutSlash(*options.out) : DefaultOut(source, options);
  std::error_code error;
  for (const auto& [path, what] : {std::pair(source.model, "the model itself"),
                                   {source.tokenizer, "the tokenizer"},
                                   {source.origin.value_or(source.model), "the model that it came from"}})
    if (fs::equivalent(*whole.out, path, error))
      throw RecipeError(fmt::format("export: {} is {}; choose another --out", whole.out->string(), what));
  return whole.form == ExportForm::kGguf ? ExportGguf(source, whole) : ExportFolder(source, whole);
}

}  // namespace espalier
