#include "espalier/model/kv_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// Hidden states of all tokens, run in pieces of `lengths` and then the rest.
Tensor InPieces(const Model& model, const Tensor& ids, const std::vector<int64_t>& lengths, const CachePolicy& policy) {
  KvCache cache(model, policy);
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    parts.push_back(HiddenStates(model, ids.slice(1, begin, begin + length), cache));
    begin += length;
  }
  if (begin < ids.size(1)) parts.push_back(HiddenStates(model, ids.slice(1, begin), cache));
  EXPECT_EQ(cache.tokens(), ids.size(1));
  return at::cat(parts, 1);
}

TEST(KvCache, PiecesGiveTheHiddenStatesOfOnePassInEveryFamily) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(5, shape);
    const Tensor ids = RandomIds(6, 2, 19, 32);
    const Tensor whole = HiddenStates(model, ids);
    EXPECT_LT(RelativeDifference(InPieces(model, ids, {4, 1, 1, 7}, {}), whole), 1e-5) << name;
    EXPECT_LT(RelativeDifference(InPieces(model, ids, std::vector<int64_t>(19, 1), {}), whole), 1e-5) << name;
  }
}

TEST(KvCache, ThatStreamsButIsLongerThanTheTextEqualsFullAttention) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(5, shape);
    const Tensor ids = RandomIds(6, 2, 19, 32);
    EXPECT_LT(RelativeDifference(InPieces(model, ids, {3, 9}, {.sinks = 4, .recent = 15}), HiddenStates(model, ids)),
              1e-5)
        << name;
  }
}

// StreamingLLM as its authors run it: one token at a time, a list of unrotated keys from which the middle is dropped,
// rotated by their places in the list.
class StreamingByHand {
 public:
  StreamingByHand(const Model& model, int64_t sinks, int64_t recent)
      : model_(model), sinks_(sinks), recent_(recent), keys_(model.blocks.size()), values_(model.blocks.size()) {}

  Tensor Next(int64_t id) {
    Tensor h = model_.embedding[id];  // [C]
    for (size_t l = 0; l < model_.blocks.size(); ++l) {
      const Block& block = model_.blocks[l];
      h = h + Attend(l, Norm(h, block.attention_norm));
      const Tensor x = Norm(h, block.ffn_norm);
      h = h + block.ffn.w_down.weight.mv(at::silu(block.ffn.w_gate.weight.mv(x)) * block.ffn.w_up.weight.mv(x));
    }
    return Norm(h, model_.final_norm);
  }

 private:
  Tensor Norm(const Tensor& x, const Tensor& weight) const {
    return x / (x.square().mean() + model_.config.norm_epsilon).sqrt() * weight;
  }
  Tensor Turn(const Tensor& x, int64_t place) const {  // x [n, D]
    const int64_t D = model_.config.D;
    Tensor turned = x.clone();
    for (int64_t pair = 0; pair < D / 2; ++pair) {
      const double angle = static_cast<double>(place) * std::pow(model_.config.rope.theta, -2.0 * pair / D);
      const Tensor a = x.select(1, pair), b = x.select(1, pair + D / 2);
      turned.select(1, pair).copy_(a * std::cos(angle) - b * std::sin(angle));
      turned.select(1, pair + D / 2).copy_(b * std::cos(angle) + a * std::sin(angle));
    }
    return turned;
  }
  Tensor Attend(size_t l, const Tensor& x) {
    const BlockConfig& config = model_.config.blocks[l];
    const Attention& attention = model_.blocks[l].attention;
    const int64_t D = model_.config.D;
    std::vector<Tensor>&keys = keys_[l], &values = values_[l];
    if (std::ssize(keys) > sinks_ + recent_) {
      keys.erase(keys.begin() + sinks_);
      values.erase(values.begin() + sinks_);
    }
    keys.push_back(attention.w_k.weight.mv(x).view({config.G, D}));
    values.push_back(attention.w_v.weight.mv(x).view({config.G, D}));
    const Tensor q = Turn(attention.w_q.weight.mv(x).view({config.H, D}), std::ssize(keys) - 1);
    std::vector<Tensor> out;
    for (int64_t head = 0; head < config.H; ++head) {
      const int64_t group = config.kv_of_head[static_cast<size_t>(head)];
      std::vector<Tensor> logits, seen;
      for (size_t place = 0; place < keys.size(); ++place) {
        logits.push_back(q[head].dot(Turn(keys[place], static_cast<int64_t>(place))[group]) / std::sqrt(D));
        seen.push_back(values[place][group]);
      }
      out.push_back(at::stack(seen).t().mv(at::stack(logits).softmax(0)));
    }
    return attention.w_o.weight.mv(at::cat(out));
  }

  const Model& model_;
  int64_t sinks_, recent_;
  std::vector<std::vector<Tensor>> keys_, values_;
};

