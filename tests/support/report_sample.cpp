#include "support/report_sample.h"

#include <fmt/format.h>

#include <tuple>

#include "espalier/core/random.h"
#include "support/phenomena_sample.h"

namespace espalier {
namespace {

constexpr int64_t kBlocks = 30, kGroups = 3, kChannels = 1536;
constexpr int64_t kGroupParameters = 294912, kChannelParameters = 1728;  // ((2 * 3 + 2) * 64 * 576), 3 * 576
constexpr int64_t kBlockParameters = 106202880, kParameters = 134515008;

// FFN channels cut from each block, and blocks that lose a KV group.
constexpr int64_t kCut[kBlocks] = {1,   96,  188, 402, 640, 811, 742, 690, 655, 583,  492, 88,  517, 604, 688,
                                   731, 802, 845, 872, 760, 804, 866, 787, 670, 1185, 640, 512, 231, 0,   0};
constexpr int64_t kLost[][2] = {{3, 1}, {4, 0}, {6, 2}, {9, 0}, {13, 1}, {13, 2}, {19, 0}, {21, 1}, {22, 2}};

// What stays when `cut` channels go in runs spread over the block; protected channels are never in a run.
std::vector<int64_t> Kept(int64_t block, int64_t cut) {
  constexpr int64_t kRuns = 6, kPitch = kChannels / kRuns;
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < kChannels; ++i) {
    const int64_t run = i / kPitch, in_run = i % kPitch, length = cut / kRuns + (run < cut % kRuns ? 1 : 0);
    const int64_t start =
        3 + static_cast<int64_t>(RandomBelow(static_cast<uint64_t>(kPitch - length) / 4 + 1, 5,
                                             static_cast<uint64_t>(block), static_cast<uint64_t>(run)));
    if (in_run < start || in_run >= start + length) kept.push_back(i);
  }
  return kept;
}

Plan SamplePlan() {
  Plan plan;
  plan.model_sha256 = "5b6c1c1f0e0d7a4c9c1d5a2b3e4f50617283940516273849a0b1c2d3e4f50617";
  plan.scorer = "fisher_mass";
  plan.allocator = "global";
  plan.budget_of = "block_parameters";
  plan.requested_share = 0.3;
  int64_t removed = 0, groups = 0;
  for (int64_t block = 0; block < kBlocks; ++block) {
    plan.blocks.push_back(
        {{{UnitKind::kKvGroup, {kGroups, {0, 1, 2}}}, {UnitKind::kFfnChannel, {kChannels, Kept(block, kCut[block])}}}});
    removed += kChannelParameters * kCut[block];
  }
  for (const auto& [block, group] : kLost) {
    std::erase(plan.blocks[static_cast<size_t>(block)].At(UnitKind::kKvGroup).kept, group);
    removed += kGroupParameters;
    ++groups;
  }
  plan.dense = {kBlockParameters, kParameters, 4 * kParameters, kBlocks * kGroups * 2 * 64 * 4, 134479872};
  plan.pruned = {kBlockParameters - removed, kParameters - removed, 4 * (kParameters - removed),
                 (kBlocks * kGroups - groups) * 2 * 64 * 4, 134479872 - removed};
  plan.achieved_share = static_cast<double>(removed) / kBlockParameters;
  plan.protected_units = {
      {{2, UnitKind::kFfnChannel, 90},
       "spike_producers",
       "raises channel 507 by 578 at position 0 and delimiters",
       1,
       false},
      {{11, UnitKind::kFfnChannel, 1229}, "spike_producers", "raises channel 507 by 21,024 at position 0", 1, false},
      {{11, UnitKind::kFfnChannel, 1487}, "spike_producers", "raises channel 507 by 3,190 at position 0", 2, false},
      {{24, UnitKind::kKvGroup, 2},
       "keep",
       "asked for by the recipe; its output norm is 8 times its neighbours'",
       3,
       true}};
  return plan;
}

// A metric pair for one corpus: perplexity, and its ratio to dense for all but the dense model.
Results Perplexity(const std::string& model, const std::string& corpus, double value, double low, double high,
                   double ratio) {
  Results results = {"perplexity-" + corpus,
                     "perplexity",
                     model,
                     {{"preset", "gptq-1024"},
                      {"window", "1024"},
                      {"stride", "1024"},
                      {"bos", "none"},
                      {"corpus", corpus},
                      {"tokens", "6138"},
                      {"dtype", "float32"},
                      {"attention", "math"},
                      {"interval", "moving-block bootstrap, block 512, 2,000 resamples"}},
                     {{"perplexity", value, "", 6138, low, high, ""}}};
  if (model != "dense")
    results.metrics.push_back({"perplexity_ratio", ratio, "", 6138, ratio * 0.9609375, ratio * 1.04296875, "dense"});
  return results;
}

Results Speed(const std::string& model, double prefill, double decode) {
  return {"speed",
          "speed",
          model,
          {{"batch", "1"}, {"prefill", "1024"}, {"decode", "64"}, {"threads", "2"}},
          {{"prefill_tokens_per_second", prefill, "tokens/s", 5, prefill * 0.984375, prefill * 1.015625, ""},
           {"decode_tokens_per_second", decode, "tokens/s", 5, decode * 0.984375, decode * 1.015625, ""}}};
}

// A curve whose end rises with `late`, and a grid in which `found` of the long texts give their key.
std::vector<Results> LongContext(const std::string& model, double late, double found) {
  Results positions{"positions-wikitext-2", "positions", model, {{"window", "1024"}, {"windows", "8"}}, {}, {}};
  Grid curve{"perplexity_by_position",   "", "position", "", {"1-31", "32-255", "256-1023"},
             {"perplexity_by_position"}, {}, ""};
  for (const double value : {96.0, 40.0, 24.0 * late})
    curve.values.push_back({{value, 1000, value * 0.9375, value * 1.0625}});
  positions.grids.push_back(std::move(curve));
  Results passkey{"passkey", "passkey", model, {{"lengths", "512, 1024"}, {"depths", "0, 100"}}, {}, {}};
  Grid grid{"accuracy", "", "length", "depth (%)", {"512", "1024"}, {"0", "100"}, {}, ""};
  grid.values = {{{1, 8, 0.67578125, 1.0}, {1, 8, 0.67578125, 1.0}}, {{found, 8, {}, {}}, {found / 2, 8, {}, {}}}};
  passkey.grids.push_back(std::move(grid));
  return {positions, passkey};
}

// From 4.08 nats down to about 3.82, with noise.
HealingCurve SampleHealing() {
  HealingCurve curve;
  const auto loss = [](int64_t step) { return 3.78 + 0.3 / (1 + static_cast<double>(step) / 12); };
  for (int64_t step = 0; step < 100; ++step) {
    curve.tokens.push_back(2048 * step);
    curve.loss.push_back(loss(step) + 0.25 * (RandomUnit(9, 0, static_cast<uint64_t>(step)) - 0.5));
    if (step % 25 != 0) continue;
    curve.validation_tokens.push_back(2048 * step);
    curve.validation_loss.push_back(loss(step) + 0.015625);
  }
  curve.validation_tokens.push_back(204800);
  curve.validation_loss.push_back(loss(100) + 0.015625);
  return curve;
}

ModelSummary Summary(const std::string& name, const Cost& cost) {
  return {name, cost.total_parameters, cost.block_parameters, cost.bytes, cost.bytes + 31808};
}

}  // namespace

