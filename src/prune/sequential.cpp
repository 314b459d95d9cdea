#include "espalier/prune/sequential.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/consumer.h"
#include "espalier/model/precision.h"
#include "refit.h"

namespace espalier {
namespace {

using at::Tensor;

// A sublayer in the order of the pass: the attention of block 0, its FFN, the attention of block 1, ...
struct Place {
  int64_t block = 0;
  Role consumer = Role::kO;
  size_t Index() const { return static_cast<size_t>(block); }
  Place Next() const { return consumer == Role::kO ? Place{block, Role::kDown} : Place{block + 1, Role::kO}; }
};

// Weighted moments of a consumer's inputs, and of its target's shift with them.
class Gathered {
 public:
  void Add(const Tensor& input, const Tensor& shift, const Tensor& weights, int64_t first_window) {
    if (!data_.inputs.counted.mean.defined()) Start(input.size(2), shift);
    AddTokens(data_.inputs, input, weights, first_window);
    if (!shift.defined()) return;
    const Tensor w = weights.flatten().to(at::kFloat).unsqueeze(1);  // [N, 1]
    const Tensor x = input.flatten(0, 1).to(at::kFloat), e = shift.flatten(0, 1).to(at::kFloat) * w;
    raw_ += x.t().matmul(e).to(at::kDouble).cpu();
    sum_ += e.sum(0, /*keepdim=*/false, at::kDouble).cpu();
  }

  bool empty() const { return !data_.inputs.counted.mean.defined(); }

  // The shift's co-moment is taken about the means only here, when they are known.
  RefitData Take() const {
    RefitData data = data_;
    if (!raw_.defined()) return data;
    const Moments& inputs = data.inputs.counted;
    const Tensor mean = sum_ / std::max(inputs.weight, 1e-300);
    data.shift = TargetShift{mean, raw_ - at::outer(inputs.mean, sum_)};
    return data;
  }

 private:
  void Start(int64_t n, const Tensor& shift) {
    data_.inputs = {Moments::Empty(n, true), Moments::Empty(n, false)};
    if (!shift.defined()) return;
    raw_ = at::zeros({n, shift.size(2)}, at::kDouble);
    sum_ = at::zeros({shift.size(2)}, at::kDouble);
  }

  RefitData data_;
  Tensor raw_, sum_;  // [n, C], [C] float64: weighted sums, about zero
};

class Walk {
 public:
  Walk(const Model& model, const Plan& plan, const SequentialData& data, const Compensator& compensator, Model& cut)
      : model_(model),
        data_(data),
        options_(*compensator.Sequential()),
        ledger_(LedgerOf(model, plan)),
        context_{model, ledger_, compensator, cut},
        cut_(cut),
        adds_output_(model.config.norm_placement == NormPlacement::kPre),
        rope_(MakeRope(model.config, data.windows.size(1), model.device(), model.dtype())),
        hidden_(Embed(model, data.windows.to(model.device()))),
        held_out_from_(data.windows.size(0) -
                       static_cast<int64_t>(options_.held_out * static_cast<double>(data.windows.size(0)))) {
    if (options_.feedback > 0 && !adds_output_)
      throw RecipeError(
          "prune.compensate.feedback: this family has a norm between w_o, w_down and the residual stream, so that an "
          "error of the stream is no target for them; use feedback: 0");
    if (options_.feedback > 0) reference_ = hidden_.clone();
  }

  void Run() {
    Progress progress("compensate", 2 * model_.config.L());
    for (Place at; at.block < model_.config.L(); at = at.Next()) {
      if (ToRefit(at)) Refit(at);
      Advance(at);
      progress.Step(1, fmt::format("block {}", at.block));
    }
  }

 private:
  int64_t S() const { return hidden_.size(0); }

  bool Present(const Model& model, const Place& at) const {
    const BlockConfig& sizes = model.config.blocks[static_cast<size_t>(at.block)];
    return at.consumer == Role::kO ? sizes.HasAttention() : sizes.HasFeedForward();
  }
  // Cut away whole, with a predecessor that takes its part over: one with nothing but what is cut away in between. Past
  // a place that was empty before, nobody looks.
  bool Folded(const Place& at) const {
    if (!adds_output_ || !Gone(at)) return false;
    bool taker = false;
    for (Place before; before.block != at.block || before.consumer != at.consumer; before = before.Next())
      taker = Present(cut_, before) || (taker && Gone(before));
    return taker;
  }
  bool Gone(const Place& at) const { return at.block < model_.config.L() && Present(model_, at) && !Present(cut_, at); }

