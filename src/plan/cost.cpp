// Exact costs: every one counted from shapes, none estimated.
#include <ATen/ATen.h>

#include "espalier/model/unit_space.h"
#include "espalier/plan/planner.h"

namespace espalier {
namespace {

int64_t LinearMacs(const Model& model) {
  int64_t macs = model.Head().numel();
  for (const Block& block : model.blocks)
    for (const Role role : kRoles)
      if (block.At(role).defined()) macs += block.At(role).weight.numel();
  return macs;
}

// How many biases compensation adds to a block: one for each cut consumer that has none.
int64_t AddedBiases(const Model& model, size_t l, const BlockPlan& plan) {
  const Block& block = model.blocks[l];
  int64_t added = 0;
  if (static_cast<int64_t>(plan.kv_groups.size()) < plan.kv_groups_before && !block.attention.w_o.bias.defined())
    ++added;
  if (static_cast<int64_t>(plan.ffn_channels.size()) < plan.ffn_channels_before && !block.ffn.w_down.bias.defined())
    ++added;
  return added;
}

UnitCost Times(const UnitCost& cost, int64_t count) {
  return {cost.parameters * count, cost.kv_width * count, cost.macs * count};
}

}  // namespace

std::vector<std::string> BudgetMeasures() {
  return {"block_parameters", "total_parameters", "bytes", "kv_bytes", "macs"};
}

Cost DenseCost(const Model& model) {
  const int64_t element = model.embedding.element_size();
  Cost cost;
  cost.block_parameters = CountBlockParameters(model);
  cost.total_parameters = CountParameters(model);
  cost.bytes = cost.total_parameters * element;
  for (const BlockConfig& block : model.config.blocks) cost.kv_bytes += 2 * block.G * model.config.D * element;
  cost.macs = LinearMacs(model);
  return cost;
}

Cost PlannedCost(const Model& model, const std::vector<BlockPlan>& blocks, bool compensation_adds_bias) {
  const int64_t element = model.embedding.element_size();
  Cost cost = DenseCost(model);
  for (size_t l = 0; l < blocks.size(); ++l) {
    const BlockPlan& plan = blocks[l];
    int64_t parameters = 0;
    for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
      const UnitSpace space(model, static_cast<int64_t>(l), kind);
      const bool groups = kind == UnitKind::kKvGroup;
      const int64_t gone = space.size() - static_cast<int64_t>((groups ? plan.kv_groups : plan.ffn_channels).size());
      if (gone == 0) continue;
      const UnitCost saved = Times(space.Cost(0), gone);
      parameters += saved.parameters;
      cost.kv_bytes -= saved.kv_width * element;
      cost.macs -= saved.macs;
    }
    if (compensation_adds_bias) parameters -= AddedBiases(model, l, plan) * model.config.C;
    cost.block_parameters -= parameters;
    cost.total_parameters -= parameters;
  }
  cost.bytes = cost.total_parameters * element;
  return cost;
}

int64_t Measure(const Cost& cost, std::string_view budget_of) {
  if (budget_of == "block_parameters") return cost.block_parameters;
  if (budget_of == "total_parameters") return cost.total_parameters;
  if (budget_of == "bytes") return cost.bytes;
  if (budget_of == "kv_bytes") return cost.kv_bytes;
  if (budget_of == "macs") return cost.macs;
  throw RecipeError(UnknownName("budget measure", budget_of, BudgetMeasures()));
}

}  // namespace espalier
