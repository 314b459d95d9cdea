#include <nlohmann/json.hpp>

#include "espalier/core/json_fields.h"
#include "espalier/report/training.h"
#include "name_value_fields.h"

namespace espalier {

template <>
std::span<const char* const> EnumNames<TrainingState>() {
  static constexpr const char* kNames[] = {"open", "finished", "diverged", "failed"};
  return kNames;
}

namespace {

constexpr const char* kSchema = "espalier.training/1";

}  // namespace

template <class Visitor>
void Fields(Visitor& visit, TrainingVariant& variant) {
  visit("name", variant.name);
  visit("set", variant.set);
  visit("parameters", variant.parameters);
}

template <class Visitor>
void Fields(Visitor& visit, TrainingCurve& curve) {
  visit("tokens", curve.tokens);
  visit("loss", curve.loss);
  visit("held_out_tokens", curve.held_out_tokens);
  visit("held_out_loss", curve.held_out_loss);
}

template <class Visitor>
void Fields(Visitor& visit, TrainingRun& run) {
  visit("loss", run.loss);
  visit("initial_loss", run.initial_loss);
  visit("sink_rate", run.sink_rate);
  visit("first_token_mass", run.first_token_mass);
  visit("spike", run.spike);
  visit("spike_ratio", run.spike_ratio);
  visit("massive_mean", run.massive_mean);
  visit("gate", run.gate);
  visit("seconds", run.seconds);
  visit("curve", run.curve);
}

template <class Visitor>
void Fields(Visitor& visit, TrainingCell& cell) {
  visit("variant", cell.variant);
  visit("seed", cell.seed);
  visit("learning_rate", cell.learning_rate);
  visit("folder", cell.folder);
  visit("state", cell.state);
  visit("error", cell.error);
  visit("run", cell.run);
}

template <class Visitor>
void Fields(Visitor& visit, TrainingReport& report) {
  std::string schema = kSchema;
  visit("schema", schema);
  visit("name", report.name);
  visit("question", report.question);
  visit("data", report.data);
  visit("tokens", report.tokens);
  visit("length", report.length);
  visit("optimal_loss", report.optimal_loss);
  visit("sink_epsilon", report.sink_epsilon);
  visit("sink_length", report.sink_length);
  visit("seeds", report.seeds);
  visit("learning_rates", report.learning_rates);
  visit("variants", report.variants);
  visit("cells", report.cells);
  visit("provenance", report.provenance);
}

Json TrainingToJson(const TrainingReport& report) {
  return FieldsToJson(report);
}

TrainingReport TrainingFromJson(const Json& json, const std::string& where) {
  const JsonReader reader(json, where);
  reader.ExpectSchema(kSchema);
  return FieldsFromJson<TrainingReport>(reader);
}

Json TrainingCellToJson(const TrainingCell& cell) {
  return FieldsToJson(cell);
}

TrainingCell TrainingCellFromJson(const Json& json, const std::string& where) {
  return FieldsFromJson<TrainingCell>(JsonReader(json, where));
}

}  // namespace espalier