  bool ToRefit(const Place& at) const {
    if (!Present(model_, at) || Folded(at)) return false;
    return LosesInputs(context_, at.block, at.consumer) || (adds_output_ && Gone(at.Next()));
  }

  Tensor RunSublayer(const Model& model, const Place& at, const Tensor& h, Observer* observer) const {
    const ProductsIn rounded(model_.device(), data_.matmul);
    return at.consumer == Role::kO ? RunAttention(model, at.block, h, rope_, observer)
                                   : RunFeedForward(model, at.block, h, observer);
  }

  // What the target asks beyond the dense output [B, T, C]; undefined: nothing.
  Tensor Shift(const Place& at, int64_t first, const Tensor& h, const Tensor& dense_output) const {
    Tensor shift;
    if (options_.feedback > 0) shift = (reference_.narrow(0, first, h.size(0)) - h) * options_.feedback;
    Tensor ahead = dense_output;
    for (Place next = at.Next(); adds_output_ && Gone(next); next = next.Next())
      ahead = RunSublayer(model_, next, ahead, nullptr);
    if (ahead.is_same(dense_output)) return shift;
    return shift.defined() ? shift + (ahead - dense_output) : ahead - dense_output;
  }

  void Refit(const Place& at) {
    Gathered fit, held_out;
    BlockTaps taps({InputSite(at.consumer)});
    for (int64_t first = 0; first < S();) {
      const int64_t limit = first < held_out_from_ ? held_out_from_ : S();
      const int64_t B = std::min(data_.batch, limit - first);
      const Tensor h = hidden_.narrow(0, first, B);
      taps.Clear();
      const Tensor output = RunSublayer(model_, at, h, &taps);
      const Tensor outlier = OutlierTokens(h, output, data_.outlier_ratio);
      const Tensor weights = TokenWeights(data_.tokens, outlier, output, model_.config.norm_epsilon);
      (first < held_out_from_ ? fit : held_out)
          .Add(taps.At(InputSite(at.consumer)), Shift(at, first, h, output), weights, first);
      first += B;
    }
    RefitData data = fit.Take();
    if (!held_out.empty()) data.held_out = std::make_shared<RefitData>(held_out.Take());
    Write(at, FitConsumer(context_, at.block, at.consumer, data));
  }

  // A consumer that lost nothing and has no bias gets none: its place is the constant that the next sublayer, which is
  // gone, leaves. All that is gone right after leaves one, as the plan counts it.
  void Write(const Place& at, Repair repair) {
    Tensor constant = at::zeros_like(repair.bias);
    if (!LosesInputs(context_, at.block, at.consumer) && !model_.blocks[at.Index()].At(at.consumer).bias.defined())
      std::swap(constant, repair.bias), repair.bias = Tensor();
    WriteRepair(context_, at.block, at.consumer, repair);
    for (Place next = at.Next(); adds_output_ && Gone(next); next = next.Next()) {
      WriteRepair(context_, next.block, next.consumer, {at::empty({constant.size(0), 0}, at::kDouble), constant});
      constant = at::zeros_like(constant);
    }
  }

  void Advance(const Place& at) {
    for (int64_t first = 0; first < S(); first += data_.batch) {
      const int64_t B = std::min(data_.batch, S() - first);
      const Tensor h = hidden_.narrow(0, first, B);
      h.copy_(RunSublayer(cut_, at, h, nullptr));
      if (!reference_.defined()) continue;
      const Tensor r = reference_.narrow(0, first, B);
      r.copy_(RunSublayer(model_, at, r, nullptr));
    }
  }

  const Model& model_;
  const SequentialData& data_;
  SequentialOptions options_;
  Ledger ledger_;
  RefitContext context_;
  Model& cut_;
  bool adds_output_;  // w_o and w_down write to the residual stream as they are
  Rope rope_;
  Tensor hidden_, reference_;  // [S, T, C], before the sublayer at hand: pruned path, dense path
  int64_t held_out_from_;
};

}  // namespace

void CompensateSequentially(const Model& model, const Plan& plan, const SequentialData& data,
                            const Compensator& compensator, Model& cut) {
  if (cut.config.C != model.config.C)
    throw RecipeError(
        "prune.compensate.inputs: pruned needs a residual stream of the dense width, and the plan cuts residual "
        "channels; use inputs: dense, or leave residual_channel out of prune.units");
  const at::NoGradGuard no_grad;
  Walk(model, plan, data, compensator, cut).Run();
  CheckShapes(cut);
}

}  // namespace espalier
