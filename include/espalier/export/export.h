#pragma once
// Whole exports: chosen, written aside, verified, put in place.
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/export/source.h"

namespace espalier {

struct Exported {
  std::filesystem::path path;
  std::vector<std::string> lines;  // what was written and seen, for people
};

// kFolder leaves out empty blocks and fits uniform models to stock classes; kPlainFolder changes nothing.
enum class ExportForm { kGguf, kFolder, kPaddedFolder, kPlainFolder };
// "gguf", "hf", "padded", "safetensors"; RecipeError otherwise.
ExportForm ParseExportForm(std::string_view name);
// "5GB", "500MB", "64kB", bytes; RecipeError otherwise. Decimal units, as FormatBytes.
int64_t ParseBytes(std::string_view text);

struct ExportOptions {
  ExportForm form = ExportForm::kGguf;
  std::optional<std::string> type;           // of GGUF: f16 when not given; of folders: the model's own
  std::optional<std::filesystem::path> out;  // when not given: beside the model, named after it
  int64_t shard_bytes = int64_t{5} << 30;
  std::optional<std::string> gate_layout;  // folders: "A", "B", "C"; not given: the model's own
  bool verify = true;
};

// Throws what ChooseGgufCarrier, LoadModel and the checks throw; nothing is left behind then.
Exported ExportModel(const ExportSource& source, const ExportOptions& options);

// The forms, with options.out set.
Exported ExportGguf(const ExportSource& source, const ExportOptions& options);
Exported ExportFolder(const ExportSource& source, const ExportOptions& options);

}  // namespace espalier
