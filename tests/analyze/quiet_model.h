#pragma once
// A model whose sublayers write nothing until a test plants something: the residual stream is the embedding. C = 16, so
// RMSNorm turns a token that has one channel only into 4 there.
#include <ATen/ATen.h>

#include "support/tiny_model.h"

namespace espalier {

// Token Planted::kSpecial is (kTrigger: 4) and nothing else; no other token has anything at kTrigger or kSpike.
inline Model QuietModel(size_t blocks, NormPlacement placement = NormPlacement::kPre) {
  TinyShape shape = EvenShape(blocks);
  shape.norm_placement = placement;
  Model model = TinyModel(11, shape);
  model.config.norm_epsilon = 0;
  for (const int64_t channel : {Planted::kTrigger, Planted::kSpike}) model.embedding.select(1, channel).zero_();
  model.embedding[Planted::kSpecial].zero_();
  model.embedding[Planted::kSpecial][Planted::kTrigger] = 4;
  for (Block& block : model.blocks) {
    block.attention.w_o.weight.zero_();
    block.ffn.w_down.weight.zero_();
    for (const VectorRole role :
         {VectorRole::kAttentionNorm, VectorRole::kAttentionPostNorm, VectorRole::kFfnNorm, VectorRole::kFfnPostNorm})
      if (block.At(role).defined()) block.At(role).fill_(1);
  }
  return model;
}

// Reads 4 at channel `reads` with 5 times that: silu(20) * 20 = 400 (to 1e-6), and writes `weight` of it.
inline void PlantNeuron(Block& block, int64_t neuron, int64_t reads, int64_t writes, double weight) {
  for (Linear* linear : {&block.ffn.w_gate, &block.ffn.w_up}) {
    linear->weight[neuron].zero_();
    linear->weight[neuron][reads] = 5;
  }
  block.ffn.w_down.weight[writes][neuron] = weight;
}

}  // namespace espalier
