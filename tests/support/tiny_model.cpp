#include "support/tiny_model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "espalier/core/random.h"

namespace espalier {
namespace {

using at::Tensor;

Linear RandomLinear(at::Generator& generator, int64_t out, int64_t in, bool bias, double gain = 1) {
  Linear linear;
  linear.weight = at::empty({out, in}, at::kFloat).normal_(0, gain / std::sqrt(static_cast<double>(in)), generator);
  if (bias) linear.bias = at::empty({out}, at::kFloat).normal_(0, 0.1, generator);
  return linear;
}

Tensor RandomNorm(at::Generator& generator, int64_t C) {
  return at::empty({C}, at::kFloat).normal_(1, 0.1, generator);
}

Block RandomBlock(at::Generator& generator, const TinyBlock& sizes, const TinyShape& shape, double gain = 1) {
  const int64_t C = shape.C, D = shape.D;
  const auto linear = [&](int64_t out, int64_t in) { return RandomLinear(generator, out, in, shape.biases, gain); };
  const auto norm = [&](int64_t n) { return RandomNorm(generator, n) - (shape.norm_adds_one ? 1 : 0); };
  Block block;
  if (shape.norm_placement != NormPlacement::kPost) block.attention_norm = norm(C), block.ffn_norm = norm(C);
  if (sizes.H > 0) {
    Attention& attention = block.attention;
    attention.w_q = linear(sizes.H * D, C);
    attention.w_k = linear(sizes.G * D, C);
    attention.w_v = linear(sizes.G * D, C);
    attention.w_o = linear(C, sizes.H * D);
    if (shape.gate != GateKind::kNone)
      attention.w_output_gate = linear(shape.gate == GateKind::kElementwise ? sizes.H * D : sizes.H, C);
    const bool all_heads = shape.qk_norm == QkNorm::kAllHeads;
    if (shape.qk_norm != QkNorm::kNone) {
      attention.q_norm = norm(all_heads ? sizes.H * D : D);
      attention.k_norm = norm(all_heads ? sizes.G * D : D);
    }
    if (shape.sink_logits) attention.sink_logits = at::empty({sizes.H}).normal_(0, 1, generator);
  }
  if (sizes.F > 0) block.ffn = {linear(sizes.F, C), linear(sizes.F, C), linear(C, sizes.F)};
  if (shape.norm_placement != NormPlacement::kPre) block.attention_post_norm = norm(C), block.ffn_post_norm = norm(C);
  return block;
}

ModelConfig ConfigOf(const TinyShape& shape) {
  ModelConfig config;
  config.family = "llama";
  config.C = shape.C;
  config.V = shape.V;
  config.D = shape.D;
  config.tied_head = shape.tied_head;
  config.max_positions = 4096;
  config.norm_placement = shape.norm_placement;
  config.norm_adds_one = shape.norm_adds_one;
  config.qk_norm = shape.qk_norm;
  if (shape.qk_norm == QkNorm::kAllHeads) config.norm_epsilon = 1e-6;  // OLMo 2's
  config.activation = shape.activation;
  for (const TinyBlock& sizes : shape.blocks) {
    BlockConfig block;
    block.H = sizes.H;
    block.G = sizes.G;
    block.F = sizes.F;
    if (sizes.H > 0) block.kv_of_head = EvenKvOfHead(sizes.H, sizes.G);
    block.gate = shape.gate;
    block.sink_logits = shape.sink_logits;
    if (config.blocks.size() % 2 == 1) block.window = shape.window;
    config.blocks.push_back(block);
  }
  return config;
}

// Background that leaves the planted channels alone.
void Isolate(Block& block) {
  const Tensor channels = at::tensor({Planted::kTrigger, Planted::kSpike}, at::kLong);
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kGate, Role::kUp})
    block.At(role).weight.index_fill_(1, channels, 0);
  for (const Role role : {Role::kO, Role::kDown}) block.At(role).weight.index_fill_(0, channels, 0);
  block.attention_norm.fill_(1);
  block.ffn_norm.fill_(1);
}

// A neuron that answers a normed channel of 4 with silu(20) * 20 = 400.
void PlantNeuron(FeedForward& ffn, int64_t neuron, int64_t reads, int64_t writes, double weight) {
  ffn.w_gate.weight[neuron].zero_();
  ffn.w_up.weight[neuron].zero_();
  ffn.w_gate.weight[neuron][reads] = 5;
  ffn.w_up.weight[neuron][reads] = 5;
  ffn.w_down.weight.select(1, neuron).zero_();
  ffn.w_down.weight[writes][neuron] = weight;
}

// Every token but the special one has kConstant, which the head's queries read; its keys read kSpike, which only
// position 0 has. One dimension of the slow RoPE pair (1, 3) carries it; the head that shares the group ignores the
// pair.
void PlantSink(Attention& attention, int64_t D, int64_t H_per_G) {
  const int64_t group = Planted::kSinkHead / H_per_G;
  for (int64_t head = group * H_per_G; head < (group + 1) * H_per_G; ++head)
    for (const int64_t d : {int64_t{1}, int64_t{3}}) attention.w_q.weight[head * D + d].zero_();
  attention.w_q.weight.narrow(0, Planted::kSinkHead * D, D).zero_();
  attention.w_k.weight[group * D + 1].zero_();
  attention.w_k.weight[group * D + 3].zero_();
  attention.w_q.weight[Planted::kSinkHead * D + 1][Planted::kConstant] = 10;
  attention.w_k.weight[group * D + 1][Planted::kSpike] = 10;
}

}  // namespace

