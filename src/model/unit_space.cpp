#include "espalier/model/unit_space.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// The space of the whole model looks at no block; any will do.
size_t Position(const Model& model, int64_t block) {
  ESPALIER_CHECK(block >= kWholeModel && block < model.config.L() && model.config.L() > 0, "no such block");
  return static_cast<size_t>(std::max<int64_t>(block, 0));
}

bool HasBias(const Linear& linear) {
  return linear.bias.defined();
}

}  // namespace

UnitSpace::UnitSpace(const Model& model, int64_t block, UnitKind kind)
    : model_(model),
      config_(model.config),
      weights_(model.blocks[Position(model, block)]),
      sizes_(model.config.blocks[Position(model, block)]),
      kind_(kind),
      whole_model_(block == kWholeModel),
      size_(CountUnits(model.config, block, kind)) {}

int64_t CountUnits(const ModelConfig& config, int64_t block, UnitKind kind) {
  if (IsStudyModel(config))
    throw RecipeError("a model of family 'espalier' with variants of its own cannot be pruned; use one without them");
  if (PerModel(kind)) return config.C;
  const BlockConfig& sizes = config.blocks.at(static_cast<size_t>(block));
  switch (kind) {
    case UnitKind::kKvGroup:
      return sizes.G;
    case UnitKind::kQueryHead:
      return sizes.H;
    case UnitKind::kValueChannel:
      return HeadLayout(sizes, config.D).value_rows();
    case UnitKind::kQkPair:
      return HeadLayout(sizes, config.D).key_rows() / 2;
    case UnitKind::kFfnChannel:
      return sizes.F;
    case UnitKind::kAttention:
      return sizes.HasAttention() ? 1 : 0;
    case UnitKind::kFfn:
      return sizes.HasFeedForward() ? 1 : 0;
    case UnitKind::kBlock:
      return sizes.HasAttention() || sizes.HasFeedForward() ? 1 : 0;
    case UnitKind::kResidualChannel:
      break;
  }
  throw InternalError("unknown unit kind");
}

std::vector<Slice> UnitSpace::Owns(int64_t unit) const {
  ESPALIER_CHECK(unit >= 0 && unit < size_ && !whole_model_, "no such unit");
  switch (kind_) {
    case UnitKind::kFfnChannel:
      return {{Role::kGate, Axis::kRows, unit, 1},
              {Role::kUp, Axis::kRows, unit, 1},
              {Role::kDown, Axis::kColumns, unit, 1}};
    case UnitKind::kKvGroup: {
      const HeadLayout layout = Layout();
      const Run key = layout.Key(unit), value = layout.Value(unit);
      std::vector<Slice> slices = {{Role::kK, Axis::kRows, key.first, key.count},
                                   {Role::kV, Axis::kRows, value.first, value.count}};
      for (const int64_t head : layout.HeadsOf(unit)) AddHead(layout, head, slices);
      return slices;
    }
    case UnitKind::kQueryHead: {
      std::vector<Slice> slices;
      AddHead(Layout(), unit, slices);
      return slices;
    }
    case UnitKind::kValueChannel:
      return OwnsOfValueChannel(unit);
    case UnitKind::kQkPair:
      return OwnsOfQkPair(unit);
    case UnitKind::kAttention:
      return OwnsOfAttention();
    case UnitKind::kFfn:
      return OwnsOfFfn();
    case UnitKind::kBlock: {
      std::vector<Slice> slices = OwnsOfAttention();
      for (const Slice& slice : OwnsOfFfn()) slices.push_back(slice);
      return slices;
    }
    case UnitKind::kResidualChannel:
      return OwnsOfResidualChannel(unit);
  }
  throw InternalError("unknown unit kind");
}

void UnitSpace::AddHead(const HeadLayout& layout, int64_t head, std::vector<Slice>& slices) const {
  const Run query = layout.Query(head), output = layout.Output(head);
  slices.push_back({Role::kQ, Axis::kRows, query.first, query.count});
  if (sizes_.gate == GateKind::kElementwise)
    slices.push_back({Role::kOutputGate, Axis::kRows, output.first, output.count});
  if (sizes_.gate == GateKind::kHeadwise) slices.push_back({Role::kOutputGate, Axis::kRows, head, 1});
  slices.push_back({Role::kO, Axis::kColumns, output.first, output.count});
}

