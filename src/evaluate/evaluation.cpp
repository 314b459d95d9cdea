#include "espalier/evaluate/evaluation.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/json_reader.h"
#include "espalier/evaluate/losses.h"
#include "espalier/io/tensors.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSchema = "espalier.evaluation/1";
constexpr std::string_view kResultsSchema = "espalier.results/1";
constexpr std::string_view kDocuments = ".documents";

std::string SchemaOf(const Json& json) {
  const auto schema = json.is_object() ? json.find("schema") : json.end();
  return json.is_object() && schema != json.end() && schema->is_string() ? schema->get<std::string>() : "";
}

void CheckLosses(const Results& results, const Losses& losses, const std::string& where) {
  if (losses.each.dim() != 1 || losses.each.scalar_type() != at::kFloat)
    throw IoError(fmt::format("{}: losses of {}: expected one row of float32; evaluate again", where, results.id));
  for (const char* name : {"perplexity", "accuracy"})
    if (const Metric* metric = results.Find(name); metric != nullptr && metric->count != losses.each.numel())
      throw IoError(fmt::format("{}: {} losses of {}, its result says {}; evaluate again", where, losses.each.numel(),
                                results.id, metric->count));
  if (losses.documents.defined() && (losses.documents.dim() != 1 || losses.documents.scalar_type() != at::kLong))
    throw IoError(fmt::format("{}: documents of {}: expected one row of int64; evaluate again", where, results.id));
}

// A result and, when it has per-token losses, those beside it.
void AddResult(const fs::path& file, const Json& json, Evaluation& evaluation) {
  Results results = ResultsFromJson(json, file.string());
  if (evaluation.Find(results.id) != nullptr)
    throw IoError(fmt::format("{}: a second result called {}; expected one file for each", file.string(), results.id));
  if (fs::exists(LossesPath(file.parent_path(), results.id))) {
    Losses losses = LoadLosses(file.parent_path(), results.id);
    CheckLosses(results, losses, LossesPath(file.parent_path(), results.id).string());
    evaluation.losses[results.id] = std::move(losses);
  }
  evaluation.results.push_back(std::move(results));
}

std::vector<fs::path> JsonFiles(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == ".json") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// False when no file in it is a result.
bool ReadFolder(const fs::path& folder, Evaluation& evaluation) {
  for (const fs::path& file : JsonFiles(folder)) {
    const Json json = ReadJson(file);
    if (SchemaOf(json) == kResultsSchema) AddResult(file, json, evaluation);
  }
  return !evaluation.results.empty();
}

// The last model of a run; what an earlier run of another recipe left in its folder is not in the manifest any more.
fs::path LastModel(const fs::path& run) {
  const fs::path manifest = run / "manifest.json";
  const Json stages = fs::is_regular_file(manifest) ? ReadJson(manifest).value("stages", Json::object()) : Json();
  for (const std::string model : {"healed", "pruned", "dense"}) {
    const bool current = stages.is_null() || stages.contains("evaluate." + model);
    if (current && fs::is_directory(run / "evaluate" / model)) return run / "evaluate" / model;
  }
  return {};
}

void ReadBaseline(const fs::path& file, const Json& json, Evaluation& evaluation) {
  const JsonReader reader(json, file.string());
  reader.ExpectSchema(kSchema);
  reader.AllowOnly({"schema", "name", "losses", "losses_sha256", "results"});
  const std::string name = reader.Text("losses");
  if (name.empty() || fs::path(name).filename() != name)
    reader.Fail("losses", fmt::format("expected the name of a file in the same folder, found '{}'", name));
  const fs::path path = file.parent_path() / name;
  if (const std::string hash = HashFile(path); hash != reader.Text("losses_sha256"))
    throw IoError(fmt::format("{}: its hash is {}, {} was written with another; write the baseline again",
                              path.string(), hash.substr(0, 12), file.string()));
  NamedTensors tensors = LoadTensors(path);
  evaluation.name = reader.Text("name");
  const auto list = json.find("results");
  if (list == json.end() || !list->is_array()) reader.Fail("results", "expected a list");
  for (size_t i = 0; i < list->size(); ++i) {
    Results results = ResultsFromJson((*list)[i], fmt::format("{}: results[{}]", file.string(), i));
    if (const auto nll = tensors.find(results.id); nll != tensors.end()) {
      Losses losses{nll->second, {}};
      if (const auto documents = tensors.find(results.id + std::string(kDocuments)); documents != tensors.end())
        losses.documents = documents->second;
      CheckLosses(results, losses, path.string());
      evaluation.losses[results.id] = std::move(losses);
    }
    evaluation.results.push_back(std::move(results));
  }
}

void ReadFile(const fs::path& path, Evaluation& evaluation) {
  const Json json = ReadJson(path);
  const std::string schema = SchemaOf(json);
  if (schema == kSchema)
    ReadBaseline(path, json, evaluation);
  else if (schema == kResultsSchema)
    AddResult(path, json, evaluation);
  else
    throw IoError(fmt::format("{}: schema '{}'; expected a result ({}) or a baseline ({})", path.string(), schema,
                              kResultsSchema, kSchema));
}

}  // namespace

const Results* Evaluation::Find(std::string_view id) const {
  const auto found = std::find_if(results.begin(), results.end(), [&](const Results& one) { return one.id == id; });
  return found == results.end() ? nullptr : &*found;
}

Evaluation ReadEvaluation(const fs::path& path) {
  Evaluation evaluation;
  evaluation.name = path.lexically_normal().string();
  evaluation.source = path;
  if (!fs::exists(path))
    throw IoError(fmt::format(
        "{}: no such file or folder; expected a run, a folder that `espalier eval --out` wrote, or a baseline",
        path.string()));
  if (!fs::is_directory(path)) {
    ReadFile(path, evaluation);
  } else if (!ReadFolder(path, evaluation)) {
    const fs::path last = LastModel(path);
    if (last.empty() || !ReadFolder(last, evaluation))
      throw IoError(fmt::format("{}: no evaluation in it; expected results (*.json) or a run's evaluate/MODEL folders",
                                path.string()));
    evaluation.name = fmt::format("{} of {}", last.filename().string(), path.lexically_normal().string());
    evaluation.source = last;
  }
  return evaluation;
}

void SaveEvaluation(const Evaluation& evaluation, const fs::path& file) {
  const fs::path losses = fs::path(file).replace_extension(".safetensors");
  NamedTensors tensors;
  for (const auto& [id, loss] : evaluation.losses) {
    tensors[id] = loss.each;
    if (loss.documents.defined()) tensors[id + std::string(kDocuments)] = loss.documents;
  }
  SaveTensors(losses, tensors);
  Json json = {{"schema", kSchema},
               {"name", evaluation.name},
               {"losses", losses.filename().string()},
               {"losses_sha256", HashFile(losses)},
               {"results", Json::array()}};
  for (const Results& results : evaluation.results) json["results"].push_back(ResultsToJson(results));
  WriteJson(file, json);
}

}  // namespace espalier
