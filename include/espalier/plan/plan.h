#pragma once
// What stays and what goes, with the exact cost and every reason. Written as plan.json, made to be read and diffed.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/model/unit.h"
#include "espalier/plan/cost.h"

namespace espalier {

// Sorted indices of the units of one kind that stay, in the numbering before the cut; `before` is how many there were.
struct KeptUnits {
  int64_t before = 0;
  std::vector<int64_t> kept;
  bool All() const { return static_cast<int64_t>(kept.size()) == before; }
};

// What stays of a block: KV groups and FFN channels always, and every kind that the plan may remove. The kinds overlap:
// a query head is in a group, a group in the attention. What a removed unit takes with it is not kept in any list.
struct BlockPlan {
  std::map<UnitKind, KeptUnits> units;
  const KeptUnits& At(UnitKind kind) const;  // InternalError when the kind is not listed
  KeptUnits& At(UnitKind kind) { return units[kind]; }
};

struct ProtectedUnit {
  Unit unit;
  std::string rule;        // "spike_producers"
  std::string reason;      // one sentence with figures
  int64_t rank = 0;        // among the units of its kind in its block by the scorer, 1 = most important; 0: not ranked
  bool would_cut = false;  // the same budget without protection would have removed it
};

struct Plan {
  std::string model_sha256, scorer, allocator;
  std::string budget_of;       // "block_parameters"
  double requested_share = 0;  // of `budget_of`
  double achieved_share = 0;
  Cost dense, pruned;
  Timing timing;  // behind their picoseconds
  std::vector<BlockPlan> blocks;
  std::optional<KeptUnits> residual_channels;  // none: the plan leaves the width alone
  std::vector<ProtectedUnit> protected_units;
};

// Whether `unit` stays. Of a kind that the plan does not list nothing was removed on its own; a sublayer or block stays
// while a group or channel of it does. The block must be one of the plan's.
bool Keeps(const Plan& plan, const Unit& unit);

// Schema "espalier.plan/1" (docs/schemas/plan-1.schema.json). What stays in a block is written as
//   "ffn_channels": {"before": 1536, "kept": 1534, "indices": "0-89, 91-1534"}
// : ascending inclusive ranges, so that a removed unit changes one line. Nothing kept: "".
Json PlanToJson(const Plan& plan);
// IoError naming `where` and the key: missing, unknown, of another type, out of range, or counts that contradict.
Plan PlanFromJson(const Json& json, const std::string& where);

// [0, 1, 2, 5] -> "0-2, 5". `sorted`: ascending, no value twice.
std::string FormatRanges(const std::vector<int64_t>& sorted);
// The reverse. None when `text` is not such ranges, ascending and below `limit`; allocates at most `limit` numbers.
std::optional<std::vector<int64_t>> ParseRanges(std::string_view text, int64_t limit);

}  // namespace espalier
