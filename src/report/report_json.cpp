#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/json_reader.h"
#include "espalier/report/report.h"
#include "espalier/report/view.h"

namespace espalier {
namespace {

constexpr std::string_view kSchema = "espalier.report/1";
constexpr const char* kWhere = "report.json";

// Shares are written for readers that do not want to divide; they follow from the counts and are not read back.
Json ModelToJson(const ModelSummary& model, const std::vector<ModelSummary>& models) {
  Json json = {{"name", model.name},
               {"parameters", model.parameters},
               {"block_parameters", model.block_parameters},
               {"bytes", model.bytes},
               {"file_bytes", model.file_bytes}};
  const auto shares = SharesOf(models, model.name);
  if (!shares) return json;
  json["share_of_dense"] = {{"block_parameters", shares->block_parameters},
                            {"total_parameters", shares->total_parameters},
                            {"bytes", shares->bytes}};
  return json;
}

ModelSummary ModelFromJson(const JsonReader& reader) {
  reader.AllowOnly({"name", "parameters", "block_parameters", "bytes", "file_bytes", "share_of_dense"});
  return {reader.Text("name"), reader.Int("parameters"), reader.Int("block_parameters"), reader.Int("bytes"),
          reader.Int("file_bytes")};
}

Json PointsToJson(const std::vector<int64_t>& tokens, const std::vector<double>& loss) {
  ESPALIER_CHECK(tokens.size() == loss.size(), "a healing curve needs one loss for each token count");
  Json points = Json::array();
  for (size_t i = 0; i < tokens.size(); ++i) points.push_back({{"tokens", tokens[i]}, {"loss", loss[i]}});
  return points;
}

void PointsFromJson(const JsonReader& reader, std::string_view key, std::vector<int64_t>& tokens,
                    std::vector<double>& loss) {
  for (const JsonReader& point : reader.Objects(key)) {
    point.AllowOnly({"tokens", "loss"});
    tokens.push_back(point.Int("tokens"));
    loss.push_back(point.RealOrNan("loss"));
  }
}

HealingCurve HealingFromJson(const JsonReader& reader) {
  reader.AllowOnly({"steps", "validation"});
  HealingCurve curve;
  PointsFromJson(reader, "steps", curve.tokens, curve.loss);
  PointsFromJson(reader, "validation", curve.validation_tokens, curve.validation_loss);
  return curve;
}

GateOutcome GateFromJson(const JsonReader& reader) {
  reader.AllowOnly({"text", "verdict", "detail"});
  GateOutcome gate = {reader.Text("text"), reader.Text("verdict"), reader.Text("detail")};
  if (gate.verdict != "pass" && gate.verdict != "fail" && gate.verdict != "inconclusive")
    reader.Fail("verdict", fmt::format("expected pass, fail or inconclusive, found '{}'", gate.verdict));
  return gate;
}

// The documents that a report embeds are checked by their own readers.
template <class Read>
void ReadEmbedded(const Json& report, const char* key, const Read& read) {
  const auto list = report.find(key);
  if (list == report.end() || !list->is_array()) throw IoError(fmt::format("{}: {}: expected a list", kWhere, key));
  for (size_t i = 0; i < list->size(); ++i) read((*list)[i], fmt::format("{}: {}[{}]", kWhere, key, i));
}

std::vector<std::string> TextsFromJson(const Json& report, const char* key) {
  std::vector<std::string> texts;
  ReadEmbedded(report, key, [&texts](const Json& text, const std::string& where) {
    if (!text.is_string()) throw IoError(fmt::format("{}: expected a text", where));
    texts.push_back(text.get<std::string>());
  });
  return texts;
}

void ReadDocuments(const Json& report, ReportInput& data) {
  ReadEmbedded(report, "results", [&data](const Json& json, const std::string& where) {
    data.results.push_back(ResultsFromJson(json, where));
  });
  ReadEmbedded(report, "phenomena", [&data](const Json& json, const std::string& where) {
    data.phenomena.push_back(PhenomenaFromJson(json, where));
  });
  if (report.contains("plan")) data.plan = PlanFromJson(report["plan"], fmt::format("{}: plan", kWhere));
  data.notices = TextsFromJson(report, "notices");
}

}  // namespace

Json BuildReport(const ReportInput& input) {
  Json json = {{"schema", kSchema},           {"recipe", input.recipe_name},
               {"question", input.question},  {"verdict", OverallVerdict(input.gates)},
               {"summary", Summarize(input)}, {"models", Json::array()},
               {"gates", Json::array()},      {"notices", input.notices},
               {"results", Json::array()},    {"phenomena", Json::array()}};
  for (const ModelSummary& model : input.models) json["models"].push_back(ModelToJson(model, input.models));
  for (const GateOutcome& gate : input.gates)
    json["gates"].push_back({{"text", gate.text}, {"verdict", gate.verdict}, {"detail", gate.detail}});
  for (const Results& results : input.results) json["results"].push_back(ResultsToJson(results));
  for (const Phenomena& phenomena : input.phenomena) json["phenomena"].push_back(PhenomenaToJson(phenomena));
  if (input.plan) json["plan"] = PlanToJson(*input.plan);
  if (input.healing)
    json["healing"] = {{"steps", PointsToJson(input.healing->tokens, input.healing->loss)},
                       {"validation", PointsToJson(input.healing->validation_tokens, input.healing->validation_loss)}};
  json["provenance"] = Json::array();
  for (const auto& [name, value] : input.provenance)
    json["provenance"].push_back(Json::object({{"name", name}, {"value", value}}));
  return json;
}

ReportView ReadReport(const Json& report) {
  const JsonReader reader(report, kWhere);
  reader.ExpectSchema(kSchema);
  reader.AllowOnly({"schema", "recipe", "question", "verdict", "summary", "models", "gates", "notices", "results",
                    "phenomena", "plan", "healing", "provenance"});
  ReportView view;
  view.data.recipe_name = reader.Text("recipe");
  view.data.question = reader.Text("question");
  view.verdict = reader.Text("verdict");
  view.summary = reader.Text("summary");
  for (const JsonReader& model : reader.Objects("models")) view.data.models.push_back(ModelFromJson(model));
  for (const JsonReader& gate : reader.Objects("gates")) view.data.gates.push_back(GateFromJson(gate));
  ReadDocuments(report, view.data);
  if (reader.Has("healing")) view.data.healing = HealingFromJson(reader.Object("healing"));
  for (const JsonReader& item : reader.Objects("provenance"))
    view.data.provenance.emplace_back(item.Text("name"), item.Text("value"));
  view.comparison = Compare(view.data.models, view.data.results);
  return view;
}

}  // namespace espalier
