#include <nlohmann/json.hpp>

#include "espalier/core/json_fields.h"
#include "espalier/report/sweep.h"
#include "name_value_fields.h"

namespace espalier {

template <>
std::span<const char* const> EnumNames<SweepState>() {
  static constexpr const char* kNames[] = {"open", "finished", "failed"};
  return kNames;
}

namespace {

constexpr const char* kSchema = "espalier.sweep/1";

}  // namespace

template <class Visitor>
void Fields(Visitor& visit, SweepVariant& variant) {
  visit("name", variant.name);
  visit("set", variant.set);
  visit("method", variant.method);
}

template <class Visitor>
void Fields(Visitor& visit, SweepText& text) {
  visit("id", text.id);
  visit("corpus", text.corpus);
  visit("preset", text.preset);
  visit("protocol", text.protocol);
  visit("dense", text.dense);
  visit("dense_low", text.dense_low);
  visit("dense_high", text.dense_high);
}

template <class Visitor>
void Fields(Visitor& visit, SweepFigure& figure) {
  visit("model", figure.model);
  visit("text", figure.text);
  visit("perplexity", figure.perplexity);
  visit("ratio", figure.ratio);
  visit("ratio_low", figure.ratio_low);
  visit("ratio_high", figure.ratio_high);
}

template <class Visitor>
void Fields(Visitor& visit, SweepCut& cut) {
  visit("kind", cut.kind);
  visit("cut", cut.cut);
  visit("of", cut.of);
}

template <class Visitor>
void Fields(Visitor& visit, SweepPhenomena& phenomena) {
  visit("model", phenomena.model);
  visit("sink_rate", phenomena.sink_rate);
  visit("largest_spike", phenomena.largest_spike);
}

template <class Visitor>
void Fields(Visitor& visit, SweepRun& run) {
  visit("achieved", run.achieved);
  visit("block_parameters", run.block_parameters);
  visit("total_parameters", run.total_parameters);
  visit("bytes", run.bytes);
  visit("cut", run.cut);
  visit("figures", run.figures);
  visit("phenomena", run.phenomena);
  visit("protected_units", run.protected_units);
  visit("protected_would_cut", run.protected_would_cut);
  visit("calibrate_seconds", run.calibrate_seconds);
  visit("plan_seconds", run.plan_seconds);
  visit("prune_seconds", run.prune_seconds);
  visit("peak_memory_bytes", run.peak_memory_bytes);
}

template <class Visitor>
void Fields(Visitor& visit, SweepCell& cell) {
  visit("variant", cell.variant);
  visit("seed", cell.seed);
  visit("remove", cell.remove);
  visit("folder", cell.folder);
  visit("state", cell.state);
  visit("error", cell.error);
  visit("run", cell.run);
}

template <class Visitor>
void Fields(Visitor& visit, SweepPoint& point) {
  visit("variant", point.variant);
  visit("remove", point.remove);
  visit("model", point.model);
  visit("text", point.text);
  visit("seeds", point.seeds);
  visit("perplexity", point.perplexity);
  visit("lowest", point.lowest);
  visit("highest", point.highest);
  visit("ratio", point.ratio);
  visit("ratio_low", point.ratio_low);
  visit("ratio_high", point.ratio_high);
}

template <class Visitor>
void Fields(Visitor& visit, SweepReport& sweep) {
  std::string schema = kSchema;
  visit("schema", schema);
  visit("name", sweep.name);
  visit("question", sweep.question);
  visit("budget_of", sweep.budget_of);
  visit("remove", sweep.remove);
  visit("seeds", sweep.seeds);
  visit("variants", sweep.variants);
  visit("texts", sweep.texts);
  visit("cells", sweep.cells);
  visit("points", sweep.points);
  visit("provenance", sweep.provenance);
}

Json SweepToJson(const SweepReport& sweep) {
  return FieldsToJson(sweep);
}

SweepReport SweepFromJson(const Json& json, const std::string& where) {
  const JsonReader reader(json, where);
  reader.ExpectSchema(kSchema);
  return FieldsFromJson<SweepReport>(reader);
}

Json SweepCellToJson(const SweepCell& cell) {
  return FieldsToJson(cell);
}

SweepCell SweepCellFromJson(const Json& json, const std::string& where) {
  return FieldsFromJson<SweepCell>(JsonReader(json, where));
}

}  // namespace espalier
