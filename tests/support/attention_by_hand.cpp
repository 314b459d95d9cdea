#include "support/attention_by_hand.h"

#include <ATen/ATen.h>

#include <cmath>

#include "support/tiny_model.h"

namespace espalier {

Model AttentionByHand(double weight) {
  TinyShape shape{.C = 16, .V = 4, .D = 4, .blocks = {{1, 1, 0}}};
  Model model = TinyModel(1, shape);
  model.config.rope.theta = 1e30;  // the second pair does not turn
  model.config.norm_epsilon = 0;
  model.embedding = at::eye(4, 16);
  Block& block = model.blocks[0];
  block.attention_norm = at::ones({16});
  block.attention.w_q.weight = at::zeros({4, 16});
  block.attention.w_k.weight = at::zeros({4, 16});
  // score = q k / sqrt(D) = (4 * 1) (4 * k) / 2 = 8 k = log(weight)
  block.attention.w_q.weight[1].fill_(1);
  block.attention.w_k.weight[1][0] = std::log(weight) / 8;
  return model;
}

void SetValues(Model& model, std::initializer_list<at::Tensor> values) {
  at::Tensor& w_v = model.blocks[0].attention.w_v.weight;  // [4, 16]
  int64_t token = 0;
  for (const at::Tensor& value : values) w_v.select(1, token++).copy_(value / 4);
}

at::Tensor Text(std::initializer_list<int64_t> ids) {
  return at::tensor(ids, at::kLong).unsqueeze(0);
}

}  // namespace espalier
