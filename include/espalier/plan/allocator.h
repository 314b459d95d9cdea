#pragma once
// Allocators decide which units go, given scores, costs, protected units and an exact amount to remove.
#include <ATen/core/Tensor.h>

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "espalier/core/registry.h"
#include "espalier/model/model.h"
#include "espalier/model/unit.h"

namespace espalier {

// The units of one kind in one block, or of the model as a whole.
struct UnitGroup {
  int64_t block = 0;
  UnitKind kind = UnitKind::kFfnChannel;
  at::Tensor score;  // [units, parts] float64
  int64_t size() const { return score.size(0); }
  Unit At(int64_t unit) const { return {block, kind, unit}; }
};

// What removing units saves in the budget's measure: an account that allocators remove from. Units overlap (a head in a
// removed group, a channel of the residual stream in every row), so a saving depends on what has gone already.
class Savings {
 public:
  virtual ~Savings() = default;
  virtual std::unique_ptr<Savings> Clone() const = 0;  // to try removals on
  // What removing `unit` next would save, at least 1. None when it may not go: it has gone, alone or with another, it
  // saves nothing, it is protected or holds what is, or a minimum would be broken.
  virtual std::optional<int64_t> Of(const Unit& unit) const = 0;
  virtual void Remove(const Unit& unit) = 0;
  // What it would save if it were the only one, without the bias of compensation.
  virtual int64_t Alone(const Unit& unit) const = 0;
};

// What an allocator works with besides the account.
struct AllocationInput {
  const std::vector<UnitGroup>& groups;
  int64_t target = 0;  // what goes at most, in the budget's measure
  // For allocators that run the model and say so by the need "windows"; null and undefined for the others.
  const Model* model = nullptr;
  at::Tensor windows = {};  // calibration windows [S, T] int64
  // The model without these units, compensated as the recipe says where that is cheap.
  std::function<Model(const std::vector<Unit>& removed)> prune = {};
};

class Allocator {
 public:
  static constexpr std::string_view kKind = "allocator";
  virtual ~Allocator() = default;
  // Removes units from `savings` that save at most the target together, and so much that no unit that may still go
  // would fit. The caller has made sure that the target can be reached. Returns what they save.
  virtual int64_t Allocate(const AllocationInput& input, Savings& savings) const = 0;
};

// Units of a group from the least to the most important: mean of the parts' scores, ties by index.
std::vector<int64_t> Ascending(const at::Tensor& unit_score);

// Removes units in order as long as they fit: one that would exceed the target is skipped, so that smaller ones fill
// the gap; then from the start again until nothing fits, because a unit may save less when others have gone. At most
// `most` units. Returns what they save.
int64_t RemoveInOrder(const std::vector<Unit>& order, int64_t target, Savings& savings,
                      int64_t most = std::numeric_limits<int64_t>::max());

}  // namespace espalier
