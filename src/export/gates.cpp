#include "espalier/export/gates.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"

namespace espalier {
namespace {

// Rows of the elementwise gate: those of the head that each output column belongs to.
at::Tensor Expanded(const at::Tensor& headwise, const HeadLayout& layout, int64_t H) {
  std::vector<int64_t> rows;
  for (int64_t head = 0; head < H; ++head)
    rows.insert(rows.end(), static_cast<size_t>(layout.Output(head).count), head);
  return headwise.index_select(0, at::tensor(rows, at::kLong).to(headwise.device()));
}

at::Tensor Collapsed(const at::Tensor& elementwise, const HeadLayout& layout, int64_t H, int64_t block) {
  std::vector<at::Tensor> rows;
  for (int64_t head = 0; head < H; ++head) {
    const Run run = layout.Output(head);
    const at::Tensor own = elementwise.narrow(0, run.first, run.count);
    if (!at::equal(own, own[0].expand_as(own)))
      throw RecipeError(
          fmt::format("gate layout B: head {} of block {} has a score for each channel, and B has one for "
                      "the head; use A or C",
                      head, block));
    rows.push_back(own[0]);
  }
  return at::stack(rows);
}

template <class Change>
void ChangeGate(Linear& gate, const Change& change) {
  gate.weight = change(gate.weight);
  if (gate.bias.defined()) gate.bias = change(gate.bias);
}

}  // namespace

Model WithGateLayout(const Model& model, std::string_view layout) {
  if (layout != "A" && layout != "B" && layout != "C")
    throw RecipeError(UnknownName("gate layout", layout, {"A", "B", "C"}));
  const bool any = std::any_of(model.config.blocks.begin(), model.config.blocks.end(),
                               [](const BlockConfig& block) { return block.gate != GateKind::kNone; });
  if (!any) throw RecipeError("gate layout: the model has no output gates");
  if (model.config.family != "qwen3")
    throw RecipeError(
        fmt::format("gate layout: family {} has one layout; all three are those of qwen3", model.config.family));
  Model changed = model;
  changed.config.gate_layout = layout == "C" ? GateLayout::kPerHead : GateLayout::kGrouped;
  const GateKind wanted = layout == "B" ? GateKind::kHeadwise : GateKind::kElementwise;
  for (size_t l = 0; l < changed.blocks.size(); ++l) {
    BlockConfig& block = changed.config.blocks[l];
    if (block.gate == GateKind::kNone || block.gate == wanted) continue;
    const HeadLayout heads(block, changed.config.D);
    ChangeGate(changed.blocks[l].attention.w_output_gate, [&](const at::Tensor& rows) {
      return wanted == GateKind::kElementwise ? Expanded(rows, heads, block.H)
                                              : Collapsed(rows, heads, block.H, static_cast<int64_t>(l));
    });
    block.gate = wanted;
  }
  return changed;
}

}  // namespace espalier