TEST(KvCache, StreamsAsTokenByTokenEvictionByHandDoes) {
  const Model model = CopyModel(TinyModel(8), at::kDouble, at::kCPU);
  const Tensor ids = RandomIds(9, 1, 40, 32);
  for (const auto& [sinks, recent] : {std::pair<int64_t, int64_t>{2, 5}, {0, 4}, {4, 1}}) {
    StreamingByHand by_hand(model, sinks, recent);
    std::vector<Tensor> expected;
    for (int64_t t = 0; t < 40; ++t) expected.push_back(by_hand.Next(ids[0][t].item<int64_t>()));
    const CachePolicy policy{.sinks = sinks, .recent = recent};
    const std::vector<int64_t> singly(40, 1);
    for (const auto& lengths : {singly, std::vector<int64_t>{3, 1, 20}, {}})
      EXPECT_LT(RelativeDifference(InPieces(model, ids, lengths, policy).squeeze(0), at::stack(expected)), 1e-6)
          << sinks << " + " << recent << " in " << lengths.size() + 1 << " pieces";
  }
}

TEST(KvCache, WithoutThePlantedSinkTokenTheOutputJumpsAndWithItDoesNot) {
  const Model model = PlantedModel(3);
  const Tensor ids = PlantedIds(4, 1, 80), full = HiddenStates(model, ids);
  const auto change = [&](int64_t sinks) {
    const Tensor streamed = InPieces(model, ids, {}, {.sinks = sinks, .recent = 64});
    return (streamed - full).slice(1, 72).norm().item<double>();
  };
  EXPECT_GT(change(0), 2 * change(4));
}

TEST(KvCache, RetrievalHeadsKeepEverythingAndTheOthersStream) {
  const Model model = TinyModel(10);
  const Tensor ids = RandomIds(11, 2, 30, 32);
  const std::vector<std::vector<int64_t>> all = {{0, 1}, {0, 1, 2}, {0}}, none = {{}, {}, {}};
  const auto run = [&](const std::vector<std::vector<int64_t>>& heads) {
    return InPieces(model, ids, {7, 1}, {.sinks = 1, .recent = 4, .retrieval_heads = heads});
  };
  EXPECT_TRUE(at::equal(run(all), InPieces(model, ids, {7, 1}, {})));
  EXPECT_TRUE(at::equal(run(none), InPieces(model, ids, {7, 1}, {.sinks = 1, .recent = 4})));

  // One block, so that a head's output depends on its own policy only: w_o of the other group set to zero.
  const Model one = TinyModel(12, EvenShape(1));
  for (const int64_t shown : {0, 1}) {
    Model some = CopyModel(one, at::kFloat, at::kCPU);
    some.blocks[0].attention.w_o.weight.narrow(1, (1 - shown) * 8, 8).zero_();  // 2 heads of 4 dimensions read a group
    const auto of = [&](const CachePolicy& policy) { return InPieces(some, ids, {7, 1}, policy); };
    const Tensor split = of({.sinks = 1, .recent = 4, .retrieval_heads = {{1}}});
    EXPECT_LT(RelativeDifference(split, shown == 1 ? of({}) : of({.sinks = 1, .recent = 4})), 1e-6) << shown;
  }
}

TEST(KvCache, OfStreamingHeadsDoesNotGrowWithTheText) {
  const Model model = TinyModel(13);
  KvCache streaming(model, {.sinks = 2, .recent = 16}), full(model);
  const Tensor ids = RandomIds(14, 1, 2048, 32);
  Prefill(model, ids, streaming);
  Prefill(model, ids, full);
  EXPECT_LT(streaming.bytes(), 600 * full.bytes() / 2048);  // one chunk of 512 and what is kept
}

TEST(Generate, ContinuesAsRerunningTheWholeTextDoes) {
  const Model model = TinyModel(15);
  const Tensor prompts = RandomIds(16, 3, 12, 32);
  KvCache cache(model);
  const Tensor generated = Generate(model, prompts, 9, {}, cache);
  ASSERT_EQ(generated.sizes(), (std::vector<int64_t>{3, 9}));
  Tensor text = prompts;
  for (int64_t i = 0; i < 9; ++i) text = at::cat({text, Logits(model, text).select(1, -1).argmax(-1, true)}, 1);
  EXPECT_TRUE(at::equal(generated, text.slice(1, 12)));
  EXPECT_EQ(cache.tokens(), 12 + 8);  // the last one is not run
}

TEST(Generate, StaysAtAStopToken) {
  const Model model = TinyModel(15);
  const Tensor prompts = RandomIds(16, 3, 12, 32);
  KvCache first(model), second(model);
  const Tensor plain = Generate(model, prompts, 9, {}, first);
  const auto stop = plain[1][3].item<int64_t>();
  const Tensor stopped = Generate(model, prompts, 9, {stop}, second);
  for (int64_t row = 0; row < 3; ++row) {
    int64_t at = 0;
    while (at < 8 && plain[row][at].item<int64_t>() != stop) ++at;
    EXPECT_TRUE(at::equal(stopped[row].slice(0, 0, at + 1), plain[row].slice(0, 0, at + 1))) << row;
    for (int64_t i = at; i < 9; ++i) EXPECT_EQ(stopped[row][i].item<int64_t>(), plain[row][at].item<int64_t>()) << row;
  }
}

TEST(KvCache, RefusesRetrievalHeadsThatTheModelDoesNotHave) {
  const Model model = TinyModel(17);
  EXPECT_THROW(KvCache(model, {.sinks = 1, .recent = 4, .retrieval_heads = {{0}}}), RecipeError);
  EXPECT_THROW(KvCache(model, {.sinks = 1, .recent = 4, .retrieval_heads = {{2}, {}, {}}}), RecipeError);
}

}  // namespace
}  // namespace espalier