ReportInput SampleReport() {
  ReportInput input;
  input.recipe_name = "smollm2-30";
  input.question = "What does SmolLM2-135M lose when 30 % of its blocks go?";
  input.plan = SamplePlan();
  input.models = {Summary("dense", input.plan->dense), Summary("pruned", input.plan->pruned),
                  Summary("healed", input.plan->pruned)};
  input.results = {Perplexity("dense", "wikitext-2", 27.03, 25.84, 28.29, 1),
                   Perplexity("dense", "c4", 32.92, 31.02, 34.95, 1),
                   Speed("dense", 602, 47.2),
                   Perplexity("pruned", "wikitext-2", 60.4, 57.15, 63.86, 2.2345),
                   Perplexity("pruned", "c4", 59.4, 55.9, 63.2, 1.8044),
                   Speed("pruned", 663, 59.9),
                   Perplexity("healed", "wikitext-2", 47.7, 45.22, 50.31, 1.7647),
                   Perplexity("healed", "c4", 45.7, 43.0, 48.58, 1.3882),
                   Speed("healed", 662, 60.1)};
  for (const auto& [model, late, found] : {std::tuple{"dense", 1.0, 1.0}, {"pruned", 1.5, 0.25}, {"healed", 1.25, 0.5}})
    for (Results& results : LongContext(model, late, found)) input.results.push_back(std::move(results));
  input.phenomena = {SamplePhenomena("dense", 0), SamplePhenomena("pruned", 1), SamplePhenomena("healed", 2)};
  input.healing = SampleHealing();
  input.gates = {
      {"perplexity_ratio of pruned on wikitext-2 at most 2.5", "pass", "2.23, upper bound 2.33"},
      {"perplexity_ratio of healed on wikitext-2 at most 1.8", "inconclusive", "1.76, upper bound 1.84 is above 1.80"}};
  input.notices = {
      "This is the sample that the report's tests render; its figures are not a measurement.",
      "Healing saw text like c4: its gain there (×1.80 to ×1.39) is larger than on wikitext-2 (×2.23 to ×1.76)."};
  input.provenance = {{"espalier", "0.1.0, revision sample"},
                      {"libtorch", "2.13.0"},
                      {"device", "cpu, 2 threads"},
                      {"seed", "0"},
                      {"model sha256", input.plan->model_sha256},
                      {"calibrate", "1 min 31 s"},
                      {"heal", "16 min 36 s"}};
  return input;
}

}  // namespace espalier
