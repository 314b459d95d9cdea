#include "espalier/prune/cut.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"

namespace espalier {
namespace {

using at::Tensor;

Tensor IndexTensor(const std::vector<int64_t>& indices, const Tensor& like) {
  return at::tensor(indices, at::kLong).to(like.device());
}

// `tensor` itself when all of `dim` stays.
Tensor Select(const Tensor& tensor, int64_t dim, const std::vector<int64_t>& kept) {
  if (!tensor.defined() || tensor.size(dim) == std::ssize(kept)) return tensor;
  return tensor.index_select(dim, IndexTensor(kept, tensor));
}

// Zero but for what is kept.
Tensor Blank(const Tensor& tensor, int64_t dim, const std::vector<int64_t>& kept) {
  if (!tensor.defined() || tensor.size(dim) == std::ssize(kept)) return tensor;
  const Tensor gone = at::ones({tensor.size(dim)}, tensor.options().dtype(at::kBool))
                          .index_fill(0, IndexTensor(kept, tensor), false)
                          .nonzero()
                          .squeeze(1);
  return tensor.index_fill(dim, gone, 0);
}

// A norm's factor times `scale`, as it is stored.
Tensor ScaleGain(const ModelConfig& config, const Tensor& weight, double scale) {
  return config.norm_adds_one ? (weight + 1) * scale - 1 : weight * scale;
}

// A norm over all N query (key) rows of a block: masked rows add zeros to its mean square, the cut model takes the mean
// over the n that are left, N / n times larger. Rows scaled by sqrt(n / N) and a factor that grows by sqrt(N / n) give
// the masked norm exactly, epsilon included.
void RescaleHeads(const ModelConfig& config, int64_t before, Linear& projection, Tensor& norm) {
  if (!norm.defined() || norm.size(0) == before || norm.size(0) == 0) return;
  const double root = std::sqrt(static_cast<double>(before) / static_cast<double>(norm.size(0)));
  norm = ScaleGain(config, norm, root);
  projection.weight = projection.weight / root;
  if (projection.bias.defined()) projection.bias = projection.bias / root;
}

void CutVectors(const ModelConfig& config, const Ledger& ledger, int64_t l, const Block& dense, Block& cut) {
  for (const VectorRole role : kVectorRoles) cut.At(role) = Select(cut.At(role), 0, ledger.Kept(l, role));
  if (config.qk_norm != QkNorm::kAllHeads) return;
  for (const auto& [role, projection] : {std::pair{VectorRole::kQNorm, Role::kQ}, {VectorRole::kKNorm, Role::kK}})
    if (dense.At(role).defined()) RescaleHeads(config, dense.At(role).size(0), cut.At(projection), cut.At(role));
}

// Which of a group's dimensions the kept rows are; `run` are the group's rows, `dimensions` what they stand for.
std::vector<int64_t> KeptDimensions(const std::vector<int64_t>& rows, const Run& run,
                                    const std::vector<int64_t>& dimensions) {
  std::vector<int64_t> kept;
  for (const int64_t row : rows)
    if (row >= run.first && row < run.first + run.count)
      kept.push_back(dimensions[static_cast<size_t>(row - run.first)]);
  return kept;
}

// Whole heads need no lists.
void ForgetWhole(std::vector<std::vector<int64_t>>& lists, int64_t D) {
  if (std::all_of(lists.begin(), lists.end(), [D](const auto& list) { return std::ssize(list) == D; })) lists.clear();
}

// The heads and groups that stay, renumbered, with the dimensions that they keep.
BlockConfig CutSizes(const Ledger& ledger, int64_t l, const BlockConfig& sizes, int64_t D) {
  BlockConfig cut = sizes;
  cut.kv_of_head.clear(), cut.value_channels.clear(), cut.qk_dims.clear();
  const HeadLayout layout(sizes, D);
  const std::vector<int64_t> values = ledger.Kept(l, Role::kV, Axis::kRows);
  const std::vector<int64_t> keys = ledger.Kept(l, Role::kK, Axis::kRows);
  std::map<int64_t, int64_t> renumbered;
  for (const int64_t group : ledger.KeptOf(l, UnitKind::kKvGroup).kept) {
    renumbered.emplace(group, std::ssize(renumbered));
    cut.value_channels.push_back(KeptDimensions(values, layout.Value(group), layout.ValueDimensions(group)));
    cut.qk_dims.push_back(KeptDimensions(keys, layout.Key(group), layout.QkDimensions(group)));
  }
  for (const int64_t head : ledger.KeptOf(l, UnitKind::kQueryHead).kept)
    cut.kv_of_head.push_back(renumbered.at(sizes.kv_of_head[static_cast<size_t>(head)]));
  ForgetWhole(cut.value_channels, D);
  ForgetWhole(cut.qk_dims, D);
  cut.H = std::ssize(cut.kv_of_head);
  cut.G = std::ssize(renumbered);
  cut.F = std::ssize(ledger.Kept(l, Role::kDown, Axis::kColumns));
  return cut;
}

// A sublayer that lost everything leaves at most the constant of its output projection.
void DropEmpty(Block& block, const BlockConfig& sizes) {
  if (!sizes.HasAttention()) {
    Attention constant;
    constant.w_o.bias = block.attention.w_o.bias;
    block.attention = constant;
  }
  if (!sizes.HasFeedForward()) {
    FeedForward constant;
    constant.w_down.bias = block.ffn.w_down.bias;
    block.ffn = constant;
  }
}

// Residual channels that go are zero throughout the masked model, and its norms still take their mean over all C. With
// C' left and k = C / C', sum / C + epsilon = (sum / C' + k epsilon) / k: the cut model's norms are the masked ones
// when their epsilon is k epsilon and their factor grows by sqrt(k). Exact. The epsilon of a model is also that of its
// norms of queries and keys, which do not lose anything here: scaling their inputs by sqrt(k) undoes it, exactly as
// well. An embedding scale is a function of the width in the families that have one (sqrt(C)), so it shrinks with it
// and the embedding grows; where the embedding is also the head, the final norm takes that back.
void RescaleNorms(Model& cut, int64_t dense_C) {
  ModelConfig& config = cut.config;
  const double k = static_cast<double>(dense_C) / static_cast<double>(config.C), root = std::sqrt(k);
  const auto scale_gain = [&](Tensor& gain, double scale) {
    if (gain.defined() && scale != 1) gain = ScaleGain(config, gain, scale);
  };
  config.norm_epsilon *= k;
  for (Block& block : cut.blocks) {
    for (const VectorRole role :
         {VectorRole::kAttentionNorm, VectorRole::kAttentionPostNorm, VectorRole::kFfnNorm, VectorRole::kFfnPostNorm})
      scale_gain(block.At(role), root);
    if (config.qk_norm == QkNorm::kNone) continue;
    for (const Role role : {Role::kQ, Role::kK})
      for (Tensor* tensor : {&block.At(role).weight, &block.At(role).bias})
        if (tensor->defined()) *tensor = *tensor * root;
  }
  const bool scaled = config.embedding_scale != 1;
  if (scaled) {
    config.embedding_scale /= root;
    cut.embedding = cut.embedding * root;
  }
  scale_gain(cut.final_norm, scaled && !cut.head.defined() ? 1 : root);
}

void CutOutside(const Ledger& ledger, Model& cut) {
  const std::vector<int64_t> kept = ledger.KeptResidualChannels();
  const int64_t dense_C = cut.config.C;
  if (std::ssize(kept) == dense_C) return;
  cut.embedding = Select(cut.embedding, 1, kept);
  cut.head = Select(cut.head, 1, kept);
  cut.final_norm = Select(cut.final_norm, 0, kept);
  cut.config.C = std::ssize(kept);
  RescaleNorms(cut, dense_C);
}

// Applies `change` (Select or Blank) to every linear layer of a block, both ways.
template <class Change>
void ChangeLinear(const Ledger& ledger, int64_t l, Block& block, const Change& change) {
  for (const Role role : kRoles) {
    Linear& linear = block.At(role);
    const std::vector<int64_t> rows = ledger.Kept(l, role, Axis::kRows);
    linear.weight = change(change(linear.weight, 0, rows), 1, ledger.Kept(l, role, Axis::kColumns));
    linear.bias = change(linear.bias, 0, rows);
  }
}

// Largest absolute difference over the largest logit of `b`.
double DifferenceOfLogits(const Model& a, const Model& b, const Tensor& ids) {
  const Tensor of_a = Logits(a, ids).to(at::kDouble), of_b = Logits(b, ids).to(at::kDouble);
  return (of_a - of_b).abs().max().item<double>() / std::max(of_b.abs().max().item<double>(), 1e-30);
}

}  // namespace

Model Cut(const Model& model, const Plan& plan) {
  const Ledger ledger = LedgerOf(model, plan);
  Model cut = model;
  for (int64_t l = 0; l < model.config.L(); ++l) {
    Block& block = cut.blocks[static_cast<size_t>(l)];
    ChangeLinear(ledger, l, block, Select);
    CutVectors(model.config, ledger, l, model.blocks[static_cast<size_t>(l)], block);
    BlockConfig& sizes = cut.config.blocks[static_cast<size_t>(l)];
    sizes = CutSizes(ledger, l, model.config.blocks[static_cast<size_t>(l)], model.config.D);
    DropEmpty(block, sizes);
  }
  CutOutside(ledger, cut);
  CheckShapes(cut);
  return cut;
}

Model Mask(const Model& model, const Plan& plan) {
  const Ledger ledger = LedgerOf(model, plan);
  Model masked = model;
  // Vectors need no mask: a head without query, key, value and output does nothing, whatever its norm or sink logit,
  // and a residual channel that nothing writes is zero, whatever the norms' factors.
  for (int64_t l = 0; l < model.config.L(); ++l) ChangeLinear(ledger, l, masked.blocks[static_cast<size_t>(l)], Blank);
  masked.embedding = Blank(masked.embedding, 1, ledger.KeptResidualChannels());
  masked.head = Blank(masked.head, 1, ledger.KeptResidualChannels());
  return masked;
}

double CheckCutEqualsMask(const Model& cut, const Model& masked, const Tensor& ids, double limit) {
  const at::NoGradGuard no_grad;
  double difference = DifferenceOfLogits(cut, masked, ids);
  if (!(difference <= limit))
    difference = DifferenceOfLogits(CopyModel(cut, at::kDouble, cut.device()),
                                    CopyModel(masked, at::kDouble, masked.device()), ids);
  if (!(difference <= limit))
    throw NumericError(
        fmt::format("self-check: logits of the cut model differ from the masked model's by {:.2e} (relative), expected "
                    "at most {:.0e}; "
                    "please report this",
                    difference, limit));
  return difference;
}

std::vector<int64_t> KeptColumns(const Model& model, const Plan& plan, int64_t block, Role consumer) {
  return LedgerOf(model, plan).Kept(block, consumer, Axis::kColumns);
}

}  // namespace espalier
