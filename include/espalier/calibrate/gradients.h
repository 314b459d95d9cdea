#pragma once
// Gradients of the next-token loss with respect to activations, streamed block by block: no weight has a gradient and
// one block's graph exists at a time.
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/calibrate/scratch.h"
#include "espalier/calibrate/statistics.h"
#include "espalier/model/block_source.h"

namespace espalier {

// What goes into each block, and what comes out of the last: L + 1 tensors [B, T, C].
std::vector<at::Tensor> BlockInputs(const Model& model, const at::Tensor& ids, const Rope& rope);

// What the loss is taken against.
enum class LossTargets {
  kText,   // the text's next token: squares of gradients are the empirical Fisher information
  kDrawn,  // a token drawn from the model's own distribution at each place: the true Fisher information, whose
           // quadratic form is to second order the divergence from the dense model (Martens 2014, arXiv 1412.1193)
};
std::string_view LossTargetsName(LossTargets targets);  // "drawn": what recipes write
LossTargets ParseLossTargets(std::string_view name);    // RecipeError with the nearest names
const std::vector<std::string>& LossTargetsNames();

// Targets of windows [B, T] of which the first is window `first_window` of those at hand: drawn tokens depend on the
// seed, the window's index among all and the place in it. output [B, T, C] of the last block -> [B, T - 1] int64.
struct TargetRule {
  LossTargets targets = LossTargets::kText;
  uint64_t seed = 0;
  int64_t before = 0;  // windows of all before those at hand
};
at::Tensor TargetsOf(const TargetRule& rule, const Model& model, const at::Tensor& output, const at::Tensor& ids,
                     int64_t first_window);

// Gradient of the sum over tokens of the loss (nats) with respect to the output of the last block [B, T, C].
at::Tensor OutputGradient(const Model& model, const at::Tensor& output, const at::Tensor& targets);

// The values that one block's taps saw and the gradients with respect to them.
struct ValueAndGradient {
  at::Tensor value, gradient;
};
struct BlockGradients {
  at::Tensor input;                        // gradient with respect to what goes into the block [B, T, C]
  std::map<Site, ValueAndGradient> sites;  // those of the sites asked for that the block has
  std::vector<at::Tensor> leaves;
};

// Backward through one block. `leaves` are weights of the block that require gradients.
BlockGradients BackwardBlock(const Model& model, int64_t block, const at::Tensor& input,
                             const at::Tensor& output_gradient, const Rope& rope, const std::vector<Site>& sites,
                             const std::vector<at::Tensor>& leaves = {});

// What a backward pass over windows [S, T] int64 needs of the forward one. Both tensors are as Scratch::Empty gives
// them.
struct ForwardPass {
  at::Tensor inputs;  // [L, S, T, C], what goes into each block
  at::Tensor output;  // [S, T, C], of the last block
  static ForwardPass Empty(const Model& model, at::IntArrayRef windows, const Scratch& scratch);
};
ForwardPass RunForward(const BlockSource& source, const at::Tensor& windows, int64_t batch, const Scratch& scratch);
// Where the backward pass begins: OutputGradient of each batch, which overwrites the output. [S, T, C].
at::Tensor GradientOf(ForwardPass& pass, const Model& model, const at::Tensor& windows, int64_t batch,
                      const TargetRule& rule = {});

// windows [S, T] int64, `pass` of them, used up. Blocks come last to first, each with all batches in their order;
// `first_window` is the index of the batch's first. A streamed model is read once.
using VisitGradients = std::function<void(int64_t block, int64_t first_window, const BlockGradients& gradients)>;
void StreamGradients(const BlockSource& source, const at::Tensor& windows, int64_t batch,
                     const std::vector<Site>& sites, ForwardPass pass, const VisitGradients& visit,
                     const TargetRule& rule = {});

// What AddGradientSums measures.
struct GradientSums {
  // Loss mass of every unit: the sum over tokens of the square of the derivative of the loss with respect to a factor
  // at 1 on what the unit does, the empirical Fisher information of that factor (SCAR, arXiv 2604.23475; for the factor
  // view Molchanov et al. 2017, arXiv 1611.06440). For a unit with the input columns U of a consumer that derivative is
  // sum_{j in U} x_j dL/dx_j; for a sublayer (attention, ffn) and a block it is what is added to the
  // residual stream times the gradient there; for a rotary pair sum_j k_j dL/dk_j over its rows of w_k. Measured for
  // every kind but residual_channel.
  bool masses = true;
  // For w_o and w_down the sum over tokens of g g^T [C, C] float32 (summed in float64), g the gradient with respect to
  // the consumer's output (after a post-norm's backward; without one it is the gradient with respect to what is added
  // to the residual stream). Divided by the tokens it is the output factor of K-FAC's Fisher matrix (arXiv 1503.05671).
  bool products = false;
  TargetRule rule{};
};

// Adds to `statistics`, of which gradient_tokens grows by the tokens of windows [S, T], of which `pass` is.
// NumericError naming the block when a gradient is not finite.
void AddGradientSums(const BlockSource& source, const at::Tensor& windows, int64_t batch, const GradientSums& wanted,
                     ForwardPass pass, Scratch& scratch, Statistics& statistics);

}  // namespace espalier
