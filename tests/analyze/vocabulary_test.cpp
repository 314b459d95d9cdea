#include "espalier/analyze/vocabulary.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "quiet_model.h"
#include "support/letter_tokenizer.h"

namespace espalier {
namespace {

using at::Tensor;

// Every token spikes first and none at position 5 of alternating text: tokens are (sign: +-4) and a little of the rest,
// even ids +, odd ids -. Attention is uniform and adds 2 times the mean of the signs it sees to kMean. Two neurons, one
// for either sign, read 20 times that with a threshold of 20. Alone a token has 2 of |(4, 2)| = 4.5 there, which the
// norm turns into 4 * 2 / 4.5 = 1.8: 16 above the threshold, times 36 and w_down 2: above 1000. At position 5 after
// + - + - + the mean is 2/6 or 0: at most 0.66 after the norm, 7 below the threshold.
constexpr int64_t kSign = 6, kMean = 8;

Model FirstTokenSpikes() {
  Model model = QuietModel(3);
  model.embedding *= 0.1;
  for (const int64_t channel : {kMean, Planted::kTrigger, Planted::kSpike}) model.embedding.select(1, channel).zero_();
  for (int64_t id = 0; id < model.config.V; ++id) model.embedding[id][kSign] = id % 2 == 0 ? 4 : -4;
  Block& block = model.blocks[1];
  block.attention.w_q.weight.zero_();
  block.attention.w_v.weight[0].zero_();
  block.attention.w_v.weight[0][kSign] = 1;
  block.attention.w_o.weight[kMean][0] = 0.5;
  block.ffn.w_gate.bias = at::zeros({24});
  for (const auto& [neuron, sign] : {std::pair{3, 1}, std::pair{4, -1}}) {
    PlantNeuron(block, neuron, kMean, Planted::kSpike, 2);
    block.ffn.w_gate.weight[neuron][kMean] = 20 * sign;
    block.ffn.w_up.weight[neuron][kMean] = 20 * sign;
    block.ffn.w_gate.bias[neuron] = -20;
  }
  return model;
}

const Tensor kPrefix = at::arange(5);  // + - + - +

Phenomena PhenomenaOf(const Model& model) {
  return Analyze(model, RandomIds(2, 4, 64, model.config.V), {.scan = false}, "dense");
}

TEST(ProbeVocabulary, FindsEveryTokenSpikingFirstAndNoneLater) {
  const Model model = FirstTokenSpikes();
  const Phenomena phenomena = PhenomenaOf(model);
  ASSERT_EQ(SublayersText(phenomena.step_up), "1");
  ASSERT_EQ(phenomena.spike_channels, (std::vector<int64_t>{Planted::kSpike}));
  const VocabularyProbe probe = ProbeVocabulary(model, phenomena, kPrefix, nullptr, {});
  EXPECT_EQ(probe.block, 1);
  EXPECT_DOUBLE_EQ(probe.threshold, 100 * phenomena.blocks[1].ffn.residual_median);
  EXPECT_EQ(probe.tokens, 32);
  EXPECT_EQ(probe.spiking, 32);
  EXPECT_EQ(probe.Share(), 1);
  EXPECT_TRUE(probe.exceptions.empty());
  EXPECT_EQ(probe.later_position, 5);
  EXPECT_EQ(probe.later_tokens, 32);
  EXPECT_EQ(probe.later_spiking, 0);
}

TEST(ProbeVocabulary, NamesTheExceptionsWhateverTheBatch) {
  Model model = FirstTokenSpikes();
  const Phenomena phenomena = PhenomenaOf(model);
  for (const int64_t id : {6, 21})
    model.embedding[id][kSign] = 0, model.embedding[id][1] = 4;  // as long, without a sign
  const LetterTokenizer letters(32);
  for (const int64_t batch : {5, 512}) {
    const VocabularyProbe probe = ProbeVocabulary(model, phenomena, kPrefix, &letters, {.vocabulary_batch = batch});
    EXPECT_EQ(probe.spiking, 30);
    ASSERT_EQ(probe.exceptions.size(), 2u);
    EXPECT_EQ(probe.exceptions[0].id, 6);
    EXPECT_EQ(probe.exceptions[0].text, "\x06");
    EXPECT_EQ(probe.exceptions[1].id, 21);
    EXPECT_EQ(probe.later_spiking, 0);
  }
}

TEST(ProbeVocabulary, LeavesPaddingOfTheEmbeddingOut) {
  const Model model = FirstTokenSpikes();
  const LetterTokenizer letters(30);
  EXPECT_EQ(ProbeVocabulary(model, PhenomenaOf(model), kPrefix, &letters, {}).tokens, 30);
}

TEST(ProbeVocabulary, DrawsTheControlFromItsSeed) {
  // After + + + + - the mean is 4/6 with a + and 2/6 with a -: even ids spike, and which of them the sample holds shows
  // in the count.
  const Model model = FirstTokenSpikes();
  const Phenomena phenomena = PhenomenaOf(model);
  const auto later = [&](int64_t sample, uint64_t seed) {
    return ProbeVocabulary(model, phenomena, at::tensor({0, 0, 0, 0, 1}, at::kLong), nullptr,
                           {.vocabulary_sample = sample, .vocabulary_seed = seed})
        .later_spiking;
  };
  EXPECT_EQ(later(1000, 1), 16);
  EXPECT_EQ(later(9, 4), later(9, 4));
  int64_t most = 0, least = 9;
  for (uint64_t seed = 0; seed < 8; ++seed)
    most = std::max(most, later(9, seed)), least = std::min(least, later(9, seed));
  EXPECT_LT(least, most);
}

TEST(ProbeVocabulary, MeasuresWhereTheRatioIsLargestWhenNothingSteps) {
  const Model model = PlantedModel(2, /*plant=*/false);
  const Phenomena phenomena = PhenomenaOf(model);
  const VocabularyProbe probe = ProbeVocabulary(model, phenomena, kPrefix, nullptr, {});
  for (const BlockPhenomena& block : phenomena.blocks)
    EXPECT_GE(phenomena.blocks[static_cast<size_t>(probe.block)].ffn.Ratio(), block.ffn.Ratio());
  EXPECT_EQ(probe.spiking, 0);
  EXPECT_EQ(probe.exceptions.size(), 32u);
}

TEST(ProbeVocabulary, MeasuresAfterTheStepUpAndNotAfterARiseThatNothingCarries) {
  // A spike of its own in the last block: no later block carries it, so it is no step-up.
  Model model = FirstTokenSpikes();
  PlantNeuron(model.blocks[2], 3, Planted::kSpike, 2, 0.5);
  const Phenomena phenomena = PhenomenaOf(model);
  ASSERT_EQ(SublayersText(phenomena.step_up), "1");
  for (const SpikeNeuron& neuron : phenomena.neurons) EXPECT_EQ(neuron.block, 1);
  EXPECT_EQ(ProbeVocabulary(model, phenomena, kPrefix, nullptr, {}).block, 1);
}

// arXiv 2603.05498, eq. 22: the first token sees itself only, so attention is the map W_VO = sum over heads W_O W_V.
TEST(Attention, OfTheFirstTokenIsALinearMap) {
  for (const std::vector<int64_t>& kv_of_head : {std::vector<int64_t>{0, 0, 1, 1, 2, 2}, {0, 2, 1, 1, 0, 1}}) {
    Model model = TinyModel(4, EvenShape(1, {6, 3, 24}));
    model.config.blocks[0].kv_of_head = kv_of_head;
    const Attention& attention = model.blocks[0].attention;
    Tensor map = at::zeros({16, 16}, at::kDouble);
    for (int64_t head = 0; head < 6; ++head)
      map += attention.w_o.weight.narrow(1, head * 4, 4)
                 .to(at::kDouble)
                 .matmul(attention.w_v.weight.narrow(0, kv_of_head[static_cast<size_t>(head)] * 4, 4).to(at::kDouble));
    BlockTaps taps({Site::kAttnNorm, Site::kAttnOut});
    HiddenStates(model, RandomIds(1, 3, 7, 32), &taps);
    const Tensor x = taps.At(Site::kAttnNorm).select(1, 0).to(at::kDouble);  // [3, C]
    EXPECT_LT(RelativeDifference(taps.At(Site::kAttnOut).select(1, 0), x.matmul(map.t())), 1e-5);
    // The test can fail: a later token sees others too.
    const Tensor later = taps.At(Site::kAttnNorm).select(1, 3).to(at::kDouble);
    EXPECT_GT(RelativeDifference(taps.At(Site::kAttnOut).select(1, 3), later.matmul(map.t())), 1e-2);
  }
}

}  // namespace
}  // namespace espalier
