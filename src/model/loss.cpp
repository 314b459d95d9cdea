#include "espalier/model/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace espalier {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRows = 256;  // 50 MB of logits at V = 49,152; larger chunks are not faster

// The teacher's half of a loss; without one, hidden and head are undefined.
struct Teacher {
  Tensor hidden, head;
};

// Adds the parts of one chunk: the sum of losses over rows, and its gradient by the logits, which it overwrites.
struct ChunkLoss {
  Tensor loss, gradient;  // scalar float32; [rows, V] float32
};
ChunkLoss LossOfChunk(Tensor logits, const Tensor& target, const Tensor& teacher_logits,
                      const TokenLossWeights& weights) {
  const Tensor log_sum = logits.logsumexp(1, /*keepdim=*/true);  // [rows, 1]
  ChunkLoss chunk{weights.next_token * (log_sum - logits.gather(1, target)).sum(), {}};
  Tensor distilled;
  if (teacher_logits.defined()) {
    const double temperature = weights.temperature;
    const Tensor log_q = at::log_softmax(logits / temperature, 1);
    const Tensor log_p = at::log_softmax(teacher_logits / temperature, 1), p = log_p.exp();
    chunk.loss = chunk.loss + weights.logits * temperature * temperature * (p * (log_p - log_q)).sum();
    distilled = (log_q.exp() - p).mul_(weights.logits * temperature);
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
      const Tensor teacher_logits = teacher.hidden.defined()
                                        ? at::linear(teacher.hidden.narrow(0, row, rows), teacher.head).to(at::kFloat)
                                        : Tensor();
      const ChunkLoss chunk = LossOfChunk(at::linear(x, head).to(at::kFloat), target, teacher_logits, weights);
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
  return LinearTokenLoss::apply(hidden, head, targets, Teacher{teacher_hidden, teacher_head}, weights);
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
