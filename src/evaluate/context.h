#pragma once
// What an evaluation of long texts may change about a model's context: what its cache keeps, and its RoPE.
#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "espalier/core/options.h"
#include "espalier/model/kv_cache.h"
#include "espalier/model/rope_rescale.h"

namespace espalier {

// sinks, recent, retrieval_heads, rope, rope_factor.
std::vector<OptionSpec> ContextOptions();

class ContextChange {
 public:
  // RecipeError when the options contradict each other.
  explicit ContextChange(const Options& options);

  // RecipeError when the model has not the retrieval heads.
  CachePolicy PolicyOf(const Model& model) const;
  Model Of(const Model& model) const;  // shares its tensors
  // For ids of results: "", "-sinks4+1020", "-yarn4".
  std::string Suffix() const;
  std::vector<std::pair<std::string, std::string>> Entries() const;

 private:
  CachePolicy policy_;  // without retrieval heads
  std::vector<std::string> retrieval_heads_;
  RopeChange rope_;
};

// Final hidden states of ids [B, T] under the policy, [B, T, C]; in chunks through a cache where it drops tokens.
at::Tensor HiddenStates(const Model& model, const at::Tensor& ids, const CachePolicy& policy);

}  // namespace espalier
