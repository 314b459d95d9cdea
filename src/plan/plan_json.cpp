#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/json_reader.h"
#include "espalier/plan/plan.h"

namespace espalier {
namespace {

constexpr std::string_view kSchema = "espalier.plan/1";
constexpr int64_t kMaxUnits = int64_t{1} << 24;  // of a kind in a block; a file that claims more is hostile

// Takes a whole number off the front of `text`.
std::optional<int64_t> TakeNumber(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || text.front() == '-') return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// Takes `prefix` off the front of `text`, if it is there.
bool Take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

Json CostToJson(const Cost& cost) {
  Json json = {{"block_parameters", cost.block_parameters},
               {"total_parameters", cost.total_parameters},
               {"bytes", cost.bytes},
               {"kv_bytes", cost.kv_bytes},
               {"macs", cost.macs}};
  if (cost.picoseconds > 0) json["picoseconds"] = cost.picoseconds;
  return json;
}

Json TimingToJson(const Timing& timing) {
  return {{"attention", timing.attention}, {"ffn", timing.ffn}, {"head", timing.head}};
}

Timing TimingFromJson(const JsonReader& reader) {
  reader.AllowOnly({"attention", "ffn", "head"});
  return {reader.Real("attention"), reader.Real("ffn"), reader.Real("head")};
}

Cost CostFromJson(const JsonReader& reader) {
  reader.AllowOnly({"block_parameters", "total_parameters", "bytes", "kv_bytes", "macs", "picoseconds"});
  return {reader.Int("block_parameters"),
          reader.Int("total_parameters"),
          reader.Int("bytes"),
          reader.Int("kv_bytes"),
          reader.Int("macs"),
          reader.Has("picoseconds") ? reader.Int("picoseconds") : 0};
}

Json UnitsToJson(const KeptUnits& units) {
  return {{"before", units.before}, {"kept", units.kept.size()}, {"indices", FormatRanges(units.kept)}};
}

KeptUnits UnitsFromJson(const JsonReader& reader) {
  reader.AllowOnly({"before", "kept", "indices"});
  KeptUnits units;
  units.before = reader.Int("before", 0, kMaxUnits);
  const int64_t count = reader.Int("kept", 0, units.before);
  const std::string text = reader.Text("indices");
  const auto kept = ParseRanges(text, units.before);
  if (!kept)
    reader.Fail("indices", fmt::format("expected ascending ranges below {} such as '0-89, 91-1535', found '{}'",
                                       units.before, text.substr(0, 60)));
  if (static_cast<int64_t>(kept->size()) != count)
    reader.Fail("kept", fmt::format("is {}, but the indices name {} units", count, kept->size()));
  units.kept = *kept;
  return units;
}

bool AlwaysListed(UnitKind kind) {
  return kind == UnitKind::kKvGroup || kind == UnitKind::kFfnChannel;
}

Json BlockToJson(size_t number, const BlockPlan& block) {
  Json json = {{"block", number}};
  for (const auto& [kind, units] : block.units) json[std::string(InfoOf(kind).plural)] = UnitsToJson(units);
  return json;
}

BlockPlan BlockFromJson(const JsonReader& reader, int64_t number) {
  std::vector<std::string_view> keys = {"block"};
  for (const UnitKindInfo& info : UnitKinds())
    if (!PerModel(info.kind)) keys.push_back(info.plural);
  reader.AllowOnly(keys);
  reader.Int("block", number, number);
  BlockPlan block;
  for (const UnitKindInfo& info : UnitKinds())
    if (!PerModel(info.kind) && (AlwaysListed(info.kind) || reader.Has(info.plural)))
      block.At(info.kind) = UnitsFromJson(reader.Object(info.plural));
  return block;
}

Json ProtectedToJson(const ProtectedUnit& unit) {
  return {{"block", unit.unit.block},   {"kind", UnitKindName(unit.unit.kind)},
          {"index", unit.unit.index},   {"rule", unit.rule},
          {"reason", unit.reason},      {"rank", unit.rank},
          {"would_cut", unit.would_cut}};
}

UnitKind KindFromJson(const JsonReader& reader) {
  try {
    return ParseUnitKind(reader.Text("kind"));
  } catch (const RecipeError& error) {
    reader.Fail("kind", error.what());
  }
}

// How many units of the kind the plan knows of: those that it lists.
int64_t CountOf(const Plan& plan, UnitKind kind, int64_t block) {
  if (PerModel(kind)) return plan.residual_channels ? plan.residual_channels->before : kMaxUnits;
  const auto& units = plan.blocks[static_cast<size_t>(block)].units;
  return units.contains(kind) ? units.at(kind).before : kMaxUnits;
}

ProtectedUnit ProtectedFromJson(const JsonReader& reader, const Plan& plan) {
  reader.AllowOnly({"block", "kind", "index", "rule", "reason", "rank", "would_cut"});
  ProtectedUnit unit;
  unit.unit.kind = KindFromJson(reader);
  if (PerModel(unit.unit.kind))
    unit.unit.block = reader.Int("block", kWholeModel, kWholeModel);
  else
    unit.unit.block = reader.Int("block", 0, std::ssize(plan.blocks) - 1);
  const int64_t before = CountOf(plan, unit.unit.kind, unit.unit.block);
  unit.unit.index = reader.Int("index", 0, before - 1);
  unit.rule = reader.Text("rule");
  unit.reason = reader.Text("reason");
  unit.rank = reader.Int("rank", 0, before);
  unit.would_cut = reader.Bool("would_cut");
  return unit;
}

}  // namespace

std::string FormatRanges(const std::vector<int64_t>& sorted) {
  std::string text;
  for (size_t first = 0; first < sorted.size();) {
    size_t last = first;
    while (last + 1 < sorted.size() && sorted[last + 1] == sorted[last] + 1) ++last;
    if (!text.empty()) text += ", ";
    text += first == last ? fmt::format("{}", sorted[first]) : fmt::format("{}-{}", sorted[first], sorted[last]);
    first = last + 1;
  }
  return text;
}

std::optional<std::vector<int64_t>> ParseRanges(std::string_view text, int64_t limit) {
  std::vector<int64_t> indices;
  while (!text.empty()) {
    if (!indices.empty() && !Take(text, ", ")) return std::nullopt;
    const auto first = TakeNumber(text);
    const auto last = Take(text, "-") ? TakeNumber(text) : first;
    if (!first || !last || *last < *first || *last >= limit) return std::nullopt;
    if (!indices.empty() && *first <= indices.back()) return std::nullopt;
    for (int64_t i = *first; i <= *last; ++i) indices.push_back(i);
  }
  return indices;
}

Json PlanToJson(const Plan& plan) {
  Json json = {
      {"schema", kSchema},
      {"model_sha256", plan.model_sha256},
      {"scorer", plan.scorer},
      {"allocator", plan.allocator},
      {"budget",
       {{"of", plan.budget_of}, {"requested_share", plan.requested_share}, {"achieved_share", plan.achieved_share}}},
      {"cost", {{"dense", CostToJson(plan.dense)}, {"pruned", CostToJson(plan.pruned)}}},
      {"protected_units", Json::array()},
      {"blocks", Json::array()}};
  if (plan.budget_of == kTimeMeasure) json["timing"] = TimingToJson(plan.timing);
  for (const ProtectedUnit& unit : plan.protected_units) json["protected_units"].push_back(ProtectedToJson(unit));
  for (const BlockPlan& block : plan.blocks) json["blocks"].push_back(BlockToJson(json["blocks"].size(), block));
  if (plan.residual_channels) json["residual_channels"] = UnitsToJson(*plan.residual_channels);
  return json;
}

Plan PlanFromJson(const Json& json, const std::string& where) {
  const JsonReader reader(json, where);
  reader.ExpectSchema(kSchema);
  reader.AllowOnly({"schema", "model_sha256", "scorer", "allocator", "budget", "cost", "protected_units", "blocks",
                    "residual_channels", "timing"});
  Plan plan;
  plan.model_sha256 = reader.Text("model_sha256");
  plan.scorer = reader.Text("scorer");
  plan.allocator = reader.Text("allocator");
  const JsonReader budget = reader.Object("budget");
  budget.AllowOnly({"of", "requested_share", "achieved_share"});
  plan.budget_of = budget.Text("of");
  plan.requested_share = budget.Real("requested_share");
  plan.achieved_share = budget.Real("achieved_share");
  const JsonReader cost = reader.Object("cost");
  cost.AllowOnly({"dense", "pruned"});
  plan.dense = CostFromJson(cost.Object("dense"));
  plan.pruned = CostFromJson(cost.Object("pruned"));
  if (reader.Has("timing")) plan.timing = TimingFromJson(reader.Object("timing"));
  for (const JsonReader& block : reader.Objects("blocks"))
    plan.blocks.push_back(BlockFromJson(block, static_cast<int64_t>(plan.blocks.size())));
  if (reader.Has("residual_channels")) plan.residual_channels = UnitsFromJson(reader.Object("residual_channels"));
  for (const JsonReader& unit : reader.Objects("protected_units"))
    plan.protected_units.push_back(ProtectedFromJson(unit, plan));
  return plan;
}

}  // namespace espalier
