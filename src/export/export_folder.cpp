// Folders that transformers opens, and the ones that only this program and docs/export.md's loader open.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/log.h"
#include "espalier/export/export.h"
#include "espalier/export/gates.h"
#include "espalier/export/model_card.h"
#include "espalier/export/shapes.h"
#include "espalier/export/stock.h"
#include "espalier/export/verify.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/family.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecord = "espalier_export.json";  // marks a folder as ours: another export may replace it
constexpr const char* kStockForm = "Opens in stock transformers with AutoModelForCausalLM.";
constexpr const char* kUnevenForm =
    "The blocks differ in size (`per_layer_config` in config.json), which stock transformers does not build: open it "
    "with Espalier's scripts/load_uneven.py, or with Espalier itself.";

// A folder that an export may replace: none, an empty one, or an export's.
void CheckReplaceable(const fs::path& out) {
  std::error_code error;
  if (!fs::exists(out, error) || fs::is_empty(out, error) || fs::exists(out / kRecord)) return;
  throw IoError(fmt::format("{}: is there already and no export of this program; choose another --out or remove it",
                            out.string()));
}

at::ScalarType OwnDtype(const ExportSource& source, const ExportOptions& options) {
  if (options.type) return ParseDtype(*options.type);
  const auto checkpoint = Checkpoint::Open(source.model);
  if (checkpoint->format() == CheckpointFormat::kGguf) return at::kFloat;
  // By what is stored and not by what config.json says of it. float16 becomes float32, which loses nothing.
  const std::vector<std::string> names = checkpoint->Names();
  const auto is_bfloat16 = [&](const std::string& name) {
    return checkpoint->Bytes(name) == 2 * c10::multiply_integers(checkpoint->Shape(name)) &&
           checkpoint->Read(name).scalar_type() == at::kBFloat16;
  };
  return std::all_of(names.begin(), names.end(), is_bfloat16) ? at::kBFloat16 : at::kFloat;
}

// Whoever may use the model must know under which terms, and how it was meant to be sampled from.
void CopyCompanions(const ExportSource& source, const fs::path& folder) {
  for (const fs::path& from : {source.model, source.origin.value_or(source.model)}) {
    const fs::path beside = fs::is_directory(from) ? from : from.parent_path();
    std::error_code unreadable;
    for (const auto& entry : fs::directory_iterator(beside.empty() ? "." : beside, unreadable)) {
      const std::string name = entry.path().filename().string();
      const bool terms = name.starts_with("LICENSE") || name.starts_with("NOTICE") || name.starts_with("USE_POLICY");
      if (entry.is_regular_file() && (terms || name == "generation_config.json"))
        WriteFile(folder / name, ReadFile(entry.path()));
    }
  }
}

void AddTokenIds(const Tokenizer& tokenizer, const fs::path& folder, Json& config) {
  if (tokenizer.bos()) config["bos_token_id"] = *tokenizer.bos();
  if (tokenizer.eos()) config["eos_token_id"] = *tokenizer.eos();
  if (fs::exists(folder / "generation_config.json")) return;
  Json generation = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id"})
    if (config.contains(key)) generation[key] = config[key];
  WriteJson(folder / "generation_config.json", generation);
}

struct Shaped {
  Model model;
  bool stock = false;
  std::vector<std::string> notes;
};

Shaped Shape(const Model& source, ExportForm form) {
  if (form == ExportForm::kPlainFolder) return {source, false, {}};
  Shaped shaped{FoldRemoved(source), false, {}};
  if (const int64_t gone = source.config.L() - shaped.model.config.L(); gone > 0)
    shaped.notes.push_back(fmt::format("{} blocks without sublayers left out; blocks are numbered anew", gone));
  if (form == ExportForm::kPaddedFolder && !IsUniform(shaped.model.config)) {
    shaped.notes.push_back(
        fmt::format("{} parameters padded with zeros to even blocks", FormatCount(CountParameters(shaped.model))));
    shaped.model = PaddedUniform(shaped.model);
  }
  shaped.stock = IsUniform(shaped.model.config);
  if (shaped.stock) shaped.model = ForStockTransformers(shaped.model);
  return shaped;
}

std::string OpensIn(ExportForm form, const Shaped& shaped) {
  if (form == ExportForm::kPlainFolder) return "as it was";
  return shaped.stock ? "opens in stock transformers" : "uneven blocks: scripts/load_uneven.py";
}

Json Record(const Shaped& shaped, const ExportSource& source) {
  return {{"schema", "espalier.export/1"},     {"stock_transformers", shaped.stock},
          {"blocks", shaped.model.config.L()}, {"parameters", CountParameters(shaped.model)},
          {"source", source.model.string()},   {"notes", shaped.notes}};
}

// Rounded as the file is; then nothing but float32 arithmetic differs.
std::string Verify(const fs::path& folder, const Model& written, const Model& source) {
  const Model exact = CopyModel(written, at::kFloat, at::kCPU);
  if (written.dtype() == at::kFloat) CheckSameLogits(exact, source, "the exported shape");
  const Model again = LoadModel(folder, at::kFloat, at::kCPU);
  return fmt::format("logits differ by {:.1e} of the largest", CheckSameLogits(again, exact, folder.string()));
}

}  // namespace

Exported ExportFolder(const ExportSource& source, const ExportOptions& options) {
  const fs::path& out = options.out.value();
  CheckReplaceable(out);
  const auto tokenizer = Tokenizer::Open(source.tokenizer);
  const Model model = LoadModel(source.model, OwnDtype(source, options), at::kCPU);
  CheckVocabulary(tokenizer->vocabulary_size(), model.config.V, source.tokenizer);
  const Shaped shaped = Shape(options.gate_layout ? WithGateLayout(model, *options.gate_layout) : model, options.form);
  const auto family = Registry<ModelFamily>::Create(shaped.model.config.family);
  AtomicFolder folder(out);
  tokenizer->Save(folder.temporary());
  CopyCompanions(source, folder.temporary());
  Json config = family->WriteConfig(shaped.model);
  AddTokenIds(*tokenizer, folder.temporary(), config);
  WriteCheckpointFolder(folder.temporary(), config, family->ToStored(shaped.model), options.shard_bytes);
  WriteJson(folder.temporary() / kRecord, Record(shaped, source));
  const std::string title = out.filename().string();
  Exported exported{out, shaped.notes};
  if (options.form != ExportForm::kPlainFolder)
    WriteFile(folder.temporary() / "README.md",
              ModelCard(shaped.model, source, {title, shaped.stock ? kStockForm : kUnevenForm, shaped.notes}));
  if (options.verify) exported.lines.push_back("verified: " + Verify(folder.temporary(), shaped.model, model));
  folder.Commit();
  exported.lines.push_back(fmt::format("{} blocks, {} parameters; {}", shaped.model.config.L(),
                                       FormatCount(CountParameters(shaped.model)), OpensIn(options.form, shaped)));
  return exported;
}

}  // namespace espalier