std::vector<Slice> UnitSpace::OwnsOfValueChannel(int64_t row) const {
  const HeadLayout layout = Layout();
  std::vector<Slice> slices = {{Role::kV, Axis::kRows, row, 1}};
  for (int64_t group = 0; group < sizes_.G; ++group) {
    const int64_t place = row - layout.Value(group).first;
    if (place < 0 || place >= layout.Value(group).count) continue;
    for (const int64_t head : layout.HeadsOf(group)) {
      const int64_t column = layout.Output(head).first + place;
      if (sizes_.gate == GateKind::kElementwise) slices.push_back({Role::kOutputGate, Axis::kRows, column, 1});
      slices.push_back({Role::kO, Axis::kColumns, column, 1});
    }
  }
  return slices;
}

UnitSpace::PairRows UnitSpace::RowsOfPair(int64_t pair) const {
  const HeadLayout layout = Layout();
  int64_t group = 0;
  while (pair >= layout.Key(group).count / 2) pair -= layout.Key(group++).count / 2;
  const std::vector<int64_t> dimensions = layout.QkDimensions(group);
  const auto place = [&](int64_t d) { return std::find(dimensions.begin(), dimensions.end(), d) - dimensions.begin(); };
  PairRows rows;
  for (const auto& [a, b] : QkPairs(config_, sizes_)) {
    if (place(a) == std::ssize(dimensions) || pair-- > 0) continue;
    for (const int64_t d : {a, b}) {
      rows.keys.push_back(layout.Key(group).first + place(d));
      for (const int64_t head : layout.HeadsOf(group)) rows.queries.push_back(layout.Query(head).first + place(d));
    }
    break;
  }
  return rows;
}

std::vector<Slice> UnitSpace::OwnsOfQkPair(int64_t pair) const {
  const PairRows rows = RowsOfPair(pair);
  std::vector<Slice> slices;
  for (const int64_t row : rows.keys) slices.push_back({Role::kK, Axis::kRows, row, 1});
  for (const int64_t row : rows.queries) slices.push_back({Role::kQ, Axis::kRows, row, 1});
  return slices;
}

std::vector<Slice> UnitSpace::OwnsOfAttention() const {
  std::vector<Slice> slices;
  for (const Role role : {Role::kQ, Role::kOutputGate, Role::kK, Role::kV})
    if (weights_.At(role).defined()) slices.push_back({role, Axis::kRows, 0, weights_.At(role).weight.size(0)});
  if (weights_.attention.w_o.defined())
    slices.push_back({Role::kO, Axis::kColumns, 0, weights_.attention.w_o.weight.size(1)});
  return slices;
}

std::vector<Slice> UnitSpace::OwnsOfFfn() const {
  if (!sizes_.HasFeedForward()) return {};
  return {{Role::kGate, Axis::kRows, 0, sizes_.F},
          {Role::kUp, Axis::kRows, 0, sizes_.F},
          {Role::kDown, Axis::kColumns, 0, sizes_.F}};
}

// Readers lose a column, writers a row; of a removed sublayer the constant may be left.
std::vector<Slice> UnitSpace::OwnsOfResidualChannel(int64_t channel) const {
  std::vector<Slice> slices;
  for (const Role role : kRoles) {
    const bool writes = role == Role::kO || role == Role::kDown;
    if (writes ? weights_.At(role).defined() || HasBias(weights_.At(role)) : weights_.At(role).defined())
      slices.push_back({role, writes ? Axis::kRows : Axis::kColumns, channel, 1});
  }
  return slices;
}

