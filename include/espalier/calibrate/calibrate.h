#pragma once
// One pass over the calibration windows, block by block: memory holds one block's activations, whatever the model's
// depth.
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>

#include "espalier/calibrate/statistics.h"
#include "espalier/model/model.h"

namespace espalier {

struct CalibrateOptions {
  bool products = false;      // also co-moments, for least squares
  double outlier_ratio = 64;  // PrefixQuant's rule (arXiv 2410.05265): token-wise max |h| over its median across tokens
  int64_t gradient_tokens = 0;  // loss masses over this many of them, whole windows; 0: none
  int64_t batch = 8;            // windows at a time
};

// windows [S, T] int64. NumericError when an activation is not finite, naming block and site.
Statistics Calibrate(const Model& model, const at::Tensor& windows, const CalibrateOptions& options);

// NumericError naming block and site when a value is not finite.
void CheckFinite(const at::Tensor& values, int64_t block, Site site);

// Which tokens of a batch are outliers in a block: position 0 (nothing before it to attend to: the sink), and tokens
// whose largest |h| exceeds `ratio` times the median over its window's tokens, before or after the block. A window's
// outliers depend on no other window. input, output [B, T, C] -> [B, T] bool.
at::Tensor OutlierTokens(const at::Tensor& input, const at::Tensor& output, double ratio);

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
void StreamBlocks(const Model& model, const at::Tensor& windows, int64_t batch, const std::vector<Site>& sites,
                  const std::string& title, const VisitBlock& visit);

}  // namespace espalier
