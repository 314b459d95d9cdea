#pragma once
// Models made in the test: random ones of any sizes, and one whose spike, sink and producers are planted by hand.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "espalier/model/model.h"

namespace espalier {

struct TinyBlock {
  int64_t H = 4, G = 2, F = 24;
};

struct TinyShape {
  int64_t C = 16, V = 32, D = 4;
  std::vector<TinyBlock> blocks = {{4, 2, 24}, {6, 3, 20}, {2, 1, 28}};  // uneven on purpose
  bool tied_head = true;
  bool biases = false;  // of every linear layer
  // What families differ in; see config.h.
  NormPlacement norm_placement = NormPlacement::kPre;
  bool norm_adds_one = false;
  QkNorm qk_norm = QkNorm::kNone;
  Activation activation = Activation::kSilu;
  GateKind gate = GateKind::kNone;
  bool sink_logits = false;
  int64_t window = 0;  // of every second block
};

// One shape for each way in which the supported families and layouts differ, with a name.
std::vector<std::pair<std::string, TinyShape>> FamilyShapes();

// `count` blocks of the same sizes.
TinyShape EvenShape(size_t count = 3, const TinyBlock& block = {});

// Normal weights of variance 1 / (input width), so that activations stay near 1. The same for the same arguments.
Model TinyModel(uint64_t seed, const TinyShape& shape = {});

// Uniform ids [sequences, length] int64 in [first, V).
at::Tensor RandomIds(uint64_t seed, int64_t sequences, int64_t length, int64_t V, int64_t first = 0);

// What is planted in PlantedModel. C = 16, so RMSNorm turns a token that has one channel only into sqrt(16) = 4 there.
// Token kSpecial is (kTrigger: 4) and nothing else. It reaches kUp with 4, whose gate and up rows read 5 times that:
//   silu(20) * 20 = 400, times w_down = 2.5 is 1000, written to kSpike.
// The step-down neuron reads kSpike, which the norm again turns into 4: 400 * -2.4 = -960. Background weights neither
// read nor write kTrigger and kSpike, so no other token ever has anything there.
struct Planted {
  static constexpr int64_t kSpecial = 0;
  static constexpr int64_t kTrigger = 5, kSpike = 11, kConstant = 2;  // residual channels
  static constexpr int64_t kUpBlock = 1, kUpNeuron = 7;
  static constexpr int64_t kSinkBlock = 2, kSinkHead = 1;  // attends to the key that has kSpike
  static constexpr int64_t kDownBlock = 3, kDownNeuron = 3;
};

// Four blocks; with `plant` false the same background without neurons and sink head.
Model PlantedModel(uint64_t seed, bool plant = true);
// kSpecial at position 0 and nowhere else.
at::Tensor PlantedIds(uint64_t seed, int64_t sequences, int64_t length);

// max |a - b| / max |b|.
double RelativeDifference(const at::Tensor& a, const at::Tensor& b);
// Every tensor of the two models equal, bit by bit.
bool BitwiseEqual(const Model& a, const Model& b);

}  // namespace espalier
