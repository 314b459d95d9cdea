#include "espalier/analyze/amplifiers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "../../src/analyze/quadratic_form.h"
#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "quiet_model.h"
#include "support/support.h"

namespace espalier {
namespace {

using at::Tensor;

// U_k by its definition, neuron by neuron, in float64, gains folded here and not by NormGain.
Tensor ExplicitForm(const Model& model, int64_t l, int64_t k) {
  const Block& block = model.blocks[static_cast<size_t>(l)];
  const auto gain = [&](const Tensor& weight) {
    return weight.defined() ? weight.to(at::kDouble) + (model.config.norm_adds_one ? 1 : 0)
                            : at::ones({model.config.C}, at::kDouble);
  };
  const Tensor before = gain(block.ffn_norm), behind = gain(block.ffn_post_norm);
  Tensor form = at::zeros({model.config.C, model.config.C}, at::kDouble);
  for (int64_t i = 0; i < block.ffn.w_gate.weight.size(0); ++i)
    form += at::outer(block.ffn.w_gate.weight[i].to(at::kDouble) * before,
                      block.ffn.w_up.weight[i].to(at::kDouble) * before) *
            (block.ffn.w_down.weight[k][i].item<double>() * behind[k].item<double>());
  return form;
}

TEST(FormNorms, EqualTheExplicitFormsOfEveryFamily) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(3, shape);
    for (int64_t l = 0; l < model.config.L(); ++l)
      for (const int64_t chunk : {1, 7, 1000}) {
        const Tensor norms = FormNorms(FormsOf(model, l), chunk);
        for (int64_t k = 0; k < model.config.C; ++k) {
          const double expected = ExplicitForm(model, l, k).norm().item<double>();
          EXPECT_NEAR(norms[k].item<double>() / expected, 1, 1e-5) << name << " block " << l << " channel " << k;
        }
      }
  }
}

TEST(FormNorms, CountLowRankFactors) {
  Model model = TinyModel(3, EvenShape(1));
  Linear& w_up = model.blocks[0].ffn.w_up;
  const Tensor a = at::ones({2, 16}), b = at::ones({24, 2});
  Model merged = CopyModel(model, at::kFloat, at::kCPU);
  merged.blocks[0].ffn.w_up.weight += 0.5 * b.matmul(a);
  w_up.low_rank = std::make_shared<const LowRank>(LowRank{a, b, 0.5});
  EXPECT_LT(RelativeDifference(FormNorms(FormsOf(model, 0), 8), FormNorms(FormsOf(merged, 0), 8)), 1e-6);
}

TEST(DominantPair, ByMatrixAndByLanczosAgreeWithTheExplicitForm) {
  TinyShape shape = EvenShape(1, {4, 2, 100});
  shape.C = 96;
  const Model model = TinyModel(5, shape);
  const QuadraticForms forms = FormsOf(model, 0);
  for (const int64_t k : {0, 50}) {
    const Tensor form = ExplicitForm(model, 0, k), symmetric = (form + form.t()) / 2;
    const Tensor values = at::linalg_eigvalsh(symmetric);
    const double largest = values[values.abs().argmax()].item<double>();
    const DominantPair exact = DominantByMatrix(forms, k), iterated = DominantByLanczos(forms, k, at::ones({96}));
    for (const DominantPair* pair : {&exact, &iterated}) {
      EXPECT_NEAR(pair->value / largest, 1, 1e-4);
      EXPECT_NEAR(pair->norm / symmetric.norm().item<double>(), 1, 1e-5);
      EXPECT_NEAR(pair->vector.norm().item<double>(), 1, 1e-5);
      // An eigenvector: S s = lambda s.
      EXPECT_LT(RelativeDifference(symmetric.mv(pair->vector), largest * pair->vector), 1e-2);
    }
  }
}

TEST(DominantPair, ByLanczosStopsAtAnInvariantSubspace) {
  // One neuron only, and a start that is its eigenvector.
  Model model = QuietModel(1);
  PlantNeuron(model.blocks[0], 7, Planted::kTrigger, Planted::kSpike, 2);
  const DominantPair pair = DominantByLanczos(FormsOf(model, 0), Planted::kSpike, at::eye(16)[Planted::kTrigger]);
  EXPECT_NEAR(pair.value, 2 * 25, 1e-4);
  EXPECT_NEAR(pair.norm, 2 * 25, 1e-4);
}