std::vector<VectorSlice> UnitSpace::OwnsOfVectors(int64_t unit) const {
  ESPALIER_CHECK(unit >= 0 && unit < size_ && !whole_model_, "no such unit");
  std::vector<VectorSlice> slices;
  const bool all_heads = config_.qk_norm == QkNorm::kAllHeads;
  const auto add_head = [&](const HeadLayout& layout, int64_t head) {
    if (all_heads) slices.push_back({VectorRole::kQNorm, layout.Query(head).first, layout.Query(head).count});
    if (sizes_.sink_logits) slices.push_back({VectorRole::kSinkLogits, head, 1});
  };
  if (kind_ == UnitKind::kKvGroup) {
    const HeadLayout layout = Layout();
    if (all_heads) slices.push_back({VectorRole::kKNorm, layout.Key(unit).first, layout.Key(unit).count});
    for (const int64_t head : layout.HeadsOf(unit)) add_head(layout, head);
  } else if (kind_ == UnitKind::kQueryHead) {
    add_head(Layout(), unit);
  } else if (kind_ == UnitKind::kQkPair && all_heads) {
    const PairRows rows = RowsOfPair(unit);
    for (const int64_t row : rows.keys) slices.push_back({VectorRole::kKNorm, row, 1});
    for (const int64_t row : rows.queries) slices.push_back({VectorRole::kQNorm, row, 1});
  } else if (kind_ == UnitKind::kAttention || kind_ == UnitKind::kBlock) {
    for (const VectorRole role : {VectorRole::kQNorm, VectorRole::kKNorm, VectorRole::kSinkLogits})
      if (weights_.At(role).defined()) slices.push_back({role, 0, weights_.At(role).size(0)});
  } else if (kind_ == UnitKind::kResidualChannel) {
    for (const VectorRole role :
         {VectorRole::kAttentionNorm, VectorRole::kAttentionPostNorm, VectorRole::kFfnNorm, VectorRole::kFfnPostNorm})
      if (weights_.At(role).defined()) slices.push_back({role, unit, 1});
  }
  return slices;
}

UnitCost UnitSpace::Cost(int64_t unit) const {
  UnitCost cost;
  if (whole_model_) {
    for (int64_t l = 0; l < config_.L(); ++l) {
      const UnitCost of_block = UnitSpace(model_, l, kind_).Cost(unit);
      cost.parameters += of_block.parameters;
      cost.macs += of_block.macs;
      cost.attention_macs += of_block.attention_macs;
    }
    cost.outside = config_.V + 1 + (model_.head.defined() ? config_.V : 0);
    cost.parameters += cost.outside;
    cost.macs += config_.V;
    cost.outside_macs = config_.V;
    return cost;
  }
  for (const Slice& slice : Owns(unit)) {
    const Linear& linear = weights_.At(slice.role);
    const int64_t across = linear.defined() ? linear.weight.size(slice.axis == Axis::kRows ? 1 : 0) : 0;
    cost.parameters += slice.count * across;
    cost.macs += slice.count * across;
    if (OfAttention(slice.role)) cost.attention_macs += slice.count * across;
    if (slice.axis == Axis::kRows && HasBias(linear)) cost.parameters += slice.count;
    const bool cached = slice.role == Role::kK || slice.role == Role::kV;
    if (cached && slice.axis == Axis::kRows) cost.kv_width += slice.count;
  }
  for (const VectorSlice& slice : OwnsOfVectors(unit)) cost.parameters += slice.count;
  return cost;
}

Role UnitSpace::consumer() const {
  const auto consumers = Consumers(kind_);
  ESPALIER_CHECK(consumers.size() == 1, "units of this kind feed no consumer, or two");
  return consumers.front();
}

std::vector<int64_t> UnitSpace::ConsumerColumns(Role consumer, int64_t unit) const {
  const auto consumers = Consumers(kind_);
  ESPALIER_CHECK(std::find(consumers.begin(), consumers.end(), consumer) != consumers.end(),
                 "units of this kind do not feed this layer");
  std::vector<int64_t> columns;
  for (const Slice& slice : Owns(unit))
    if (slice.role == consumer && slice.axis == Axis::kColumns)
      for (int64_t i = 0; i < slice.count; ++i) columns.push_back(slice.first + i);
  return columns;
}

}  // namespace espalier
