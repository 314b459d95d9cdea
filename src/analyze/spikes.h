#pragma once
// The spike census of one block: the largest residual values, the largest writes, and the neurons behind them.
#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// What one sublayer's addition did to one channel of one token.
struct Write {
  int64_t channel = 0, sequence = 0, position = 0;
  double before = 0, written = 0, after = 0;  // residual value, what the FFN added, residual value after the block
  std::vector<SpikeNeuron> neurons;           // the FFN neurons that wrote most of it, role not yet set
};

class SpikeMeter {
 public:
  SpikeMeter(const Model& model, int64_t block, const AnalyzeOptions& options)
      : model_(model), block_(block), options_(options) {}
  // Taps: attn_residual, ffn_hidden, ffn_out, attn_out, block_output.
  void Add(const BlockTaps& taps, int64_t first_window);
  void Finish(BlockPhenomena& block) const;
  // For each channel, the token where the FFN wrote most (by |written|): [C] entries of the largest three channels.
  const std::vector<Write>& writes() const { return writes_; }
  double median() const;

 private:
  void AddPeaks(const at::Tensor& output, int64_t first_window);
  void AddWrites(const BlockTaps& taps, int64_t first_window);
  std::vector<SpikeNeuron> Responsible(const at::Tensor& hidden, const Write& write) const;

  const Model& model_;
  int64_t block_;
  AnalyzeOptions options_;
  std::vector<Peak> peaks_;
  std::vector<Write> writes_;
  double output_max_ = 0, median_sum_ = 0;
  int64_t batches_ = 0;
};

}  // namespace espalier
