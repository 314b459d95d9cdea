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

namespace espalier {

struct Cost {
  int64_t block_parameters = 0;  // everything in the blocks
  int64_t total_parameters = 0;  // with embedding, final norm, head (a tied head counts once)
  int64_t bytes = 0;             // total_parameters in the dtype of the run
  int64_t kv_bytes = 0;          // key and value cache of one token
  int64_t macs = 0;              // multiply-accumulates of the linear layers for one token
};

struct BlockPlan {
  // Sorted indices of what stays, in the dense numbering; `before` is how many there were.
  int64_t kv_groups_before = 0, ffn_channels_before = 0;
  std::vector<int64_t> kv_groups, ffn_channels;
};

// Whether `unit`, in the dense numbering, stays. The block must be one of the plan's.
bool Keeps(const std::vector<BlockPlan>& blocks, const Unit& unit);

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
  std::vector<BlockPlan> blocks;
  std::vector<ProtectedUnit> protected_units;
};

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
