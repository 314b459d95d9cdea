#include "espalier/plan/ledger.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr size_t Slot(Role role) {
  return static_cast<size_t>(role);
}
constexpr size_t Slot(VectorRole role) {
  return static_cast<size_t>(role);
}

// What a layer has in rows though it may be only the constant of a removed sublayer.
int64_t RowsOf(const Linear& linear) {
  return linear.defined() ? linear.weight.size(0) : linear.bias.defined() ? linear.bias.size(0) : 0;
}

bool OfAttention(UnitKind kind) {
  return kind != UnitKind::kFfnChannel && kind != UnitKind::kFfn && !PerModel(kind);
}

}  // namespace

bool Ledger::Marks::Any(const Run& run) const {
  const auto first = left.begin() + run.first;
  return std::find(first, first + run.count, 1) != first + run.count;
}

std::vector<int64_t> Ledger::Marks::Indices() const {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < size(); ++i)
    if ((*this)[i]) indices.push_back(i);
  return indices;
}

Ledger::Ledger(const Model& model, LedgerOptions options)
    : model_(model),
      options_(std::move(options)),
      measure_(MeasureMember(options_.measure)),
      residual_(model.config.C) {
  for (const Block& block : model.blocks) {
    BlockState state;
    for (const Role role : kRoles) {
      const Linear& linear = block.At(role);
      state.rows[Slot(role)] = Marks(RowsOf(linear));
      state.columns[Slot(role)] = Marks(linear.defined() ? linear.weight.size(1) : 0);
    }
    for (const VectorRole role : kVectorRoles)
      state.vectors[Slot(role)] = Marks(block.At(role).defined() ? block.At(role).size(0) : 0);
    blocks_.push_back(std::move(state));
  }
}

void Ledger::Protect(const Unit& unit) {
  if (!Stays(unit)) return;
  if (protected_.insert(unit).second && !PerModel(unit.kind)) At(unit.block).protected_units.push_back(unit);
}

bool Ledger::Stays(const Unit& unit) const {
  if (PerModel(unit.kind)) return unit.index >= 0 && unit.index < residual_.size() && residual_[unit.index];
  if (unit.block < 0 || unit.block >= std::ssize(blocks_) || unit.index < 0) return false;
  const BlockState& state = At(unit.block);
  const Marks &output = state.columns[Slot(Role::kO)], &hidden = state.columns[Slot(Role::kDown)];
  if (unit.kind == UnitKind::kFfnChannel) return unit.index < hidden.size() && hidden[unit.index];
  const UnitSpace space(model_, unit.block, unit.kind);
  if (unit.index >= space.size()) return false;
  const BlockConfig& sizes = model_.config.blocks[static_cast<size_t>(unit.block)];
  switch (unit.kind) {
    case UnitKind::kKvGroup:
      return state.rows[Slot(Role::kV)].Any(HeadLayout(sizes, model_.config.D).Value(unit.index));
    case UnitKind::kQueryHead:
      return output.Any(HeadLayout(sizes, model_.config.D).Output(unit.index));
    case UnitKind::kValueChannel:
      return state.rows[Slot(Role::kV)][unit.index];
    case UnitKind::kQkPair:
      return state.rows[Slot(Role::kK)][space.Owns(unit.index).front().first];
    case UnitKind::kAttention:
      return output.count > 0;
    case UnitKind::kFfn:
      return hidden.count > 0;
    default:
      return output.count + hidden.count > 0;
  }
}

void Ledger::Wipe(Marks& marks, int64_t first, int64_t count, Journal& journal) {
  for (int64_t i = first; i < first + count; ++i) {
    if (!marks[i]) continue;
    marks.left[static_cast<size_t>(i)] = 0;
    --marks.count;
    journal.emplace_back(&marks, i);
  }
}

void Ledger::Restore(const Journal& journal) {
  for (const auto& [marks, i] : journal) {
    marks->left[static_cast<size_t>(i)] = 1;
    ++marks->count;
  }
}

void Ledger::WipeOwned(int64_t block, UnitKind kind, int64_t unit, Journal& journal) const {
  const UnitSpace space(model_, block, kind);
  BlockState& state = At(block);
  for (const Slice& slice : space.Owns(unit))
    Wipe((slice.axis == Axis::kRows ? state.rows : state.columns)[Slot(slice.role)], slice.first, slice.count, journal);
  for (const VectorSlice& slice : space.OwnsOfVectors(unit))
    Wipe(state.vectors[Slot(slice.role)], slice.first, slice.count, journal);
}

