#include "espalier/plan/timing.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "espalier/core/log.h"
#include "espalier/model/forward.h"
#include "espalier/model/model.h"
#include "espalier/plan/cost.h"

namespace espalier {
namespace {

using at::Tensor;

// `run` gives a tensor; reading one of its values waits for devices that work on their own.
double MedianSeconds(const std::function<Tensor()>& run) {
  constexpr int kWarm = 2, kRepeats = 9;
  std::vector<double> seconds;
  for (int i = 0; i < kWarm + kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run().view({-1})[0].item<double>();
    if (i >= kWarm) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRepeats / 2, seconds.end());
  return seconds[kRepeats / 2];
}

// The block with the most multiply-accumulates of one sublayer; -1 when no block has it.
int64_t Widest(const Model& model, int64_t Macs::*of) {
  int64_t widest = -1, most = 0;
  for (int64_t l = 0; l < model.config.L(); ++l) {
    const int64_t macs = MacsOf(model.blocks[static_cast<size_t>(l)]).*of;
    if (macs > most) widest = l, most = macs;
  }
  return widest;
}

void KeepRows(Linear& linear, int64_t rows) {
  if (!linear.defined()) return;
  linear.weight = linear.weight.narrow(0, 0, rows).contiguous();
  if (linear.bias.defined()) linear.bias = linear.bias.narrow(0, 0, rows).contiguous();
}

void KeepColumns(Linear& linear, int64_t columns) {
  linear.weight = linear.weight.narrow(1, 0, columns).contiguous();
}

// The first half of the FFN's channels. The copy shares all else.
Model HalfFfn(const Model& model, int64_t l) {
  Model half = model;
  BlockConfig& sizes = half.config.blocks[static_cast<size_t>(l)];
  FeedForward& ffn = half.blocks[static_cast<size_t>(l)].ffn;
  sizes.F = std::max<int64_t>(1, sizes.F / 2);
  KeepRows(ffn.w_gate, sizes.F);
  KeepRows(ffn.w_up, sizes.F);
  KeepColumns(ffn.w_down, sizes.F);
  return half;
}

// Picoseconds of one multiply-accumulate for one token.
double PerMac(double seconds, int64_t macs) {
  constexpr double kPicoseconds = 1e12;
  return kPicoseconds * seconds / static_cast<double>(macs * kTimedTokens);
}

double FfnTiming(const Model& model, const Tensor& h) {
  const int64_t l = Widest(model, &Macs::ffn);
  if (l < 0) return 0;
  const Model half = HalfFfn(model, l);
  const auto macs = [&](const Model& of) { return MacsOf(of.blocks[static_cast<size_t>(l)]).ffn; };
  const auto seconds = [&](const Model& of) { return MedianSeconds([&] { return RunFeedForward(of, l, h); }); };
  const double whole = seconds(model), slope = PerMac(whole - seconds(half), macs(model) - macs(half));
  // Noise can turn a slope of two measured times around; the average is its upper bound.
  const double average = PerMac(whole, macs(model));
  return slope > 0 ? std::min(slope, average) : average;
}

// Heads are many small products: time goes with their number, and no half is needed.
double AttentionTiming(const Model& model, const Tensor& h) {
  const int64_t l = Widest(model, &Macs::attention);
  if (l < 0) return 0;
  const Rope rope = MakeRope(model.config, kTimedTokens, model.device(), model.dtype());
  return PerMac(MedianSeconds([&] { return RunAttention(model, l, h, rope); }),
                MacsOf(model.blocks[static_cast<size_t>(l)]).attention);
}

double HeadTiming(const Model& model, const Tensor& h) {
  return PerMac(MedianSeconds([&] { return at::linear(h, model.Head()); }), model.Head().numel());
}

}  // namespace

Timing MeasureTiming(const Model& model) {
  const at::NoGradGuard no_grad;
  const Tensor h = at::ones({1, kTimedTokens, model.config.C}, model.embedding.options());
  const Timing timing{AttentionTiming(model, h), FfnTiming(model, h), HeadTiming(model, h)};
  LogInfo("time of a multiply-accumulate: attention {:.2f} ps, FFN {:.2f} ps, head {:.2f} ps", timing.attention,
          timing.ffn, timing.head);
  return timing;
}

}  // namespace espalier
