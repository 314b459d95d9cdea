// Exact costs: every one counted from shapes, none estimated.
#include "espalier/plan/cost.h"

#include <ATen/ATen.h>

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/model/model.h"

namespace espalier {
namespace {

struct NamedMeasure {
  const char* name;
  int64_t Cost::*member;
};
constexpr NamedMeasure kMeasures[] = {{kBlockParameters, &Cost::block_parameters},
                                      {"total_parameters", &Cost::total_parameters},
                                      {"bytes", &Cost::bytes},
                                      {"kv_bytes", &Cost::kv_bytes},
                                      {"macs", &Cost::macs},
                                      {kTimeMeasure.data(), &Cost::picoseconds}};

}  // namespace

Macs MacsOf(const Block& block) {
  Macs macs;
  for (const Role role : kRoles)
    if (block.At(role).defined()) macs.Add(role, block.At(role).weight.numel());
  return macs;
}

int64_t Macs::Picoseconds(const Timing& timing) const {
  return std::llround(timing.attention * static_cast<double>(attention) + timing.ffn * static_cast<double>(ffn) +
                      timing.head * static_cast<double>(head));
}

Cost& Cost::operator+=(const Cost& other) {
  for (const NamedMeasure& measure : kMeasures) this->*measure.member += other.*measure.member;
  return *this;
}

std::vector<std::string> BudgetMeasures() {
  std::vector<std::string> names;
  for (const NamedMeasure& measure : kMeasures) names.emplace_back(measure.name);
  return names;
}

int64_t Cost::*MeasureMember(std::string_view budget_of) {
  for (const NamedMeasure& measure : kMeasures)
    if (measure.name == budget_of) return measure.member;
  throw RecipeError(UnknownName("budget measure", budget_of, BudgetMeasures()));
}

int64_t Measure(const Cost& cost, std::string_view budget_of) {
  return cost.*MeasureMember(budget_of);
}

Cost DenseCost(const Model& model, const Timing& timing) {
  const int64_t element = model.embedding.element_size();
  Cost cost;
  cost.block_parameters = CountBlockParameters(model);
  cost.total_parameters = CountParameters(model);
  cost.bytes = cost.total_parameters * element;
  for (const Block& block : model.blocks)
    for (const Role role : {Role::kK, Role::kV})
      if (block.At(role).defined()) cost.kv_bytes += block.At(role).weight.size(0) * element;
  Macs macs{.head = model.Head().numel()};
  for (const Block& block : model.blocks) macs += MacsOf(block);
  cost.macs = macs.Total();
  cost.picoseconds = macs.Picoseconds(timing);
  return cost;
}

}  // namespace espalier
