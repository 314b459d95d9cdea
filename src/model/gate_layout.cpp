#include "espalier/model/gate_layout.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"

namespace espalier {
namespace {

// A stretch of query rows followed by a stretch of gate rows: of one head, or of the heads of one group.
struct Stretch {
  int64_t query = 0, gate = 0;
};

std::vector<Stretch> StretchesOf(GateLayout layout, const BlockConfig& block, int64_t D) {
  ESPALIER_CHECK(layout != GateLayout::kSeparate && block.gate != GateKind::kNone, "nothing is fused here");
  const HeadLayout heads(block, D);
  std::vector<Stretch> stretches(static_cast<size_t>(layout == GateLayout::kGrouped ? block.G : block.H));
  for (int64_t head = 0; head < block.H; ++head) {
    const int64_t of = layout == GateLayout::kGrouped ? block.kv_of_head[static_cast<size_t>(head)] : head;
    Stretch& stretch = stretches[static_cast<size_t>(of)];
    stretch.query += heads.Query(head).count;
    stretch.gate += block.gate == GateKind::kElementwise ? heads.Output(head).count : 1;
  }
  return stretches;
}

}  // namespace

QueryAndGate SplitQueryAndGate(const at::Tensor& fused, GateLayout layout, const BlockConfig& block, int64_t D,
                               const std::string& what) {
  const std::vector<Stretch> stretches = StretchesOf(layout, block, D);
  int64_t rows = 0;
  for (const Stretch& stretch : stretches) rows += stretch.query + stretch.gate;
  if (fused.size(0) != rows)
    throw IoError(fmt::format(
        "{}: {} rows, expected {} for {} query heads of {} and their {} gate; config.json describes another model",
        what, fused.size(0), rows, block.H, D, block.gate == GateKind::kElementwise ? "elementwise" : "headwise"));
  std::vector<at::Tensor> query, gate;
  int64_t row = 0;
  for (const Stretch& stretch : stretches) {
    query.push_back(fused.narrow(0, row, stretch.query));
    gate.push_back(fused.narrow(0, row + stretch.query, stretch.gate));
    row += stretch.query + stretch.gate;
  }
  return {at::cat(query), at::cat(gate)};
}

at::Tensor FuseQueryAndGate(const QueryAndGate& parts, GateLayout layout, const BlockConfig& block, int64_t D) {
  std::vector<at::Tensor> rows;
  int64_t query = 0, gate = 0;
  for (const Stretch& stretch : StretchesOf(layout, block, D)) {
    rows.push_back(parts.query.narrow(0, query, stretch.query));
    rows.push_back(parts.gate.narrow(0, gate, stretch.gate));
    query += stretch.query;
    gate += stretch.gate;
  }
  return at::cat(rows);
}

}  // namespace espalier
