#include "support/sweep_sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace espalier {
namespace {

constexpr double kOfAll = 106202880.0 / 134515008.0;  // block parameters of SmolLM2-135M, of all

SweepText Text(const std::string& corpus, double dense) {
  return {"perplexity-" + corpus,
          corpus,
          "gptq-2048",
          {{"preset", "gptq-2048"}, {"window", "2048"}, {"scored_tokens", "16376"}},
          dense,
          dense * 0.84375,
          dense * 1.15625};
}

// Perplexity grows with share and `weakness`; seeds are a little apart.
double Ratio(double remove, double weakness, int64_t seed) {
  return std::exp(weakness * remove * (1 + 2 * remove) * (1 + 0.03125 * static_cast<double>(seed)));
}

SweepRun Run(const SweepReport& sweep, double remove, double weakness, int64_t seed, int64_t protected_units) {
  SweepRun run;
  run.achieved = run.block_parameters = remove - 0.00048828125;
  run.total_parameters = run.bytes = run.block_parameters * kOfAll;
  run.cut = {{"kv_groups", std::llround(90 * remove * 0.5), 90}, {"ffn_channels", std::llround(46080 * remove), 46080}};
  for (const SweepText& text : sweep.texts) {
    const double ratio = Ratio(remove, weakness, seed) * (text.corpus == "c4" ? 0.9375 : 1);
    run.figures.push_back({"pruned", text.id, text.dense * ratio, ratio, ratio * 0.9375, ratio * 1.0625});
  }
  run.phenomena = {{"pruned", 0.78125 - remove / 8, 24904.0 - 512 * static_cast<double>(seed)}};
  run.protected_units = protected_units;
  run.protected_would_cut = protected_units / 2;
  run.calibrate_seconds = 384.5;
  run.plan_seconds = 2.25;
  run.prune_seconds = 7.75;
  run.peak_memory_bytes = 3700000000 + 1000000 * seed;
  return run;
}

void AddPoints(SweepReport& sweep, const std::string& variant, double remove) {
  for (const SweepText& text : sweep.texts) {
    SweepPoint point{variant, remove, "pruned", text.id, 0, 0, 0, 0, 0, 0, 0};
    double log_sum = 0;
    for (const SweepCell& cell : sweep.cells) {
      if (cell.variant != variant || cell.remove != remove || !cell.run) continue;
      const double value = cell.run->figures[text.corpus == "c4" ? 1 : 0].perplexity;
      point.lowest = point.seeds == 0 ? value : std::min(point.lowest, value);
      point.highest = std::max(point.highest, value);
      log_sum += std::log(value);
      ++point.seeds;
    }
    if (point.seeds == 0) continue;
    point.perplexity = std::exp(log_sum / static_cast<double>(point.seeds));
    point.ratio = point.perplexity / text.dense;
    point.ratio_low = point.ratio * 0.9375;
    point.ratio_high = point.ratio * 1.0625;
    sweep.points.push_back(point);
  }
}

SweepReport Fill(SweepReport sweep, const std::vector<double>& weakness) {
  sweep.budget_of = "block_parameters";
  sweep.texts = {Text("wikitext-2", 19.13), Text("c4", 31.51)};
  sweep.provenance = {{"version", "0.1.0"}, {"libtorch", "2.13.0"}, {"threads", "2"}};
  for (const int64_t seed : sweep.seeds)
    for (size_t v = 0; v < sweep.variants.size(); ++v)
      for (const double remove : sweep.remove) {
        const std::string& name = sweep.variants[v].name;
        sweep.cells.push_back({name, seed, remove, fmt::format("cells/{}-{}-{}", name, seed, remove),
                               SweepState::kFinished, "",
                               Run(sweep, remove, weakness[v], seed, static_cast<int64_t>(2 * v))});
      }
  return sweep;
}

void AddAllPoints(SweepReport& sweep) {
  for (const SweepVariant& variant : sweep.variants)
    for (const double remove : sweep.remove) AddPoints(sweep, variant.name, remove);
}

}  // namespace

SweepReport SampleSweep() {
  SweepReport sweep;
  sweep.name = "smollm2-135m-ladder";
  sweep.question = "What do published scores cost at 10 to 50 %? (invented figures)";
  sweep.remove = {0.1, 0.2, 0.3, 0.4, 0.5};
  sweep.seeds = {0, 1, 2};
  sweep.variants = {
      {"obs", {"prune.score=obs"}, "score obs; allocate global; compensate least_squares; protect spike_producers"},
      {"fisher", {"prune.score=fisher"}, "score fisher; allocate global; compensate least_squares; protect nothing"},
      {"flap",
       {"prune.score=wifv", "prune.allocate.normalize=zscore", "prune.compensate=bias"},
       "score wifv; allocate global; compensate bias; protect nothing"},
      {"wanda-sp", {"prune.score=wanda_sp"}, "score wanda_sp; allocate uniform; compensate none; protect nothing"},
      {"hidden_norm", {"prune.score=hidden_norm"}, "score hidden_norm; allocate uniform; compensate none"},
      {"random", {"prune.score=random"}, "score random; allocate uniform; compensate none; protect nothing"}};
  sweep = Fill(std::move(sweep), {1.9, 2.1, 2.9, 4.1, 4.3, 6.5});
  SweepCell& failed = sweep.cells[4];  // obs, seed 0, 50 %
  failed.state = SweepState::kFailed;
  failed.error = "recipe.yaml:25:3: prune.budget: 0.5 of block_parameters asked for, at most 0.4893 can go";
  failed.run.reset();
  sweep.cells.back().state = SweepState::kOpen;
  sweep.cells.back().run.reset();
  AddAllPoints(sweep);
  return sweep;
}

SweepReport SampleComparison() {
  SweepReport sweep;
  sweep.name = "smollm2-135m-protection";
  sweep.remove = {0.3};
  sweep.seeds = {0, 1, 2};
  for (const char* name :
       {"none", "spike_producers", "+super_weights", "+supernodes", "+no_op_sinks", "+broadcast_sinks", "+all_sinks"})
    sweep.variants.push_back({name, {fmt::format("protect={}", name)}, "score wifv; allocate global"});
  sweep = Fill(std::move(sweep), {3.2, 2.1, 2.08, 2.07, 2.05, 2.2, 2.3});
  AddAllPoints(sweep);
  return sweep;
}

}  // namespace espalier
