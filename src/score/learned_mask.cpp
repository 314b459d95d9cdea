// Masks learned by gradient descent on the loss, all units of all kinds together, under the exact budget: in the spirit
// of GRASPrune and DISP-LLM (Gao et al. 2024, arXiv 2410.11988), with the weights frozen. Unit u has a logit s_u and
// the soft mask
//   m_u = sigmoid((s_u - theta) / tau),   theta such that sum_u cost_u m_u is what the budget leaves,
// so the projection onto the budget is exact at every step. The step follows the gradient within the budget,
//   ds_u = (dL/dm_u - lambda cost_u) m_u (1 - m_u) / tau,   lambda such that the budget stays to first order,
// by Adam, while tau falls from 1 to 0.1. The score is s_u. It starts from the logarithm of the loss mass for what the
// unit costs, standardised.
// Statistics: gradients, for the start; and calibration windows. Cost: each step a forward and a backward pass over
// `batch` windows with recomputation; nothing else here is as dear. Memory: block inputs of one batch.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "espalier/calibrate/gradients.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/consumer.h"
#include "espalier/model/forward.h"
#include "espalier/score/scorer.h"

namespace espalier {
namespace {

using at::Tensor;

struct MaskOptions {
  int64_t steps, batch;
  double rate;
};

// The units of one kind in one block: `count` from `first` on in the flat list of all.
struct Part {
  int64_t block, first, count;
  UnitKind kind;
  Role consumer;
  Tensor unit_of_column;  // [n] int64, of the consumer's input
};

// Multiplies the inputs of consumers by a factor for each column: leaves of BackwardBlock.
class ColumnMasks final : public Edit {
 public:
  explicit ColumnMasks(int64_t L) : masks_(static_cast<size_t>(L)) {}
  Tensor Replace(int64_t block, Site site, const Tensor& value) override {
    if (block >= std::ssize(masks_)) return value;
    const auto& of_block = masks_[static_cast<size_t>(block)];
    const auto found = of_block.find(site);
    return found == of_block.end() ? value : value * found->second;
  }
  std::map<Site, Tensor>& At(int64_t block) { return masks_[static_cast<size_t>(block)]; }

 private:
  std::vector<std::map<Site, Tensor>> masks_;
};

Tensor UnitOfColumn(const UnitSpace& space, Role consumer, int64_t width) {
  Tensor unit_of = at::zeros({width}, at::kLong);
  for (int64_t unit = 0; unit < space.size(); ++unit)
    for (const int64_t column : space.ConsumerColumns(consumer, unit)) unit_of[column].fill_(unit);
  return unit_of;
}

class MaskTraining {
 public:
  // Whether a budget is within reach is the planner's question; here at least so much of the units is left.
  static constexpr double kLeast = 0.05;

  MaskTraining(const ScoreInput& input, const MaskOptions& options)
      : options_(options),
        dense_(input.model),
        windows_(input.windows),
        kinds_(KindsOf(input)),
        masks_(std::make_shared<ColumnMasks>(input.model.config.L())) {
    std::vector<double> cost, mass;
    for (const UnitKind kind : kinds_)
      for (int64_t l = 0; l < dense_.config.L(); ++l) AddPart(input, l, kind, cost, mass);
    cost_ = at::tensor(cost, at::kDouble);
    const double all = cost_.sum().item<double>();
    left_ = std::max(all - input.remove * static_cast<double>(CountBlockParameters(dense_)), kLeast * all);
    logit_ = (at::tensor(mass, at::kDouble) / cost_).clamp_min(1e-30).log();
    if (!logit_.isfinite().all().item<bool>()) return;  // CheckedScore names the unit
    logit_ = (logit_ - logit_.mean()) / logit_.std().clamp_min(1e-12);
    Train();
  }

  bool IsOf(const ScoreInput& input) const {
    return windows_.is_same(input.windows) && SameTensors(dense_, input.model) && kinds_ == KindsOf(input);
  }

