#include "espalier/model/gate_layout.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// A run of query rows followed by a run of gate rows, `runs` times.
struct Runs {
  int64_t runs, query, gate;
};

Runs RunsOf(GateLayout layout, const BlockConfig& block, int64_t D) {
  ESPALIER_CHECK(layout != GateLayout::kSeparate && block.gate != GateKind::kNone, "nothing is fused here");
  const int64_t heads = layout == GateLayout::kGrouped ? block.H / block.G : 1;
  return {block.H / heads, heads * D, block.gate == GateKind::kElementwise ? heads * D : heads};
}

std::vector<int64_t> WithRows(const at::Tensor& like, std::initializer_list<int64_t> rows) {
  std::vector<int64_t> shape(rows);
  for (int64_t dim = 1; dim < like.dim(); ++dim) shape.push_back(like.size(dim));
  return shape;
}

}  // namespace

QueryAndGate SplitQueryAndGate(const at::Tensor& fused, GateLayout layout, const BlockConfig& block, int64_t D,
                               const std::string& what) {
  const Runs runs = RunsOf(layout, block, D);
  if (fused.size(0) != runs.runs * (runs.query + runs.gate))
    throw IoError(fmt::format(
        "{}: {} rows, expected {} for {} query heads of {} and their {} gate; config.json describes another model",
        what, fused.size(0), runs.runs * (runs.query + runs.gate), block.H, D,
        block.gate == GateKind::kElementwise ? "elementwise" : "headwise"));
  const at::Tensor rows = fused.reshape(WithRows(fused, {runs.runs, runs.query + runs.gate}));
  return {rows.narrow(1, 0, runs.query).reshape(WithRows(fused, {runs.runs * runs.query})),
          rows.narrow(1, runs.query, runs.gate).reshape(WithRows(fused, {runs.runs * runs.gate}))};
}

at::Tensor FuseQueryAndGate(const QueryAndGate& parts, GateLayout layout, const BlockConfig& block, int64_t D) {
  if (layout == GateLayout::kGrouped && block.kv_of_head != EvenKvOfHead(block.H, block.G))
    throw RecipeError("the grouped gate layout needs equally many query heads in each KV group; save as per_head");
  const Runs runs = RunsOf(layout, block, D);
  const at::Tensor query = parts.query.reshape(WithRows(parts.query, {runs.runs, runs.query}));
  const at::Tensor gate = parts.gate.reshape(WithRows(parts.gate, {runs.runs, runs.gate}));
  return at::cat({query, gate}, 1).reshape(WithRows(parts.query, {runs.runs * (runs.query + runs.gate)}));
}

}  // namespace espalier