void Ledger::WipeUnit(const Unit& unit, Journal& journal) const {
  if (PerModel(unit.kind)) {
    for (int64_t l = 0; l < std::ssize(blocks_); ++l) WipeOwned(l, unit.kind, unit.index, journal);
    Wipe(residual_, unit.index, 1, journal);
    return;
  }
  WipeOwned(unit.block, unit.kind, unit.index, journal);
  if (OfAttention(unit.kind)) CloseAttention(unit.block, journal);
}

// What is left without effect goes too.
void Ledger::CloseAttention(int64_t block, Journal& journal) const {
  const BlockConfig& sizes = model_.config.blocks[static_cast<size_t>(block)];
  if (!sizes.HasAttention()) return;
  const HeadLayout layout(sizes, model_.config.D);
  const Marks& output = At(block).columns[Slot(Role::kO)];
  for (int64_t group = 0; group < sizes.G; ++group) {
    bool read = false;
    for (const int64_t head : layout.HeadsOf(group)) {
      if (output.Any(layout.Output(head)))
        read = true;
      else
        WipeOwned(block, UnitKind::kQueryHead, head, journal);
    }
    if (!read) WipeOwned(block, UnitKind::kKvGroup, group, journal);
  }
  if (output.count == 0) WipeOwned(block, UnitKind::kAttention, 0, journal);
}

int64_t Ledger::GroupsLeft(int64_t block) const {
  const BlockConfig& sizes = model_.config.blocks[static_cast<size_t>(block)];
  const HeadLayout layout(sizes, model_.config.D);
  int64_t left = 0;
  for (int64_t group = 0; group < sizes.G; ++group)
    if (At(block).rows[Slot(Role::kV)].Any(layout.Value(group))) ++left;
  return left;
}

bool Ledger::Breaks(const Unit& unit) const {
  if (PerModel(unit.kind)) return residual_.count == 0;
  const BlockState& state = At(unit.block);
  const BlockConfig& sizes = model_.config.blocks[static_cast<size_t>(unit.block)];
  if (InfoOf(unit.kind).scope == UnitScope::kWidth) {
    if (unit.kind == UnitKind::kFfnChannel &&
        state.columns[Slot(Role::kDown)].count < std::min(options_.min_ffn_channels, sizes.F))
      return true;
    if (OfAttention(unit.kind) && GroupsLeft(unit.block) < std::min(options_.min_kv_groups, sizes.G)) return true;
    if (unit.kind == UnitKind::kQkPair) {
      const HeadLayout layout(sizes, model_.config.D);
      for (int64_t group = 0; group < sizes.G; ++group)
        if (state.rows[Slot(Role::kV)].Any(layout.Value(group)) && !state.rows[Slot(Role::kK)].Any(layout.Key(group)))
          return true;
    }
  }
  return std::any_of(state.protected_units.begin(), state.protected_units.end(),
                     [&](const Unit& kept) { return !Stays(kept); });
}

std::unique_ptr<Savings> Ledger::Clone() const {
  return std::make_unique<Ledger>(*this);
}

std::optional<int64_t> Ledger::Of(const Unit& unit) const {
  if (!Stays(unit) || protected_.contains(unit)) return std::nullopt;
  const int64_t before = CostAround(unit).*measure_;
  Journal journal;
  WipeUnit(unit, journal);
  const int64_t saving = before - CostAround(unit).*measure_;
  const bool breaks = Breaks(unit);
  Restore(journal);
  return breaks || saving <= 0 ? std::nullopt : std::optional(saving);
}

void Ledger::Remove(const Unit& unit) {
  Journal journal;
  WipeUnit(unit, journal);
}

int64_t Ledger::Alone(const Unit& unit) const {
  const UnitCost cost = UnitSpace(model_, unit.block, unit.kind).Cost(unit.index);
  const int64_t element = model_.embedding.element_size();
  const Macs macs{cost.attention_macs, cost.macs - cost.attention_macs - cost.outside_macs, cost.outside_macs};
  const Cost all{cost.parameters - cost.outside, cost.parameters, cost.parameters * element,
                 cost.kv_width * element,        cost.macs,       macs.Picoseconds(options_.timing)};
  return all.*measure_;
}

Cost Ledger::CostOf(int64_t block) const {
  const Block& weights = model_.blocks[static_cast<size_t>(block)];
  const BlockState& state = At(block);
  Cost cost;
  Macs macs;
  for (const Role role : kRoles) {
    const Linear& linear = weights.At(role);
    const Marks &rows = state.rows[Slot(role)], &columns = state.columns[Slot(role)];
    const bool consumer = role == Role::kO || role == Role::kDown, gate = role == Role::kGate && linear.defined();
    const bool gains = (options_.compensation_adds_bias && consumer && columns.count < columns.size()) ||
                       (options_.residue_adds_bias && gate);
    macs.Add(role, rows.count * columns.count);
    cost.block_parameters += rows.count * columns.count;
    if (linear.bias.defined() || gains) cost.block_parameters += rows.count;
    if (role == Role::kK || role == Role::kV) cost.kv_bytes += rows.count * model_.embedding.element_size();
  }
  cost.macs = macs.Total();
  cost.picoseconds = macs.Picoseconds(options_.timing);
  for (const Marks& vector : state.vectors) cost.block_parameters += vector.count;
  cost.total_parameters = cost.block_parameters;
  cost.bytes = cost.total_parameters * model_.embedding.element_size();
  return cost;
}