  Tensor Score(int64_t block, UnitKind kind) const {
    for (const Part& part : parts_)
      if (part.block == block && part.kind == kind) return Units(part, logit_).unsqueeze(1).clone();
    return at::empty({0, 1}, at::kDouble);
  }

 private:
  static std::vector<UnitKind> KindsOf(const ScoreInput& input) {
    return input.kinds != nullptr ? *input.kinds : std::vector<UnitKind>{input.kind};
  }

  void AddPart(const ScoreInput& input, int64_t l, UnitKind kind, std::vector<double>& cost,
               std::vector<double>& mass) {
    const UnitSpace space(dense_, l, kind);
    if (space.size() == 0) return;
    const Tensor& known = SumsFor({.model = dense_, .block = l, .kind = kind, .statistics = input.statistics},
                                  "learned_mask", &BlockStatistics::loss_mass);
    const Role consumer = space.consumer();
    const int64_t width = dense_.blocks[static_cast<size_t>(l)].At(consumer).weight.size(1);
    parts_.push_back({l, std::ssize(cost), space.size(), kind, consumer, UnitOfColumn(space, consumer, width)});
    for (int64_t unit = 0; unit < space.size(); ++unit) {
      cost.push_back(static_cast<double>(space.Cost(unit).parameters));
      mass.push_back(known[unit].item<double>());
    }
  }

  static Tensor Units(const Part& part, const Tensor& all) { return all.narrow(0, part.first, part.count); }

  // Soft masks that spend exactly the budget: theta by bisection.
  Tensor Soft(double tau) const {
    double low = logit_.min().item<double>() - 50 * tau, high = logit_.max().item<double>() + 50 * tau;
    constexpr int kHalvings = 60;
    for (int i = 0; i < kHalvings; ++i) {
      const double theta = (low + high) / 2;
      ((cost_ * ((logit_ - theta) / tau).sigmoid()).sum().item<double>() > left_ ? low : high) = theta;
    }
    return ((logit_ - low) / tau).sigmoid();
  }

  // Each part's factors on the columns of its consumer; columns of several kinds carry the product.
  void SetMasks(const Tensor& soft) {
    for (int64_t l = 0; l < dense_.config.L(); ++l) masks_->At(l).clear();
    for (const Part& part : parts_) {
      Tensor& mask = masks_->At(part.block)[InputSite(part.consumer)];
      const Tensor columns = OnModel(Units(part, soft).index_select(0, part.unit_of_column));
      mask = mask.defined() ? mask * columns : columns;
    }
  }

  Tensor OnModel(const Tensor& x) const { return x.to(dense_.device(), dense_.dtype()); }

  // dL/dm of every unit, of the mean loss on one batch [B, T].
  Tensor Gradient(const Tensor& ids, const Tensor& soft) {
    Model model = dense_;
    model.edit = masks_;
    const at::NoGradGuard no_grad;
    const Rope rope = MakeRope(model.config, ids.size(1), model.device(), model.dtype());
    ForwardPass pass = RunForward(model, ids, ids.size(0), Scratch());
    Tensor gradient = GradientOf(pass, model, ids, ids.size(0)) / static_cast<double>(ids.size(0) * (ids.size(1) - 1));
    Tensor of_units = at::zeros_like(soft);
    for (int64_t l = model.config.L() - 1; l >= 0; --l) {
      std::vector<Tensor> leaves;
      for (auto& [site, mask] : masks_->At(l)) leaves.push_back(mask = mask.detach().requires_grad_(true));
      const BlockGradients back = BackwardBlock(model, l, pass.inputs[l], gradient, rope, {}, leaves);
      gradient = back.input;
      size_t next = 0;
      for (auto& [site, mask] : masks_->At(l)) {
        AddToUnits(l, site, back.leaves[next++].to(at::kDouble).cpu(), mask.detach().to(at::kDouble).cpu(), soft,
                   of_units);
        mask = mask.detach();
      }
    }
    return of_units;
  }