TEST(FindAmplifiers, RanksThePlantedChannelsFirst) {
  const AmplifierScan scan = FindAmplifiers(PlantedModel(2), {});
  ASSERT_GE(scan.amplifiers.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const Amplifier& found = scan.amplifiers[i];
    const bool up = found.block == Planted::kUpBlock;
    EXPECT_TRUE(up || found.block == Planted::kDownBlock);
    EXPECT_EQ(found.channel, Planted::kSpike);
    EXPECT_EQ(found.neuron, up ? Planted::kUpNeuron : Planted::kDownNeuron);
    EXPECT_GT(found.neuron_share, 0.99);
    EXPECT_NEAR(found.eigenvalue, up ? 62.5 : -60, 0.1);  // 2.5 * 5 * 5, -2.4 * 5 * 5
    EXPECT_GT(found.dominance, 0.99);
    EXPECT_EQ(found.cosine, 1);
    EXPECT_EQ(scan.block_norm[static_cast<size_t>(found.block)], found.norm);
  }
  EXPECT_NE(scan.amplifiers[0].block, scan.amplifiers[1].block);
  for (size_t i = 2; i < scan.amplifiers.size(); ++i)
    EXPECT_LT(scan.amplifiers[i].ratio, scan.amplifiers[1].ratio / 10);
  EXPECT_EQ(scan.block_norm.size(), 4u);
}

TEST(FindAmplifiers, FindsOneDirectionBehindChannelsThatSpikeTogether) {
  // Neuron 7 reads a random direction and writes three channels: their s* is that direction, whatever else they do.
  Model model = PlantedModel(2, /*plant=*/false);
  Block& block = model.blocks[2];
  const Tensor direction = at::arange(16, at::kFloat).sin();
  block.ffn.w_gate.weight[7] = 5 * direction / direction.norm();
  block.ffn.w_up.weight[7] = 5 * direction / direction.norm();
  for (const auto& [channel, weight] : {std::pair<int64_t, double>{4, 2}, {9, -1}, {Planted::kSpike, 1.5}})
    block.ffn.w_down.weight[channel][7] = weight;
  const AmplifierScan scan = FindAmplifiers(model, {});
  ASSERT_GE(scan.amplifiers.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(scan.amplifiers[i].block, 2);
    EXPECT_EQ(scan.amplifiers[i].neuron, 7);
    EXPECT_GT(scan.amplifiers[i].cosine, 0.99);
  }
  EXPECT_EQ(scan.amplifiers[0].channel, 4);
  const Tensor found = DominantByMatrix(FormsOf(model, 2), 4).vector.to(at::kFloat);
  EXPECT_GT(std::abs(found.dot(direction / direction.norm()).item<double>()), 0.99);
}

TEST(Amplifiers, PredictTheForwardPass) {
  // Pre-activations of 25 and more: silu is the identity, and the output is lambda* |x|^2 cos^2(x, s*), |x|^2 = C.
  Model model = QuietModel(1);
  Block& block = model.blocks[0];
  const Tensor direction = at::arange(16, at::kFloat).cos(), unit = direction / direction.norm();
  block.ffn_norm.fill_(0.5).narrow(0, 0, 8).fill_(2);
  block.ffn.w_gate.weight[7] = 30 * unit / block.ffn_norm;
  block.ffn.w_up.weight[7] = 20 * unit / block.ffn_norm;
  block.ffn.w_down.weight[Planted::kSpike][7] = 0.3;
  for (int64_t id = 0; id < 8; ++id) model.embedding[id] = direction + 0.4 * model.embedding[id];
  const DominantPair pair = DominantByMatrix(FormsOf(model, 0), Planted::kSpike);
  EXPECT_NEAR(pair.value, 0.3 * 30 * 20, 1e-3);
  BlockTaps taps({Site::kFfnOut});
  const Tensor ids = at::arange(8).unsqueeze(0);
  HiddenStates(model, ids, &taps);
  for (int64_t id = 0; id < 8; ++id) {
    const Tensor h = model.embedding[id].to(at::kDouble);
    const double cosine = (h / h.norm()).dot(pair.vector).item<double>();
    ASSERT_GT(30 * 4 * std::abs(cosine), 25);
    const double predicted = pair.value * 16 * cosine * cosine;
    EXPECT_NEAR(taps.At(Site::kFfnOut)[0][id][Planted::kSpike].item<double>() / predicted, 1, 1e-4);
  }
}

