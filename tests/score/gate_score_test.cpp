#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/score/scorer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

TEST(GateScore, IsTheSigmoidOfAPlantedBias) {
  // The gate's weights are zero, its bias is that of the head: sigmoid(-2), sigmoid(0), sigmoid(2), sigmoid(1).
  for (const GateKind gate : {GateKind::kHeadwise, GateKind::kElementwise}) {
    TinyShape shape = EvenShape(1);
    shape.gate = gate;
    Model model = TinyModel(1, shape);
    Linear& w = model.blocks[0].attention.w_output_gate;
    w.weight = at::zeros_like(w.weight);
    const at::Tensor bias = at::tensor({-2.f, 0.f, 2.f, 1.f});
    w.bias = bias.repeat_interleave(w.weight.size(0) / 4);
    const Statistics statistics = Calibrate(model, RandomIds(1, 2, 8, model.config.V), {.attention = true});
    const at::Tensor score =
        Registry<Scorer>::Create("gate_score")->Score({model, 0, UnitKind::kQueryHead, &statistics}).squeeze(1);
    EXPECT_TRUE(at::allclose(score, bias.to(at::kDouble).sigmoid(), 1e-6)) << score;
  }
}

TEST(GateScore, SaysThatAModelHasNoGate) {
  const Model model = TinyModel(1);
  const Statistics statistics = Calibrate(model, RandomIds(1, 2, 8, model.config.V), {.attention = true});
  EXPECT_EQ(MessageOf([&] {
              Registry<Scorer>::Create("gate_score")->Score({model, 1, UnitKind::kKvGroup, &statistics});
            }),
            "prune.score: gate_score: block 1 of this model has no output gate; choose another scorer");
}

}  // namespace
}  // namespace espalier