  // From factors on columns to the units that make them: the other kinds' factors on the same column count.
  void AddToUnits(int64_t l, Site site, const Tensor& slope, const Tensor& mask, const Tensor& soft,
                  Tensor& of_units) const {
    for (const Part& part : parts_) {
      if (part.block != l || InputSite(part.consumer) != site) continue;
      const Tensor own = Units(part, soft).index_select(0, part.unit_of_column);
      Units(part, of_units).index_add_(0, part.unit_of_column, slope * mask / own.clamp_min(1e-12));
    }
  }

  void Train() {
    constexpr double kFirst = 1, kLast = 0.1, kBeta1 = 0.9, kBeta2 = 0.99;
    const int64_t size = std::min(options_.batch, windows_.size(0)), batches = windows_.size(0) / size;
    Tensor mean = at::zeros_like(logit_), square = at::zeros_like(logit_);
    Progress progress("learned masks", options_.steps);
    for (int64_t step = 0; step < options_.steps; ++step) {
      const double tau =
          kFirst * std::pow(kLast / kFirst, static_cast<double>(step) / std::max<double>(1, options_.steps - 1));
      const Tensor soft = Soft(tau);
      SetMasks(soft);
      const Tensor ids = windows_.narrow(0, step % batches * size, size).to(dense_.device());
      const Tensor slope = Gradient(ids, soft);
      const Tensor width = soft * (1 - soft) / tau;
      const double lambda = ((slope * width).sum() / (cost_ * width).sum().clamp_min(1e-30)).item<double>();
      const Tensor descent = (slope - lambda * cost_) * width;
      if (!std::isfinite(descent.sum().item<double>()))
        throw NumericError(fmt::format("learned_mask: step {}: a gradient is not finite; use dtype float32", step));
      mean.mul_(kBeta1).add_(descent, 1 - kBeta1);
      square.mul_(kBeta2).addcmul_(descent, descent, 1 - kBeta2);
      const double t = static_cast<double>(step + 1);
      logit_ -=
          options_.rate * (mean / (1 - std::pow(kBeta1, t))) / ((square / (1 - std::pow(kBeta2, t))).sqrt() + 1e-12);
      progress.Step();
    }
  }

  MaskOptions options_;
  Model dense_;
  Tensor windows_;
  std::vector<UnitKind> kinds_;
  std::shared_ptr<ColumnMasks> masks_;
  std::vector<Part> parts_;
  Tensor cost_, logit_;  // [units of all kinds] float64
  double left_ = 0;
};

class LearnedMask final : public Scorer {
 public:
  explicit LearnedMask(const MaskOptions& options) : options_(options) {}

  bool Scores(UnitKind kind) const override { return Consumers(kind).size() == 1; }
  bool TrainsTowardsTheBudget() const override { return true; }

  Tensor Score(const ScoreInput& input) const override {
    ESPALIER_CHECK(input.windows.defined(), "learned_mask needs windows");
    if (!training_ || !training_->IsOf(input)) training_.emplace(input, options_);
    return training_->Score(input.block, input.kind);
  }

 private:
  MaskOptions options_;
  mutable std::optional<MaskTraining> training_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"learned_mask",
     "Masks of all units trained together on the loss, weights frozen, under the exact budget",
     "DISP-LLM, arXiv 2410.11988; the projection is ours",
     {"gradients", "windows"},
     {IntOption("steps", 64, "Steps of descent").Between(1, 100000),
      IntOption("batch", 4, "Calibration windows a step").AtLeast(1),
      RealOption("rate", 0.1, "Rate of Adam, in standard deviations of the first scores").AtLeast(1e-6)}},
    [](const Options& options) -> std::unique_ptr<Scorer> {
      return std::make_unique<LearnedMask>(
          MaskOptions{options.Int("steps"), options.Int("batch"), options.Real("rate")});
    });

}  // namespace
}  // namespace espalier