TinyShape EvenShape(size_t count, const TinyBlock& block) {
  TinyShape shape;
  shape.blocks.assign(count, block);
  return shape;
}

std::vector<std::pair<std::string, TinyShape>> FamilyShapes() {
  std::vector<std::pair<std::string, TinyShape>> shapes = {{"llama", {}}};
  const auto add = [&](const char* name, auto change) {
    TinyShape shape;
    change(shape);
    shapes.emplace_back(name, shape);
  };
  add("mistral_window", [](TinyShape& shape) { shape.window = 3; });
  add("qwen2_biases", [](TinyShape& shape) { shape.biases = true; });
  add("qwen3_qk_norm", [](TinyShape& shape) { shape.qk_norm = QkNorm::kPerHead; });
  add("gated_elementwise", [](TinyShape& shape) {
    shape.qk_norm = QkNorm::kPerHead;
    shape.gate = GateKind::kElementwise;
    shape.biases = true;
  });
  add("gated_headwise", [](TinyShape& shape) { shape.gate = GateKind::kHeadwise; });
  add("gemma3", [](TinyShape& shape) {
    shape.norm_placement = NormPlacement::kSandwich;
    shape.norm_adds_one = true;
    shape.qk_norm = QkNorm::kPerHead;
    shape.activation = Activation::kGeluTanh;
    shape.window = 3;
  });
  add("olmo2", [](TinyShape& shape) {
    shape.norm_placement = NormPlacement::kPost;
    shape.qk_norm = QkNorm::kAllHeads;
  });
  add("sink_logits", [](TinyShape& shape) {
    shape.sink_logits = true;
    shape.window = 3;
  });
  return shapes;
}

Model TinyModel(uint64_t seed, const TinyShape& shape) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  Model model;
  model.config = ConfigOf(shape);
  model.embedding = at::empty({shape.V, shape.C}, at::kFloat).normal_(0, 1, generator);
  for (const TinyBlock& block : shape.blocks) model.blocks.push_back(RandomBlock(generator, block, shape));
  model.final_norm = RandomNorm(generator, shape.C);
  if (!shape.tied_head) model.head = at::empty({shape.V, shape.C}, at::kFloat).normal_(0, 1, generator);
  CheckShapes(model);
  return model;
}

Tensor RandomIds(uint64_t seed, int64_t sequences, int64_t length, int64_t V, int64_t first) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < sequences * length; ++i)
    ids.push_back(
        first + static_cast<int64_t>(RandomBelow(static_cast<uint64_t>(V - first), seed, 9, static_cast<uint64_t>(i))));
  return at::tensor(ids, at::kLong).view({sequences, length});
}

Model PlantedModel(uint64_t seed, bool plant) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const TinyShape shape = EvenShape(4);
  Model model;
  model.config = ConfigOf(shape);
  model.config.rope.theta = 1e8;  // the second of the two pairs turns by 1e-4 a position: as good as not at all
  model.embedding = at::empty({shape.V, shape.C}, at::kFloat).normal_(0, 1, generator);
  model.embedding.select(1, Planted::kTrigger).zero_();
  model.embedding.select(1, Planted::kSpike).zero_();
  model.embedding.select(1, Planted::kConstant).fill_(1);
  model.embedding[Planted::kSpecial].zero_();
  model.embedding[Planted::kSpecial][Planted::kTrigger] = 4;
  for (const TinyBlock& block : shape.blocks) {
    model.blocks.push_back(RandomBlock(generator, block, shape, 0.3));
    Isolate(model.blocks.back());
  }
  model.final_norm = at::ones({shape.C});
  if (plant) {
    PlantNeuron(model.blocks[Planted::kUpBlock].ffn, Planted::kUpNeuron, Planted::kTrigger, Planted::kSpike, 2.5);
    PlantNeuron(model.blocks[Planted::kDownBlock].ffn, Planted::kDownNeuron, Planted::kSpike, Planted::kSpike, -2.4);
    PlantSink(model.blocks[Planted::kSinkBlock].attention, shape.D, 2);
  }
  CheckShapes(model);
  return model;
}

Tensor PlantedIds(uint64_t seed, int64_t sequences, int64_t length) {
  Tensor ids = RandomIds(seed, sequences, length, TinyShape().V, Planted::kSpecial + 1);
  ids.select(1, 0).fill_(Planted::kSpecial);
  return ids;
}

double RelativeDifference(const Tensor& a, const Tensor& b) {
  const Tensor wide = b.to(at::kDouble);
  return (a.to(at::kDouble) - wide).abs().max().item<double>() / wide.abs().max().item<double>();
}

bool BitwiseEqual(const Model& a, const Model& b) {
  Model left = a, right = b;  // handles only
  const std::vector<NamedTensorRef> x = TensorsOf(left), y = TensorsOf(right);
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i)
    if (x[i].name != y[i].name || !at::equal(*x[i].tensor, *y[i].tensor)) return false;
  return true;
}

}  // namespace espalier
