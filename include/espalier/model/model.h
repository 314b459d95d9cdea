#pragma once
// A model is a struct of tensors by role. Nothing here knows a checkpoint's names, and nothing owns gradients.
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/model/config.h"
#include "espalier/model/site.h"

namespace espalier {

// W + scale * B A (Hu et al. 2021, arXiv 2106.09685), applied without forming the sum.
struct LowRank {
  at::Tensor a;  // [r, in]
  at::Tensor b;  // [out, r]
  double scale = 1;
};

struct Linear {
  at::Tensor weight;  // [out, in]; undefined: the layer is absent
  at::Tensor bias;    // [out] or undefined
  std::shared_ptr<const LowRank> low_rank;

  bool defined() const { return weight.defined(); }
  at::Tensor Apply(const at::Tensor& x) const;  // [..., in] -> [..., out]
};

// Sizes of whole heads; model/head_layout.h has those of ragged ones.
struct Attention {
  Linear w_q;              // [H*D, C]
  Linear w_output_gate;    // [H*D, C] or [H, C]; undefined: no gate. Of a study's variant [GateScores, C]
  Linear w_k;              // [G*D, C]
  Linear w_v;              // [G*D, C]
  Linear w_o;              // [C, H*D]
  at::Tensor q_norm;       // [D] or [H*D]; undefined: none
  at::Tensor k_norm;       // [D] or [G*D]; undefined: none
  at::Tensor sink_logits;  // [H]; undefined: none
  // Of a study's variants (model/variants.h).
  at::Tensor gate_logits;           // [scores]: of an unconditional gate, in place of w_output_gate
  at::Tensor key_bias, value_bias;  // [G*D]; undefined: none
};

struct FeedForward {
  Linear w_gate;  // [F, C]; only of a gated FFN
  Linear w_up;    // [F, C]; not of a single linear layer
  Linear w_down;  // [C, F]
};

// The linear layers of a block, for code that treats them alike.
enum class Role { kQ, kOutputGate, kK, kV, kO, kGate, kUp, kDown };
inline constexpr Role kRoles[] = {Role::kQ, Role::kOutputGate, Role::kK,  Role::kV,
                                  Role::kO, Role::kGate,       Role::kUp, Role::kDown};
std::string_view RoleName(Role role);  // "w_q"
bool OfAttention(Role role);           // not of the FFN

// The other tensors of a block.
enum class VectorRole {
  kAttentionNorm,
  kAttentionPostNorm,
  kQNorm,
  kKNorm,
  kSinkLogits,
  kGateLogits,
  kKeyBias,
  kValueBias,
  kFfnNorm,
  kFfnPostNorm
};
inline constexpr VectorRole kVectorRoles[] = {
    VectorRole::kAttentionNorm, VectorRole::kAttentionPostNorm, VectorRole::kQNorm,   VectorRole::kKNorm,
    VectorRole::kSinkLogits,    VectorRole::kGateLogits,        VectorRole::kKeyBias, VectorRole::kValueBias,
    VectorRole::kFfnNorm,       VectorRole::kFfnPostNorm};
std::string_view VectorRoleName(VectorRole role);  // "q_norm"

// Norms of a DynamicTanh model are [2C+1]: weight, bias, alpha.
struct Block {
  at::Tensor attention_norm;       // [C]; undefined in post-norm models
  at::Tensor attention_post_norm;  // [C]; undefined in pre-norm models
  Attention attention;
  at::Tensor ffn_norm;       // [C]; undefined in post-norm models
  at::Tensor ffn_post_norm;  // [C]; undefined in pre-norm models
  FeedForward ffn;

  Linear& At(Role role);
  const Linear& At(Role role) const;
  at::Tensor& At(VectorRole role);
  const at::Tensor& At(VectorRole role) const;
};

struct Model {
  ModelConfig config;
  at::Tensor embedding;  // [V, C]
  std::vector<Block> blocks;
  at::Tensor final_norm;  // [C]
  at::Tensor head;        // [V, C]; undefined when tied to the embedding
  // Interventions of a running analysis (analyze/interventions.h); null in every checkpoint.
  std::shared_ptr<Edit> edit;

  const at::Tensor& Head() const { return head.defined() ? head : embedding; }
  at::Device device() const { return embedding.device(); }
  at::ScalarType dtype() const { return embedding.scalar_type(); }
};

// The shape that the configuration gives to a part of block `l`; empty when the block has no such part.
std::vector<int64_t> ExpectedShape(const ModelConfig& config, int64_t l, Role role);
std::vector<int64_t> ExpectedShape(const ModelConfig& config, int64_t l, VectorRole role);

// Every tensor of the model with a name of its role ("block3.w_q.weight", "block3.q_norm"), in a fixed order. Low-rank
// factors are not listed.
struct NamedTensorRef {
  std::string name;
  at::Tensor* tensor;
};
std::vector<NamedTensorRef> TensorsOf(Model& model);

// A copy whose tensors share nothing with the original, in `dtype` on `device`.
Model CopyModel(const Model& model, at::ScalarType dtype, at::Device device);
int64_t CountParameters(const Model& model);       // a tied head counts once
int64_t CountBlockParameters(const Model& model);  // everything in the blocks

// Whether both are made of the very same tensors, with the same intervention.
bool SameTensors(const Model& a, const Model& b);

// Throws ShapeError naming the tensor, what was found and what the configuration expects.
void CheckShapes(const Model& model);

}  // namespace espalier
