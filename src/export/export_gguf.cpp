#include <ATen/ATen.h>
#include <fmt/format.h>

#include <set>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/log.h"
#include "espalier/core/version.h"
#include "espalier/export/export.h"
#include "espalier/export/gguf.h"
#include "espalier/export/verify.h"
#include "espalier/io/gguf.h"
#include "espalier/io/gguf_writer.h"
#include "espalier/io/quantize.h"
#include "espalier/io/tokenizer.h"
#include "espalier/io/tokenizer_keys.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMadeBy = "espalier.version";  // a key of every file that is written here

bool IsGguf(const fs::path& path) {
  return fs::is_regular_file(path) && path.extension() == ".gguf";
}

// What people say of the model: name, licence, author. What the file itself is, it says anew.
void CopyGeneralKeys(const GgufFile& source, GgufWriter& writer) {
  static const std::set<std::string, std::less<>> kOwn = {"general.architecture", "general.file_type",
                                                          "general.quantization_version", "general.alignment",
                                                          "general.size_label"};
  for (const auto& [key, value] : source.metadata())
    if (key.starts_with("general.") && !kOwn.contains(key)) writer.AddRaw(key, source.RawValue(key));
}

void AddSourceKeys(const ExportSource& source, int64_t vocabulary, GgufWriter& writer) {
  const fs::path general = source.origin.value_or(source.model);
  if (IsGguf(general))
    CopyGeneralKeys(GgufFile(general), writer);
  else
    writer.AddText("general.name", WithoutSlash(general).filename().string());
  writer.AddText(kMadeBy, Version());
  if (IsGguf(source.tokenizer)) return CopyTokenizerKeys(GgufFile(source.tokenizer), writer);
  const fs::path json = fs::is_directory(source.tokenizer) ? source.tokenizer / "tokenizer.json" : source.tokenizer;
  AddTokenizerKeys(ReadTokenizerJson(json), vocabulary, writer);
}

// A file that an export may replace: none, or an export's.
void CheckReplaceable(const fs::path& out) {
  std::error_code error;
  if (!fs::exists(out, error) || (IsGguf(out) && GgufFile(out).metadata().contains(kMadeBy))) return;
  throw IoError(fmt::format("{}: is there already and no export of this program; choose another --out or remove it",
                            out.string()));
}

std::string Sizes(const GgufCarrier& carrier, const fs::path& file) {
  return fmt::format("{} blocks, {} parameters, {}", carrier.model.config.L(),
                     FormatCount(CountParameters(carrier.model)),
                     FormatBytes(static_cast<double>(fs::file_size(file))));
}

}  // namespace

Exported ExportGguf(const ExportSource& source, const ExportOptions& options) {
  const fs::path& out = options.out.value();
  CheckReplaceable(out);
  const GgmlType type = ParseGgmlType(options.type.value_or("f16"));
  const Model model = LoadModel(source.model, at::kFloat, at::kCPU);
  CheckVocabulary(Tokenizer::Open(source.tokenizer)->vocabulary_size(), model.config.V, source.tokenizer);
  const GgufCarrier carrier = ChooseGgufCarrier(model);
  Exported exported{out, {}};
  exported.lines.push_back(fmt::format("architecture {}", carrier.architecture));
  exported.lines.insert(exported.lines.end(), carrier.notes.begin(), carrier.notes.end());
  std::vector<std::string> warnings;
  const std::vector<GgufEntry> entries = GgufEntries(carrier, type, warnings);
  for (const std::string& warning : warnings) LogWarning("{}", warning);
  StagedFile staged(out);
  WriteGguf(
      carrier, entries, type, [&](GgufWriter& writer) { AddSourceKeys(source, model.config.V, writer); },
      staged.temporary());
  if (options.verify) {
    VerifyTokenizer(staged.temporary(), source.tokenizer);
    exported.lines.push_back("verified: " + VerifyGguf(staged.temporary(), carrier, entries, model));
  }
  staged.Commit();
  exported.lines.push_back(Sizes(carrier, out));
  return exported;
}

}  // namespace espalier