TEST(FindAmplifiers, ListsNoChannelThatAmplifiesNoDirection) {
  // A row of w_down ten times as large as the others is an outlier, but of random neurons: its eigenvalues lie on a
  // semicircle, the largest with a share of about 4 / C.
  TinyShape shape = EvenShape(1, {4, 2, 400});
  shape.C = 96;
  Model model = TinyModel(5, shape);
  model.blocks[0].ffn.w_down.weight[50] *= 10;
  EXPECT_TRUE(FindAmplifiers(model, {}).amplifiers.empty());
  const AmplifierScan all = FindAmplifiers(model, {.scan_dominance = 0});
  ASSERT_EQ(all.amplifiers.size(), 1u);
  EXPECT_EQ(all.amplifiers[0].channel, 50);
  EXPECT_NEAR(all.amplifiers[0].ratio, 10, 2);
}

TEST(FindAmplifiers, PassesOverBlocksWithoutAnFfn) {
  const AmplifierScan scan = FindAmplifiers(TinyModel(3, {.blocks = {{4, 2, 0}, {0, 0, 8}, {0, 0, 0}}}), {});
  ASSERT_EQ(scan.block_norm.size(), 3u);
  EXPECT_EQ(scan.block_norm[0], 0);
  EXPECT_GT(scan.block_norm[1], 0);
  EXPECT_EQ(scan.block_norm[2], 0);
}

TEST(CompareWithCensus, CountsNeuronsAndWritesThatBothFind) {
  Phenomena phenomena = Analyze(PlantedModel(2), PlantedIds(2, 5, 64), {}, "dense");
  ASSERT_TRUE(phenomena.scan.has_value());
  EXPECT_EQ(phenomena.scan->census_neurons, 2);
  EXPECT_EQ(phenomena.scan->neurons_found, 2);
  EXPECT_EQ(phenomena.scan->census_writes, 2);
  EXPECT_EQ(phenomena.scan->writes_found, 2);

  // Without the step-down's amplifier, one of each is missed; a write to a channel that does not spike does not count.
  AmplifierScan scan = *phenomena.scan;
  std::erase_if(scan.amplifiers, [](const Amplifier& amplifier) { return amplifier.block == Planted::kDownBlock; });
  phenomena.blocks[Planted::kUpBlock].ffn.output_top.push_back({3, 0, 0, 500});
  CompareWithCensus(phenomena, scan);
  EXPECT_EQ(scan.census_neurons, 2);
  EXPECT_EQ(scan.neurons_found, 1);
  EXPECT_EQ(scan.census_writes, 2);
  EXPECT_EQ(scan.writes_found, 1);
}

TEST(SmolAmplifiers, AreLedByTheWritesOfTheThreeMainSteps) {
  // The census of 8,192 tokens: the main step-down of block 28, the step-up of block 11, that of the delimiters in 2.
  if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << "no model; scripts/setup fetches it";
  const AmplifierScan scan = FindAmplifiers(LoadModel(ModelPath(), at::kFloat, at::kCPU), {});
  ASSERT_GE(scan.amplifiers.size(), 3u);
  EXPECT_LE(scan.amplifiers.size(), 20u);
  const int64_t expected[3][2] = {{28, 678}, {11, 1229}, {2, 90}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(scan.amplifiers[i].block, expected[i][0]);
    EXPECT_EQ(scan.amplifiers[i].neuron, expected[i][1]);
    EXPECT_EQ(scan.amplifiers[i].channel, 507);
  }
  EXPECT_LT(scan.amplifiers[0].eigenvalue, 0);
  EXPECT_GT(scan.amplifiers[1].eigenvalue, 0);
}

TEST(Analyze, LeavesTheScanOutWhenAsked) {
  EXPECT_FALSE(Analyze(TinyModel(1), RandomIds(1, 1, 64, 32), {.scan = false}, "dense").scan.has_value());
}

}  // namespace
}  // namespace espalier
