#pragma once
// Scores of the output gate of one block, and what the gate does to the values that it multiplies (Qiu et al. 2025,
// arXiv 2505.06708, section 4 and Figures 3-5). A sink logit is the same algebra: softmax with an extra logit s without
// value equals softmax times sigmoid(logsumexp - s), and that factor is its score.
#include <ATen/core/Tensor.h>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

class GateMeter {
 public:
  GateMeter(const Model& model, int64_t block);
  // Taps: sdpa_out, gate_score, head_out; nothing where the block has no gate. Throws NumericError when a score is not
  // finite.
  void Add(const BlockTaps& taps);
  // Sets block.gate where there was one. The control's shares need the mean score, which only the end of the pass
  // knows, so the values before the gate are counted in bins of a relative width of 2^-12 and the control's thresholds
  // (1e-2 and 1e-3 over the mean score) rounded down to a bin's edge: exact for thresholds smaller by at most 0.025 %.
  // All other figures are exact.
  void Finish(BlockPhenomena& block) const;

 private:
  void AddScores(const at::Tensor& score);                            // [B, T, H, D or 1]
  void AddValues(const at::Tensor& before, const at::Tensor& after);  // [B, T, H*D]

  int64_t block_;
  GateForm form_ = GateForm::kElementwise;
  at::Tensor score_, below_tenth_;                     // [H] float64, sums over the head's scores
  at::Tensor histogram_;                               // [20] int64
  at::Tensor small_before_, small_after_;              // [2] float64, values below the thresholds
  at::Tensor binned_;                                  // [2^20] int64, values before the gate by their leading bits
  double magnitude_before_ = 0, magnitude_after_ = 0;  // sums
  int64_t scores_ = 0, values_ = 0;                    // scores of one head, values of all heads
};

}  // namespace espalier
