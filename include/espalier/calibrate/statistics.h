#pragma once
// What calibration measures: moments of the inputs of w_o and w_down over weighted tokens, and sums that single scorers
// ask for.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/model/forward.h"
#include "espalier/model/unit.h"

namespace espalier {

// What a token counts in the moments of a sublayer. Spike and sink tokens have inputs up to 10,000 times the others';
// the choice is made once, at calibration, and every scorer and compensator sees it.
enum class TokenWeighting {
  kAll,         // 1
  kNotFirst,    // 1, position 0 of every sequence 0
  kOrdinary,    // 1, spike and sink tokens (OutlierTokens in calibrate.h) 0
  kInverseRms,  // 1 / (mean(h_t^2) + epsilon), h_t the residual stream after this sublayer's addition: the square of
                // the factor by which the next RMSNorm divides what the sublayer wrote (ours)
};
std::string_view TokenWeightingName(TokenWeighting weighting);  // "inverse_rms": what recipes and files write
TokenWeighting ParseTokenWeighting(std::string_view name);      // RecipeError with the nearest names
const std::vector<std::string>& TokenWeightingNames();

// Moments of n channels over weighted tokens: of a batch in float32 about a shift near its mean, of batches in float64
// by the pairwise update of Chan, Golub and LeVeque (1979) with weights in place of counts, so that adding tokens in
// batches or merging two halves gives what one pass would, to float32 rounding of the deviations.
struct Moments {
  int64_t count = 0;         // tokens
  double weight = 0;         // their total; equals `count` when every token counts 1
  at::Tensor mean;           // [n] float64
  at::Tensor squares;        // [n] float64, weighted sum of squared deviations from the mean
  at::Tensor fourth_powers;  // [n] float64, weighted sum of x^4, about zero
  at::Tensor max;            // [n] float64, largest absolute value, whatever its weight
  at::Tensor max_at;         // [n, 2] int64, (sequence, position) of it
  // [n, n] float64, float32 once a block is calibrated: co-moment, the weighted sum of deviations' products; undefined
  // unless asked for.
  at::Tensor products;

  static Moments Empty(int64_t n, bool with_products);
  // x [N, n] with where [N, 2] int64 (sequence, position) of each row; any float dtype, CPU or device. weights [N]
  // float64, positive, CPU; undefined: every row counts 1.
  void Add(const at::Tensor& x, const at::Tensor& where, const at::Tensor& weights = {});
  void Merge(const Moments& other);  // ShapeError when the widths differ

  at::Tensor Variance() const;      // [n] float64, weighted population variance
  at::Tensor SumOfSquares() const;  // [n] float64, weighted, about zero: ||X_j||^2
  // Of a sum over the tokens, their weighted mean; the sum itself, zero, where there are none.
  at::Tensor PerToken(const at::Tensor& sum) const;
};

// One site of one block.
struct SiteStatistics {
  Moments counted;   // tokens of positive weight
  Moments left_out;  // tokens of weight 0, here with weight 1 each and without co-moments: for the ridge that keeps a
                     // refit from exploding on them (input_system.h)
};

// Named sums, [..] float64 on the CPU, unless said otherwise.
using NamedSums = std::map<std::string, at::Tensor, std::less<>>;

struct BlockStatistics {
  SiteStatistics head_out;    // input of w_o; width H*D
  SiteStatistics ffn_hidden;  // input of w_down; width F
  // By unit kind: [units], summed over gradient_tokens (gradients.h).
  NamedSums loss_mass{};
  // By consumer ("w_o", "w_down"): [C, C] float32, sum over gradient_tokens of g g^T (gradients.h).
  NamedSums gradient_products{};
  // By unit kind: [units, 3], first order, second order, mixed (weight_gradients.h). Not additive over tokens.
  NamedSums taylor{};
  // "sink_mass", "gate_score": [H], sums over tokens (attention_sums.h).
  NamedSums attention{};
  // "attention", "ffn", "block": [5], sums of cosines and angles (influence.h).
  NamedSums influence{};

  const SiteStatistics& At(Role consumer) const { return consumer == Role::kO ? head_out : ffn_hidden; }
  SiteStatistics& At(Role consumer) { return consumer == Role::kO ? head_out : ffn_hidden; }
};

struct Statistics {
  int64_t sequences = 0, length = 0;
  double outlier_ratio = 0;
  TokenWeighting tokens = TokenWeighting::kOrdinary;
  std::vector<BlockStatistics> blocks;
  int64_t gradient_tokens = 0;  // behind loss masses and gradient products

  // The other's sequences count on after these. ShapeError when the models, the windows' lengths or the weightings
  // differ. Taylor sums cannot be merged: none of the two may have any.
  void Merge(const Statistics& other);
};

// Safetensors; co-moments and gradient products are stored in float32 (relative rounding 6e-8, far below the ridge),
// all else in full. IoError when a file is none, or of an earlier version. Of a file, large tensors are read when they
// are used and are read-only (io/mapped.h): memory need not hold them all.
void SaveStatistics(const Statistics& statistics, const std::filesystem::path& path);
Statistics LoadStatistics(const std::filesystem::path& path);

}  // namespace espalier
