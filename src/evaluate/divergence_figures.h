#pragma once
// Figures of how far predictions of a model are from those of the one it came from.
#include <ATen/core/Tensor.h>

#include <limits>
#include <string>
#include <vector>

#include "espalier/evaluate/results.h"
#include "espalier/model/model.h"

namespace espalier {

inline constexpr int64_t kDivergenceRows = 256;  // predictions of so many tokens exist at a time, of both models

// Of the token after each of hidden states [N, C]: [N, V] float32.
at::Tensor LogProbabilities(const Model& model, const at::Tensor& hidden);

class TokenDivergence {
 public:
  // Log-probabilities of the base and of the model, [N, V] float32, and the tokens that follow, [N]. What the base
  // gives at most `floor` adds nothing to the divergence.
  void Add(const at::Tensor& base_log_p, const at::Tensor& log_p, const at::Tensor& targets,
           double floor = -std::numeric_limits<double>::infinity());
  bool Finite() const;
  double MeanKl() const;  // so far, nats
  int64_t tokens() const { return tokens_; }
  void AddMetrics(Results& results) const;
  static std::vector<std::string> Figures();

 private:
  std::vector<at::Tensor> kl_, same_top_, base_nll_, nll_;  // each of [rows] float32
  double sum_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace espalier
