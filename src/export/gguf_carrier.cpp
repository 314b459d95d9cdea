// Which architecture of llama.cpp holds a model.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/export/gguf.h"
#include "espalier/export/shapes.h"

namespace espalier {
namespace {

// Of any block; `fits` chooses the roles.
template <class Fits>
bool HasBias(const Model& model, const Fits& fits) {
  for (const Block& block : model.blocks)
    for (const Role role : kRoles)
      if (fits(role) && block.At(role).bias.defined()) return true;
  return false;
}

bool IsQkv(Role role) {
  return role == Role::kQ || role == Role::kK || role == Role::kV;
}

[[noreturn]] void Refuse(const std::string& what) {
  throw RecipeError(fmt::format("export: no GGUF architecture holds {}; export with --to hf or --to padded", what));
}

void CheckCarriable(const ModelConfig& config) {
  static const std::vector<std::string> kFamilies = {"llama", "mistral", "qwen2", "qwen3"};
  if (std::find(kFamilies.begin(), kFamilies.end(), config.family) == kFamilies.end())
    Refuse(fmt::format("pruned models of family {} (supported: llama, mistral, qwen2, qwen3)", config.family));
  if (config.norm_placement != NormPlacement::kPre || config.norm_adds_one) Refuse("norms of this placement");
  if (config.activation != Activation::kSilu) Refuse("this activation");
  if (config.rope.rotated > 0 && config.rope.rotated != config.D) Refuse("heads that turn in part");
  if (config.embedding_scale != 1) Refuse("a scaled embedding");
  if (config.attention_scale &&
      std::fabs(*config.attention_scale * std::sqrt(static_cast<double>(config.D)) - 1) > 1e-6)
    Refuse("a scale of attention other than 1 / sqrt(head width)");
  for (const BlockConfig& block : config.blocks) {
    if (block.window > 0 && block.window < config.max_positions) Refuse("pruned models with sliding windows");
    if (block.gate != GateKind::kNone) Refuse("output gates");
    if (block.sink_logits) Refuse("learned sink logits in this family");
  }
}

// Heads whole and even, every FFN there; attention too where `zero_groups` or in the first block, whose head width
// counts for all.
void FitBlocks(Model& model, bool zero_groups) {
  for (int64_t l = 0; l < model.config.L(); ++l) {
    PaddedSizes sizes = EvenSizes(model.config.blocks[static_cast<size_t>(l)]);
    sizes.F = std::max<int64_t>(sizes.F, 1);
    if (zero_groups || l == 0) {
      sizes.G = std::max<int64_t>(sizes.G, 1);
      sizes.heads_per_group = std::max<int64_t>(sizes.heads_per_group, 1);
    }
    PadBlock(model, l, sizes);
    if (sizes.G == 0) model.blocks[static_cast<size_t>(l)].attention_norm = at::Tensor();  // llama.cpp counts tensors
  }
}

GgufCarrier Carry(std::string family, std::string architecture, Model model) {
  model.config.family = family;
  return {std::move(family), std::move(architecture), std::move(model), {}};
}

GgufCarrier CarryLlama(Model model) {
  const bool qwen2_only = model.config.family == "qwen2" && !HasBias(model, [](Role role) { return !IsQkv(role); });
  FitBlocks(model, false);
  if (!IsUniform(model.config)) return Carry("deci", "deci", std::move(model));
  if (qwen2_only) return Carry("qwen2", "qwen2", std::move(model));
  return Carry("llama", "llama", std::move(model));
}

GgufCarrier CarryQwen3(Model model) {
  FitBlocks(model, true);
  if (HasBias(model, [](Role) { return true; }))
    Refuse(
        "biases in a Qwen3: prune without compensation that leaves constants (compensate: none or least_squares "
        "without bias)");
  if (!IsUniform(model.config) && model.config.tied_head) return Carry("openelm", "openelm", std::move(model));
  const bool padded = !IsUniform(model.config);
  if (padded) model = PaddedUniform(model);
  GgufCarrier carrier = Carry("qwen3", "qwen3", std::move(model));
  if (padded)
    carrier.notes.push_back(
        "padded with zeros to the largest block: no carrier holds an untied Qwen3 of uneven blocks, so the file gains "
        "no speed");
  return carrier;
}

}  // namespace

GgufCarrier ChooseGgufCarrier(const Model& model) {
  CheckCarriable(model.config);
  Model folded = FoldRemoved(model);
  const int64_t left_out = model.config.L() - folded.config.L();
  for (BlockConfig& block : folded.config.blocks) block.window = 0;  // as wide as the context: checked
  GgufCarrier carrier =
      model.config.qk_norm == QkNorm::kNone ? CarryLlama(std::move(folded)) : CarryQwen3(std::move(folded));
  if (left_out > 0)
    carrier.notes.push_back(fmt::format("{} blocks without sublayers left out; blocks are numbered anew", left_out));
  return carrier;
}

}  // namespace espalier
