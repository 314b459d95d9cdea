#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "espalier/calibrate/calibrate.h"
#include "espalier/score/scorer.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

class Record : public Observer {
 public:
  bool Wants(int64_t block, Site) const override { return block == 1; }
  void Observe(int64_t, Site site, const Tensor& value) override { seen[site] = value.to(at::kDouble); }
  std::map<Site, Tensor> seen;
};

// Means of 1 - cos and of the angle over pi, vector by vector; of the last position alone with `last`.
std::pair<double, double> ByHand(const Tensor& in, const Tensor& out, int64_t first_position) {
  double influence = 0, angle = 0, count = 0;
  for (int64_t s = 0; s < in.size(0); ++s)
    for (int64_t t = first_position; t < in.size(1); ++t) {
      const double cosine = (in[s][t].dot(out[s][t]) / (in[s][t].norm() * out[s][t].norm())).item<double>();
      influence += 1 - cosine;
      angle += std::acos(cosine) / std::numbers::pi;
      ++count;
    }
  return {influence / count, angle / count};
}

TEST(BlockInfluence, AndTheAngleAreThoseOfEachTokenWrittenOut) {
  const Model model = TinyModel(1);
  const Tensor windows = RandomIds(1, 3, 10, model.config.V);
  const Statistics statistics = Calibrate(model, windows, {.influence = true, .batch = 2});
  Record record;
  HiddenStates(model, windows, &record);
  const auto score = [&](const char* scorer, UnitKind kind, const char* tokens) {
    const auto& entry = Registry<Scorer>::Find(scorer);
    Options options(entry.info.options);
    if (tokens != nullptr) options.Set("tokens", std::string(tokens));
    const auto made = entry.make(options);
    return CheckedScore(*made, scorer, {model, 1, kind, &statistics}).item<double>();
  };
  const std::tuple<UnitKind, Site, Site> places[] = {{UnitKind::kAttention, Site::kBlockInput, Site::kAttnResidual},
                                                     {UnitKind::kFfn, Site::kAttnResidual, Site::kBlockOutput},
                                                     {UnitKind::kBlock, Site::kBlockInput, Site::kBlockOutput}};
  for (const auto& [kind, in, out] : places) {
    // Position 0 is left out by the weighting `ordinary`.
    const auto [influence, angle] = ByHand(record.seen.at(in), record.seen.at(out), 1);
    EXPECT_NEAR(score("block_influence", kind, nullptr), influence, 1e-5);
    EXPECT_NEAR(score("angular", kind, "counted"), angle, 1e-5);
    EXPECT_NEAR(score("angular", kind, "last"), ByHand(record.seen.at(in), record.seen.at(out), 9).second, 1e-5);
  }
}

TEST(BlockInfluence, OfABlockThatWritesNothingIsZero) {
  Model model = TinyModel(2);
  for (const Role role : {Role::kO, Role::kDown})
    model.blocks[1].At(role).weight = at::zeros_like(model.blocks[1].At(role).weight);
  const Statistics statistics = Calibrate(model, RandomIds(2, 2, 8, model.config.V), {.influence = true});
  for (const char* scorer : {"block_influence", "angular"})
    EXPECT_NEAR(Registry<Scorer>::Create(scorer)->Score({model, 1, UnitKind::kBlock, &statistics}).item<double>(), 0,
                1e-7);
}

}  // namespace
}  // namespace espalier
