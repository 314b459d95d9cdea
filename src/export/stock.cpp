#include "espalier/export/stock.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "espalier/core/error.h"

namespace espalier {
namespace {

bool Has(const Model& model, std::initializer_list<Role> roles) {
  return std::any_of(model.blocks.begin(), model.blocks.end(), [&](const Block& block) {
    return std::any_of(roles.begin(), roles.end(), [&](Role role) { return block.At(role).bias.defined(); });
  });
}

void Complete(Model& model, std::initializer_list<Role> roles) {
  for (Block& block : model.blocks)
    for (const Role role : roles) {
      Linear& linear = block.At(role);
      if (!linear.bias.defined()) linear.bias = at::zeros({linear.weight.size(0)}, linear.weight.options());
    }
}

// Llama computes what these do, once q, k and v biases are written out.
bool IsLlamaWithOtherName(const ModelConfig& config) {
  if (config.family != "qwen2" && config.family != "mistral") return false;
  return std::all_of(config.blocks.begin(), config.blocks.end(), [&](const BlockConfig& block) {
    return block.window == 0 || block.window >= config.max_positions;
  });
}

}  // namespace

Model ForStockTransformers(const Model& uniform) {
  Model model = uniform;
  const bool ffn = Has(model, {Role::kGate, Role::kUp, Role::kDown}), output = Has(model, {Role::kO}),
             qkv = Has(model, {Role::kQ, Role::kK, Role::kV});
  std::string& family = model.config.family;
  if (family == "qwen2" && !ffn && !output) {  // its class has these three and no flag
    Complete(model, {Role::kQ, Role::kK, Role::kV});
    return model;
  }
  if ((ffn || output || qkv) && IsLlamaWithOtherName(model.config)) {
    family = "llama";
    for (BlockConfig& block : model.config.blocks) block.window = 0;
  }
  if (ffn && family != "llama")
    throw RecipeError(
        fmt::format("export: {} in transformers holds no biases of the FFN; prune without compensation "
                    "that leaves constants",
                    family));
  if ((output || qkv) && (family == "qwen2" || family == "mistral"))
    throw RecipeError(fmt::format("export: {} with windows holds no such biases in transformers", family));
  if (output || qkv) Complete(model, {Role::kQ, Role::kK, Role::kV, Role::kO});
  if (ffn) Complete(model, {Role::kGate, Role::kUp, Role::kDown});
  return model;
}

}  // namespace espalier
