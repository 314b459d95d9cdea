#pragma once
// One block small enough to score on paper: C = 2, D = 2, H = G = 2, F = 2.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {

inline at::Tensor MatrixByHand(std::initializer_list<float> values, int64_t columns) {
  return at::tensor(at::ArrayRef<float>(values.begin(), values.size())).view({-1, columns});
}

inline Model ModelByHand() {
  Model model;
  model.config.C = model.config.V = model.config.D = 2;
  model.config.tied_head = true;
  BlockConfig sizes;
  sizes.H = sizes.G = sizes.F = 2;
  sizes.kv_of_head = {0, 1};
  model.config.blocks = {sizes};
  model.embedding = at::eye(2);
  model.final_norm = at::ones({2});
  Block block;
  block.attention_norm = block.ffn_norm = at::ones({2});
  block.attention.w_q.weight = MatrixByHand({1, 1, 0, 1, 3, 0, 0, 0}, 2);
  block.attention.w_k.weight = MatrixByHand({1, 0, 0, 1, 2, 0, 0, 0}, 2);
  block.attention.w_v.weight = MatrixByHand({1, 1, 0, 2, 0, 1, 1, 0}, 2);
  block.attention.w_o.weight = MatrixByHand({1, 2, 0, 1,  //
                                             1, 0, 1, 1},
                                            4);
  block.ffn.w_gate.weight = MatrixByHand({1, 2, -1, 0}, 2);
  block.ffn.w_up.weight = MatrixByHand({0, 1, 2, 2}, 2);
  block.ffn.w_down.weight = MatrixByHand({1, -2,  //
                                          3, 0},
                                         2);
  model.blocks.push_back(block);
  CheckShapes(model);
  return model;
}

// Two ordinary tokens and one outlier, whose inputs of w_down are (1, 4), (3, 4) and (5, -2), and of w_o (1, 0, 2, 3),
// (1, 4, 2, 5) and (7, 2, 2, 1).
inline Statistics StatisticsByHand() {
  const auto site = [](const at::Tensor& rows) {
    const at::Tensor places = at::zeros({rows.size(0), 2}, at::kLong);
    SiteStatistics site{Moments::Empty(rows.size(1), false), Moments::Empty(rows.size(1), false)};
    site.ordinary.Add(rows.slice(0, 0, 2), places.slice(0, 0, 2));
    site.outlier.Add(rows.slice(0, 2), places.slice(0, 2));
    return site;
  };
  Statistics statistics{1, 3, 64, {}};
  statistics.blocks.push_back(
      {site(MatrixByHand({1, 0, 2, 3, 1, 4, 2, 5, 7, 2, 2, 1}, 4)), site(MatrixByHand({1, 4, 3, 4, 5, -2}, 2))});
  return statistics;
}

}  // namespace espalier
