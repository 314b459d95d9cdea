#pragma once
// The spike census of one block: at both taps of both sublayers, the largest values and where they are.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// Whether a value of the residual stream spikes where the median |h| is `median`.
bool IsSpike(double value, double median, const AnalyzeOptions& options);
// The tokens with a spiking channel: h [B, T, C] -> [B, T] bool.
at::Tensor SpikeTokens(const at::Tensor& h, double median, const AnalyzeOptions& options);
// Median |h| over all elements.
double MedianMagnitude(const at::Tensor& h);
// The rows of a flattened mask that are set, int64, at most `count`, evenly spread over them.
at::Tensor SpreadRows(const at::Tensor& mask, int64_t count);

// What one sublayer's addition did to one channel of one token.
struct Write {
  int64_t channel = 0, sequence = 0, position = 0;
  double before = 0, written = 0, after = 0;  // residual value, what was added, residual value after the addition
  at::Tensor hidden;                          // [F] the input of w_down at that token; undefined where there is none
};

class SublayerMeter {
 public:
  // before, written, after [B, T, C]: residual stream, output of the sublayer, their sum. hidden [B, T, F] or
  // undefined.
  void Add(const at::Tensor& before, const at::Tensor& written, const at::Tensor& after, const at::Tensor& hidden,
           int64_t first_window);
  Census Finish() const;
  // Where the sublayer wrote most: of the three channels with the largest |written|, one token each.
  const std::vector<Write>& writes() const { return writes_; }
  double last_median() const { return last_median_; }  // of the last batch

 private:
  void AddPeaks(const at::Tensor& after, int64_t first_window);
  void AddWrites(const at::Tensor& before, const at::Tensor& written, const at::Tensor& after, const at::Tensor& hidden,
                 int64_t first_window);

  std::vector<Peak> peaks_;
  std::vector<Write> writes_;
  at::Tensor squares_;  // [C] float64, sum of h^2 over tokens
  double median_sum_ = 0, last_median_ = 0;
  int64_t batches_ = 0;
};

class SpikeMeter {
 public:
  explicit SpikeMeter(const AnalyzeOptions& options) : options_(options) {}
  // Taps: block_input, attn_out, attn_residual, ffn_hidden, ffn_out, block_output.
  void Add(const BlockTaps& taps, int64_t first_window);
  void Finish(BlockPhenomena& block) const;
  // Of the last batch: [B, T] bool, the tokens that spike after attention or after the FFN.
  const at::Tensor& spike_tokens() const { return spike_tokens_; }
  const SublayerMeter& attention() const { return attention_; }
  const SublayerMeter& ffn() const { return ffn_; }

 private:
  AnalyzeOptions options_;
  SublayerMeter attention_, ffn_;
  at::Tensor spike_tokens_;
};

}  // namespace espalier
