#pragma once
// One pass over the calibration windows, block by block. Memory holds one block, its activations and its statistics,
// whatever the model's depth and the number of windows: what grows with them is in files past a limit (scratch.h).
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string_view>

#include "espalier/calibrate/gradients.h"
#include "espalier/calibrate/scratch.h"
#include "espalier/calibrate/statistics.h"
#include "espalier/model/block_source.h"

namespace espalier {

class Comm;

struct CalibrateOptions {
  TokenWeighting tokens = TokenWeighting::kOrdinary;
  double outlier_ratio = 64;           // PrefixQuant's rule (arXiv 2410.05265): token-wise max |h| over its median
  bool products = false;               // also co-moments, for least squares
  bool attention = false;              // also sink mass and gate scores of heads
  bool influence = false;              // also cosines of what goes into sublayers and blocks and what comes out
  bool gradients = false;              // also loss masses
  bool gradient_products = false;      // also products of output gradients
  bool weight_gradients = false;       // also Taylor sums
  int64_t gradient_tokens = 12288;     // of the last three: whole windows
  at::ScalarType matmul = at::kFloat;  // what the passes' matrix products round their factors to; sums stay exact
  TargetRule targets{};                // of loss masses and gradient products; Taylor sums are of the text's own loss
  int64_t batch = 8;                   // windows at a time
  int64_t memory = Scratch::kMemory;   // bytes each of hidden states, of block inputs and of co-moments; the rest is in
  std::filesystem::path scratch{};     // files in this folder, bitwise the same
};

// The words by which components ask for statistics (ComponentInfo::needs), and what they switch on. "moments" are
// always measured.
struct StatisticsNeed {
  std::string_view name;
  bool CalibrateOptions::*option;  // null: nothing to switch on
};
inline constexpr StatisticsNeed kStatisticsNeeds[] = {
    {"moments", nullptr},
    {"products", &CalibrateOptions::products},
    {"attention", &CalibrateOptions::attention},
    {"influence", &CalibrateOptions::influence},
    {"gradients", &CalibrateOptions::gradients},
    {"gradient_products", &CalibrateOptions::gradient_products},
    {"weight_gradients", &CalibrateOptions::weight_gradients},
};

// windows [S, T] int64. NumericError when an activation is not finite, naming block and site. A streamed model is read
// once for the moments, once more for the gradients of activations and twice for those of weights, with bitwise the
// same statistics.
Statistics Calibrate(const BlockSource& source, const at::Tensor& windows, const CalibrateOptions& options);

// The part of it that this rank of `comm` measures: parts merged in the order of ranks are the statistics of all
// windows, but for rounding. Taylor sums cannot be merged: RecipeError when they are asked for of more than one rank.
Statistics CalibrateShare(const BlockSource& source, const at::Tensor& windows, const CalibrateOptions& options,
                          const Comm& comm);

// NumericError naming block and site when a value is not finite.
void CheckFinite(const at::Tensor& values, int64_t block, Site site);

// Which tokens of a batch are outliers in a block: position 0 (nothing before it to attend to: the sink), and tokens
// whose largest |h| exceeds `ratio` times the median over its window's tokens, before or after the block. A window's
// outliers depend on no other window. input, output [B, T, C] -> [B, T] bool.
at::Tensor OutlierTokens(const at::Tensor& input, const at::Tensor& output, double ratio);

// What each token of a batch counts. outlier [B, T] bool, residual [B, T, C] after the sublayer's addition ->
// [B, T] float64 on the CPU.
at::Tensor TokenWeights(TokenWeighting weighting, const at::Tensor& outlier, const at::Tensor& residual,
                        double norm_epsilon);

// Adds a batch of a consumer's inputs [B, T, n] to its moments. weights [B, T] float64, as TokenWeights gives them.
void AddTokens(SiteStatistics& site, const at::Tensor& value, const at::Tensor& weights, int64_t first_window);

// Drives `windows` through the model one block at a time: for each block, for each batch, `visit` gets the block's
// number, the index of the batch's first window, and the taps it asked for.
class BlockTaps : public Observer {
 public:
  explicit BlockTaps(std::vector<Site> sites) : sites_(std::move(sites)) {}
  bool Wants(int64_t block, Site site) const override;
  void Observe(int64_t block, Site site, const at::Tensor& value) override;
  const at::Tensor& At(Site site) const;  // undefined when the block has no such sublayer
  void Clear() { values_.clear(); }

 private:
  std::vector<Site> sites_;
  std::map<Site, at::Tensor> values_;
};
using VisitBlock = std::function<void(int64_t block, int64_t first_window, const BlockTaps& taps)>;
void StreamBlocks(const BlockSource& source, const at::Tensor& windows, int64_t batch, const std::vector<Site>& sites,
                  const std::string& title, const VisitBlock& visit, const Scratch& scratch = Scratch());

}  // namespace espalier
