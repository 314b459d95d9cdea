#pragma once
// Allocators decide which units go, given scores, costs, protected units and an exact amount to remove.
#include <ATen/core/Tensor.h>

#include <set>
#include <string_view>
#include <vector>

#include "espalier/core/registry.h"
#include "espalier/model/unit.h"

namespace espalier {

// The units of one kind in one block. All cost the same: they have the same shapes.
struct UnitGroup {
  int64_t block = 0;
  UnitKind kind = UnitKind::kFfnChannel;
  at::Tensor score;     // [units, parts] float64
  int64_t cost = 0;     // of one unit, in the budget's measure
  int64_t opening = 0;  // what the first one that goes adds: the bias of compensation
  int64_t minimum = 0;  // units that stay in any case
  std::set<int64_t> protected_units;
  int64_t size() const { return score.size(0); }
  int64_t Removable() const;  // how many may go
  int64_t Saving(int64_t units) const { return units > 0 ? units * cost - opening : 0; }
};

struct Allocation {
  std::vector<std::set<int64_t>> removed;  // parallel to the groups
  int64_t removed_cost = 0;                // what they save together, openings taken off
};

class Allocator {
 public:
  static constexpr std::string_view kKind = "allocator";
  virtual ~Allocator() = default;
  // Removes units that save at most `target`, and so much that no unit that may still go would fit. The caller has made
  // sure that `target` can be reached.
  virtual Allocation Allocate(const std::vector<UnitGroup>& groups, int64_t target) const = 0;
};

// Units of a group from the least to the most important: mean of the parts' scores, ties by index.
std::vector<int64_t> Ascending(const at::Tensor& unit_score);

// One candidate of a ranking across groups.
struct Candidate {
  double score = 0;
  size_t group = 0;
  int64_t unit = 0;
};
// Removes candidates in order as long as they fit: one that would exceed the target is skipped, so that smaller ones
// fill the gap. Protected units and minimums are respected; what `allocation` already removed stays removed.
void RemoveInOrder(const std::vector<UnitGroup>& groups, const std::vector<Candidate>& order, int64_t target,
                   Allocation& allocation);

}  // namespace espalier
