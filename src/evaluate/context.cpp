#include "context.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sstream>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"

namespace espalier {

std::vector<OptionSpec> ContextOptions() {
  return {
      IntOption("recent", 0, "Tokens before the current one that attention keeps beside the sinks; 0: all")
          .Between(0, 1 << 24),
      IntOption("sinks", 4, "First tokens that attention keeps where it drops others (recent)").Between(0, 1 << 24),
      TextListOption("retrieval_heads", std::vector<std::string>{},
                     "Key/value heads that keep everything all the same, block:head (DuoAttention, arXiv 2410.10819)"),
      TextOption("rope", "as_trained", "Change of RoPE without training").OneOf(RopeMethods()),
      RealOption("rope_factor", 1, "How many times longer the context becomes; base: factor on theta").AtLeast(1)};
}

ContextChange::ContextChange(const Options& options)
    : policy_{.sinks = options.Int("sinks"), .recent = options.Int("recent")},
      retrieval_heads_(options.TextList("retrieval_heads")),
      rope_{options.Text("rope"), options.Real("rope_factor")} {
  if (!retrieval_heads_.empty() && !policy_.Drops())
    throw RecipeError("retrieval_heads: nothing is dropped; say recent: how many tokens the other heads keep");
  if (rope_.method == "as_trained" && rope_.factor != 1)
    throw RecipeError(fmt::format("rope_factor: {} with rope: as_trained changes nothing; choose base, linear or yarn",
                                  rope_.factor));
}

CachePolicy ContextChange::PolicyOf(const Model& model) const {
  CachePolicy policy = policy_;
  if (retrieval_heads_.empty()) return policy;
  policy.retrieval_heads.resize(model.config.blocks.size());
  for (const std::string& name : retrieval_heads_) {
    int64_t block = 0, head = 0;
    char colon = 0, more = 0;
    std::istringstream text(name);
    if (!(text >> block >> colon >> head) || colon != ':' || text >> more || block < 0 || block >= model.config.L())
      throw RecipeError(fmt::format("retrieval_heads: '{}', expected block:head with a block from 0 to {}", name,
                                    model.config.L() - 1));
    policy.retrieval_heads[static_cast<size_t>(block)].push_back(head);
  }
  return policy;
}

Model ContextChange::Of(const Model& model) const {
  Model changed = model;
  changed.config = WithRope(model.config, rope_);
  return changed;
}

std::string ContextChange::Suffix() const {
  std::string suffix;
  if (policy_.Drops()) suffix += fmt::format("-sinks{}+{}", policy_.sinks, policy_.recent);
  if (!retrieval_heads_.empty()) suffix += fmt::format("-{}whole", retrieval_heads_.size());
  if (rope_.method != "as_trained") suffix += fmt::format("-{}{}", rope_.method, rope_.factor);
  return suffix;
}

std::vector<std::pair<std::string, std::string>> ContextChange::Entries() const {
  std::string cache = "whole";
  if (policy_.Drops()) cache = fmt::format("{} sinks and {} recent tokens", policy_.sinks, policy_.recent);
  if (!retrieval_heads_.empty()) cache += fmt::format(", whole in {}", fmt::join(retrieval_heads_, ", "));
  return {{"cache", cache},
          {"rope", rope_.method == "as_trained" ? rope_.method : fmt::format("{} by {}", rope_.method, rope_.factor)}};
}

at::Tensor HiddenStates(const Model& model, const at::Tensor& ids, const CachePolicy& policy) {
  if (!policy.Drops()) return HiddenStates(model, ids);
  KvCache cache(model, policy);
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < ids.size(1); begin += kPrefillChunk)
    parts.push_back(HiddenStates(model, ids.slice(1, begin, begin + kPrefillChunk), cache));
  return at::cat(parts, 1);
}

}  // namespace espalier
