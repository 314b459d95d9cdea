#include "espalier/model/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>

namespace espalier {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRows = 256;  // 50 MB of logits at V = 49,152; larger chunks are not faster

// The teacher's half of a loss: all of its predictions (hidden, head), the top ones (top), or nothing.
struct Teacher {
  Tensor hidden, head;
  TopPredictions top;

  bool defined() const { return hidden.defined() || top.ids.defined(); }
  Tensor Logits(int64_t row, int64_t rows) const {
    return at::linear(hidden.narrow(0, row, rows), head).to(at::kFloat);  // [rows, V]
  }
};

TopPredictions TopOfLogits(const Tensor& logits, int64_t top, double temperature) {
  const Tensor scaled = logits / temperature;  // [rows, V]
  const auto [values, ids] = scaled.topk(std::min(top, logits.size(1)), 1, /*largest=*/true, /*sorted=*/false);
  return {ids, values - scaled.logsumexp(1, /*keepdim=*/true)};
}

// A divergence of the rows of a chunk, summed, and its gradient by the student's logits / temperature.
struct Divergence {
  Tensor sum, gradient;  // scalar; [rows, V] float32
};

Divergence OfAllTokens(const Tensor& log_q, const Tensor& teacher_logits, double temperature) {
  const Tensor log_p = at::log_softmax(teacher_logits / temperature, 1), p = log_p.exp();
  return {(p * (log_p - log_q)).sum(), log_q.exp() - p};
}

// sum over the top of p log(p / q) + p_rest log(p_rest / q_rest). By a logit j: q_j - p_j in the top, and in the rest
// q_j - p_rest q_j / q_rest: there only the sum of q is taught. The student's rest is summed in logarithms, since the
// difference 1 - sum is lost where it is sure of itself.
Divergence OfTopTokens(const Tensor& log_q, const TopPredictions& teacher) {
  constexpr double kNothing = -70;  // for -inf, where every token is in the top: exp(-70) is 4e-31
  const Tensor p = teacher.log_probs.exp(), log_q_top = log_q.gather(1, teacher.ids);  // [rows, k]
  const Tensor rest_p = (1 - p.sum(1, /*keepdim=*/true)).clamp_min_(0);                // [rows, 1]
  const Tensor log_rest_q = log_q.scatter(1, teacher.ids, -std::numeric_limits<double>::infinity())
                                .logsumexp(1, /*keepdim=*/true)
                                .clamp_min_(kNothing);
  const Tensor sum =
      (p * (teacher.log_probs - log_q_top)).sum() + (at::xlogy(rest_p, rest_p) - rest_p * log_rest_q).sum();
  Tensor gradient = log_q.exp() - rest_p * (log_q - log_rest_q).exp_();
  gradient.scatter_(1, teacher.ids, log_q_top.exp() - p);
  return {sum, gradient};
}

Divergence OfChunk(const Tensor& logits, const Teacher& teacher, int64_t row, const TokenLossWeights& weights) {
  const Tensor log_q = at::log_softmax(logits / weights.temperature, 1);
  const int64_t rows = logits.size(0);
  if (teacher.top.ids.defined())
    return OfTopTokens(log_q, {teacher.top.ids.narrow(0, row, rows), teacher.top.log_probs.narrow(0, row, rows)});
  const Tensor taught = teacher.Logits(row, rows);
  return weights.top > 0 ? OfTopTokens(log_q, TopOfLogits(taught, weights.top, weights.temperature))
                         : OfAllTokens(log_q, taught, weights.temperature);
}

// The parts of the rows from `row` on: the sum of losses, and its gradient by the logits, which it overwrites.
struct ChunkLoss {
  Tensor loss, gradient;  // scalar float32; [rows, V] float32
};
ChunkLoss LossOfChunk(Tensor logits, const Tensor& target, const Teacher& teacher, int64_t row,
                      const TokenLossWeights& weights) {
  const Tensor log_sum = logits.logsumexp(1, /*keepdim=*/true);  // [rows, 1]
  ChunkLoss chunk{weights.next_token * (log_sum - logits.gather(1, target)).sum(), {}};
  Tensor distilled;
  if (teacher.defined()) {
    const Divergence divergence = OfChunk(logits, teacher, row, weights);
    chunk.loss = chunk.loss + weights.logits * weights.temperature * weights.temperature * divergence.sum;
    distilled = divergence.gradient * (weights.logits * weights.temperature);
  }
  chunk.gradient = logits.sub_(log_sum).exp_();  // softmax
  chunk.gradient.scatter_add_(1, target, at::full_like(log_sum, -1.0));
  if (weights.next_token != 1) chunk.gradient.mul_(weights.next_token);
  if (distilled.defined()) chunk.gradient.add_(distilled);
  return chunk;
}

struct LinearTokenLoss : torch::autograd::Function<LinearTokenLoss> {
  static Tensor forward(AutogradContext* context, const Tensor& hidden, const Tensor& head, const Tensor& targets,
                        const Teacher& teacher, const TokenLossWeights& weights) {
    const bool head_learns = head.requires_grad();
    const double n = static_cast<double>(hidden.size(0));
    Tensor loss = at::zeros({}, hidden.options().dtype(at::kFloat));
    Tensor hidden_grad = at::empty_like(hidden);
    Tensor head_grad = head_learns ? at::zeros_like(head) : Tensor();
    for (int64_t row = 0; row < hidden.size(0); row += kRows) {
      const int64_t rows = std::min(kRows, hidden.size(0) - row);
      const Tensor x = hidden.narrow(0, row, rows), target = targets.narrow(0, row, rows).unsqueeze(1);
      const ChunkLoss chunk = LossOfChunk(at::linear(x, head).to(at::kFloat), target, teacher, row, weights);
      loss += chunk.loss;
      const Tensor grad = chunk.gradient.div_(n).to(hidden.scalar_type());  // mean over N
      hidden_grad.narrow(0, row, rows).copy_(grad.matmul(head));            // [rows, C]
      if (head_learns) head_grad.addmm_(grad.t(), x);                       // [V, C]
    }
    context->save_for_backward({hidden_grad, head_grad});
    return loss / n;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const Tensor scale = grads[0].to(saved[0].scalar_type());
    return {saved[0] * scale, saved[1].defined() ? saved[1] * scale : Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

struct Recompute : torch::CustomClassHolder {
  std::function<Tensor(const Tensor&)> f;
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static Tensor forward(AutogradContext* context, const std::function<Tensor(const Tensor&)>& f, const Tensor& x,
                        const Tensor&) {
    auto holder = c10::make_intrusive<Recompute>();
    holder->f = f;
    context->saved_data["f"] = c10::IValue::make_capsule(holder);
    context->save_for_backward({x});
    return f(x);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto holder = context->saved_data["f"].toCapsule();
    const Tensor x = context->get_saved_variables()[0].detach().requires_grad_(true);
    Tensor y;
    {
      const at::AutoGradMode recording(true);
      y = static_cast<Recompute*>(holder.get())->f(x);
    }
    torch::autograd::backward({y}, {grads[0]});
    return {Tensor(), x.grad(), Tensor()};
  }
};

}  // namespace

Tensor NextTokenLoss(const Tensor& hidden, const Tensor& head, const Tensor& targets) {
  return LinearTokenLoss::apply(hidden, head, targets, Teacher{}, TokenLossWeights{});
}

Tensor DistillationLoss(const Tensor& hidden, const Tensor& head, const Tensor& targets, const Tensor& teacher_hidden,
                        const Tensor& teacher_head, const TokenLossWeights& weights) {
  return LinearTokenLoss::apply(hidden, head, targets, Teacher{teacher_hidden, teacher_head, {}}, weights);
}

Tensor DistillationLoss(const Tensor& hidden, const Tensor& head, const Tensor& targets, const TopPredictions& teacher,
                        const TokenLossWeights& weights) {
  return LinearTokenLoss::apply(hidden, head, targets, Teacher{{}, {}, teacher}, weights);
}

TopPredictions TopOf(const Tensor& hidden, const Tensor& head, int64_t top, double temperature) {
  const at::NoGradGuard no_grad;
  const Teacher teacher{hidden, head, {}};
  std::vector<Tensor> ids, log_probs;
  for (int64_t row = 0; row < hidden.size(0); row += kRows) {
    const TopPredictions part =
        TopOfLogits(teacher.Logits(row, std::min(kRows, hidden.size(0) - row)), top, temperature);
    ids.push_back(part.ids);
    log_probs.push_back(part.log_probs);
  }
  return {at::cat(ids), at::cat(log_probs)};
}

Tensor DrawTokens(const Tensor& hidden, const Tensor& head, const Tensor& uniform) {
  const at::NoGradGuard no_grad;
  Tensor drawn = at::empty({hidden.size(0)}, hidden.options().dtype(at::kLong));
  for (int64_t row = 0; row < hidden.size(0); row += kRows) {
    const int64_t rows = std::min(kRows, hidden.size(0) - row);
    const Tensor logits = at::linear(hidden.narrow(0, row, rows), head).to(at::kFloat);
    const Tensor reached = logits.softmax(1).cumsum(1);  // [rows, V]
    const Tensor threshold =
        uniform.narrow(0, row, rows).to(reached.device(), at::kFloat).unsqueeze(1) * reached.slice(1, -1);
    drawn.narrow(0, row, rows)
        .copy_(at::searchsorted(reached, threshold, /*out_int32=*/false, /*right=*/true)
                   .squeeze(1)
                   .clamp_max(head.size(0) - 1));
  }
  return drawn;
}

Tensor Checkpointed(const std::function<Tensor(const Tensor&)>& f, const Tensor& x, const Tensor& anchor) {
  return Checkpoint::apply(f, x, anchor);
}

}  // namespace espalier