Cost Ledger::CostOutside() const {
  const int64_t V = model_.embedding.size(0), C = residual_.count;
  Cost cost;
  cost.total_parameters = C * (V + 1 + (model_.head.defined() ? V : 0));
  cost.bytes = cost.total_parameters * model_.embedding.element_size();
  cost.macs = V * C;
  cost.picoseconds = Macs{.head = V * C}.Picoseconds(options_.timing);
  return cost;
}

Cost Ledger::CostAround(const Unit& unit) const {
  return PerModel(unit.kind) ? Total() : CostOf(unit.block);
}

Cost Ledger::Total() const {
  Cost cost = CostOutside();
  for (int64_t l = 0; l < std::ssize(blocks_); ++l) cost += CostOf(l);
  return cost;
}

int64_t Ledger::Measured() const {
  return Total().*measure_;
}

std::vector<int64_t> Ledger::Kept(int64_t block, Role role, Axis axis) const {
  return (axis == Axis::kRows ? At(block).rows : At(block).columns)[Slot(role)].Indices();
}

std::vector<int64_t> Ledger::Kept(int64_t block, VectorRole role) const {
  return At(block).vectors[Slot(role)].Indices();
}

std::vector<int64_t> Ledger::KeptResidualChannels() const {
  return residual_.Indices();
}

KeptUnits Ledger::KeptOf(int64_t block, UnitKind kind) const {
  KeptUnits units;
  units.before = UnitSpace(model_, block, kind).size();
  for (int64_t unit = 0; unit < units.before; ++unit)
    if (Stays({block, kind, unit})) units.kept.push_back(unit);
  return units;
}

void Ledger::ListKept(const std::vector<UnitKind>& kinds, Plan& plan) const {
  std::set<UnitKind> listed = {UnitKind::kKvGroup, UnitKind::kFfnChannel};
  listed.insert(kinds.begin(), kinds.end());
  plan.blocks.assign(blocks_.size(), {});
  for (const UnitKind kind : listed) {
    if (PerModel(kind)) {
      plan.residual_channels = KeptOf(kWholeModel, kind);
      continue;
    }
    for (int64_t l = 0; l < std::ssize(blocks_); ++l) plan.blocks[static_cast<size_t>(l)].At(kind) = KeptOf(l, kind);
  }
}

namespace {

void CheckCount(const std::string& where, UnitKind kind, int64_t planned, int64_t found) {
  if (planned != found)
    throw RecipeError(fmt::format("plan: {}made for {} {}, the model has {}; plan this model again", where, planned,
                                  InfoOf(kind).plural, found));
}

void RemoveOthers(int64_t block, UnitKind kind, const KeptUnits& units, Ledger& ledger) {
  size_t next = 0;
  for (int64_t unit = 0; unit < units.before; ++unit) {
    if (next < units.kept.size() && units.kept[next] == unit)
      ++next;
    else
      ledger.Remove({block, kind, unit});
  }
}

}  // namespace

Ledger LedgerOf(const Model& model, const Plan& plan, LedgerOptions options) {
  if (plan.blocks.size() != model.blocks.size())
    throw RecipeError(fmt::format("plan: {} blocks, the model has {}; plan this model again", plan.blocks.size(),
                                  model.blocks.size()));
  Ledger ledger(model, std::move(options));
  for (int64_t l = 0; l < model.config.L(); ++l)
    for (const auto& [kind, units] : plan.blocks[static_cast<size_t>(l)].units) {
      CheckCount(fmt::format("block {}: ", l), kind, units.before, UnitSpace(model, l, kind).size());
      RemoveOthers(l, kind, units, ledger);
    }
  if (plan.residual_channels) {
    CheckCount("", UnitKind::kResidualChannel, plan.residual_channels->before, model.config.C);
    RemoveOthers(kWholeModel, UnitKind::kResidualChannel, *plan.residual_channels, ledger);
  }
  return ledger;
}

Plan KeepAll(const Model& model, const std::vector<UnitKind>& kinds) {
  Plan plan;
  Ledger(model).ListKept(kinds, plan);
  return plan;
}

}  // namespace espalier
