#pragma once
// The next-token loss and recomputed activations: gradients in bounded memory.
#include <ATen/core/Tensor.h>

#include <functional>

namespace espalier {

// Mean next-token cross-entropy of hidden states [N, C] against targets [N] int64 under head [V, C]: a scalar with a
// gradient. Logits exist for 256 rows at a time; their gradient is formed in the same sweep, so nothing of size [N, V]
// is ever held (the fused linear cross-entropy of Hsu et al. 2024, arXiv 2410.10989).
at::Tensor NextTokenLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets);

// What a token's loss is made of, each part a mean over tokens.
struct TokenLossWeights {
  double next_token = 1;  // cross-entropy against the text
  // temperature^2 KL(p || q), p and q the teacher's and the student's softmax of logits / temperature (Hinton et al.
  // 2015, arXiv 1503.02531): the factor keeps the size of gradients.
  double logits = 0;
  double temperature = 1;
  // p and q of the teacher's so many likeliest tokens and of the rest together; 0: of every token.
  int64_t top = 0;
};

// A teacher's likeliest tokens: all that a divergence with `top` reads of it, small enough to keep on disk.
struct TopPredictions {
  at::Tensor ids;        // [N, k] int64, of one row all different
  at::Tensor log_probs;  // [N, k] float32, log softmax(logits / temperature) at those
};
// The `top` likeliest tokens of hidden states [N, C] under head [V, C], without gradients; logits as above.
TopPredictions TopOf(const at::Tensor& hidden, const at::Tensor& head, int64_t top, double temperature);

// As NextTokenLoss, mixed with the divergence from a teacher with hidden states [N, C'] and head [V, C'], from which no
// gradient flows. Logits of both exist for 256 rows at a time.
at::Tensor DistillationLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                            const at::Tensor& teacher_hidden, const at::Tensor& teacher_head,
                            const TokenLossWeights& weights);

// The same from what TopOf kept of the teacher, at the same temperature.
at::Tensor DistillationLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                            const TopPredictions& teacher, const TokenLossWeights& weights);

// One token for each hidden state [N, C], drawn from the model's own distribution softmax(hidden head^T): the first
// whose cumulative probability exceeds uniform [N] float64 in [0, 1). [N] int64, without gradients. Logits exist for
// 256 rows at a time.
at::Tensor DrawTokens(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& uniform);

// f(x) without keeping f's intermediates: they are computed again in the backward pass. Gradients are bitwise those of
// f(x). `anchor` is any tensor that requires gradients: it keeps the node alive when x itself does not.
at::Tensor Checkpointed(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x,
                        const at::Tensor& anchor);

}  // namespace espalier
