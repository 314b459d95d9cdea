#pragma once
// What calibration measures: moments of the inputs of w_o and w_down, ordinary tokens and spike/sink tokens apart.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "espalier/model/forward.h"

namespace espalier {

// Moments of n channels over a number of tokens. Sums run in float64, by the pairwise update of Chan, Golub and LeVeque
// (1979), so that adding tokens in batches or merging two halves gives what one pass would.
struct Moments {
  int64_t count = 0;
  at::Tensor mean;      // [n] float64
  at::Tensor squares;   // [n] float64, sum of squared deviations from the mean
  at::Tensor max;       // [n] float64, largest absolute value
  at::Tensor max_at;    // [n, 2] int64, (sequence, position) of it
  at::Tensor products;  // [n, n] float64, co-moment: sum of deviations' products; undefined unless asked for

  static Moments Empty(int64_t n, bool with_products);
  // x [N, n] with where [N, 2] int64 (sequence, position) of each row; any float dtype, CPU or device.
  void Add(const at::Tensor& x, const at::Tensor& where);
  void Merge(const Moments& other);  // ShapeError when the widths differ

  at::Tensor Variance() const;      // [n] float64, population
  at::Tensor SumOfSquares() const;  // [n] float64, about zero: ||X_j||^2
};

// One site of one block. Sink and spike tokens have values up to 10,000 times the others': kept apart, so that a scorer
// can choose whether it sees them.
struct SiteStatistics {
  Moments ordinary, outlier;
  Moments All() const;  // the two merged; products only when both have them
};

struct BlockStatistics {
  SiteStatistics head_out;    // input of w_o; width H*D
  SiteStatistics ffn_hidden;  // input of w_down; width F
  // Loss mass of each KV group and each FFN channel (gradients.h), [units] float64; undefined: not measured.
  at::Tensor kv_group_mass{}, ffn_channel_mass{};
  const SiteStatistics& At(Role consumer) const { return consumer == Role::kO ? head_out : ffn_hidden; }
  at::Tensor& LossMassOf(Role consumer) { return consumer == Role::kO ? kv_group_mass : ffn_channel_mass; }
  const at::Tensor& LossMassOf(Role consumer) const { return consumer == Role::kO ? kv_group_mass : ffn_channel_mass; }
};

struct Statistics {
  int64_t sequences = 0, length = 0;
  double outlier_ratio = 0;
  std::vector<BlockStatistics> blocks;
  int64_t gradient_tokens = 0;  // behind the loss masses

  // The other's sequences count on after these. ShapeError when the models differ.
  void Merge(const Statistics& other);
};

// Safetensors; co-moments are stored in float32 (relative rounding 6e-8, far below the ridge), all else in full.
void SaveStatistics(const Statistics& statistics, const std::filesystem::path& path);
Statistics LoadStatistics(const std::filesystem::path& path);

}  // namespace espalier
