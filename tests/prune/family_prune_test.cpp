// Real checkpoints of every family, cut, refitted, saved and loaded again.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "espalier/score/scorer.h"
#include "model/fixture.h"
#include "support/every_statistic.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

const char* const kFolders[] = {"tiny-llama",
                                "tiny-mistral",
                                "tiny-qwen2",
                                "tiny-qwen3",
                                "tiny-qwen3-gated-elementwise",
                                "tiny-qwen3-gated-headwise",
                                "tiny-qwen3-next",
                                "tiny-gemma3",
                                "tiny-olmo2",
                                "tiny-sinks"};

class PrunedFamilies : public testing::TestWithParam<const char*> {
 protected:
  at::NoGradGuard no_grad;
  const Model model = LoadModel(Fixture(GetParam()), at::kFloat, at::kCPU);

  // KV group 0 of block 0 goes, and every third FFN channel.
  static Plan MakePlan(const Model& of, bool group = true) {
    Plan plan = KeepAll(of);
    for (BlockPlan& block : plan.blocks)
      std::erase_if(block.At(UnitKind::kFfnChannel).kept, [](int64_t channel) { return channel % 3 == 0; });
    if (group) std::erase(plan.blocks[0].At(UnitKind::kKvGroup).kept, 0);
    return plan;
  }
};

TEST_P(PrunedFamilies, EqualTheirMaskAndComeBackFromDiskBitEqual) {
  const Plan plan = MakePlan(model);
  const at::Tensor ids = RandomIds(1, 2, 12, model.config.V);
  Model cut = Cut(model, plan);
  EXPECT_LT(CheckCutEqualsMask(cut, Mask(model, plan), ids, 1e-4), 1e-4);
  const Statistics statistics = Calibrate(model, RandomIds(2, 8, 32, model.config.V),
                                          {.products = true, .gradients = true, .gradient_tokens = 256});
  Compensate(model, plan, statistics, *Registry<Compensator>::Create("least_squares"), cut);
  const TempFolder temp;
  SaveModel(cut, LetterTokenizer(model.config.V), temp / "pruned");
  const Model loaded = LoadModel(temp / "pruned", at::kFloat, at::kCPU);
  EXPECT_TRUE(BitwiseEqual(cut, loaded));
  EXPECT_TRUE(at::equal(Logits(cut, ids), Logits(loaded, ids)));
  // Pruned once more, from what was loaded: the group that is left stays.
  const Plan again = MakePlan(loaded, /*group=*/false);
  EXPECT_LT(CheckCutEqualsMask(Cut(loaded, again), Mask(loaded, again), ids, 1e-4), 1e-4);
}

TEST_P(PrunedFamilies, ComeBackFromDiskBitEqualWhateverKindsWereCut) {
  const at::Tensor ids = RandomIds(1, 2, 12, model.config.V);
  const auto drop = [](KeptUnits& units, int64_t every) {
    std::erase_if(units.kept, [every](int64_t unit) { return unit % every == 1; });
  };
  std::vector<UnitKind> width = {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kQkPair};
  Plan plan = KeepAll(model, {width[0], width[1], width[2], UnitKind::kFfn, UnitKind::kResidualChannel});
  for (const UnitKind kind : width) drop(plan.blocks[0].At(kind), 3);
  plan.blocks[1].At(UnitKind::kFfn).kept.clear();
  drop(*plan.residual_channels, 5);
  const Model cut = Cut(model, plan);
  EXPECT_TRUE(cut.config.blocks[0].Ragged());
  EXPECT_LT(CheckCutEqualsMask(cut, Mask(model, plan), ids, 1e-4), 1e-4);
  const TempFolder temp;
  SaveModel(cut, LetterTokenizer(model.config.V), temp / "pruned");
  const Model loaded = LoadModel(temp / "pruned", at::kFloat, at::kCPU);
  EXPECT_TRUE(BitwiseEqual(cut, loaded));
  EXPECT_TRUE(at::equal(Logits(cut, ids), Logits(loaded, ids)));
  // And pruned once more, from what was loaded, by the kinds that are ragged already.
  Plan again = KeepAll(loaded, width);
  for (const UnitKind kind : {UnitKind::kValueChannel, UnitKind::kQkPair}) drop(again.blocks[0].At(kind), 4);
  EXPECT_LT(CheckCutEqualsMask(Cut(loaded, again), Mask(loaded, again), ids, 1e-4), 1e-4);
}

TEST_P(PrunedFamilies, AreScoredByEveryScorer) {
  const at::Tensor windows = RandomIds(2, 8, 32, model.config.V);
  const Statistics statistics = Calibrate(model, windows, EveryStatistic(256));
  const bool gated = statistics.blocks[0].attention.contains("gate_score");
  for (const std::string& name : Registry<Scorer>::Names()) {
    if (name == "gate_score" && !gated) continue;
    const auto scorer = Registry<Scorer>::Create(name);
    for (const UnitKindInfo& info : UnitKinds())
      if (scorer->Scores(info.kind)) {
        EXPECT_NO_THROW(CheckedScore(
            *scorer, name, {model, PerModel(info.kind) ? kWholeModel : 0, info.kind, &statistics, windows, 0.3}))
            << name << " " << info.name;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, PrunedFamilies, testing::ValuesIn(kFolders), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace espalier
