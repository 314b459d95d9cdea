#pragma once
// Where the heads of a block lie in the rows and columns of its attention, whole or ragged: after value channels or
// rotary pairs were cut, groups differ in width.
#include <cstdint>
#include <utility>
#include <vector>

#include "espalier/model/config.h"

namespace at {
class Tensor;
}

namespace espalier {

// Consecutive indices.
struct Run {
  int64_t first = 0, count = 0;
};

class HeadLayout {
 public:
  HeadLayout(const BlockConfig& block, int64_t D);

  Run Query(int64_t head) const;   // rows of w_q, and of the norm over all query heads
  Run Key(int64_t group) const;    // rows of w_k, and of the norm over all key heads
  Run Value(int64_t group) const;  // rows of w_v
  Run Output(int64_t head) const;  // columns of w_o, and rows of an elementwise output gate

  int64_t query_rows() const { return query_.back(); }
  int64_t key_rows() const { return key_.back(); }
  int64_t value_rows() const { return value_.back(); }
  int64_t output_columns() const { return output_.back(); }

  const std::vector<int64_t>& HeadsOf(int64_t group) const { return heads_of_[static_cast<size_t>(group)]; }
  // Which of the D dimensions the rows of a group are, ascending.
  std::vector<int64_t> ValueDimensions(int64_t group) const;
  std::vector<int64_t> QkDimensions(int64_t group) const;

  // Place of every row of w_q [query_rows] or column of w_o [output_columns] among H whole heads: head * D + dimension;
  // of every row of w_k or w_v among G whole heads.
  std::vector<int64_t> QueryPlaces() const;
  std::vector<int64_t> KeyPlaces() const;
  std::vector<int64_t> ValuePlaces() const;
  std::vector<int64_t> OutputPlaces() const;

 private:
  const BlockConfig& block_;
  int64_t D_;
  std::vector<int64_t> query_, key_, value_, output_;  // first row of each head or group, and the end
  std::vector<std::vector<int64_t>> heads_of_;
};

// y [..., places] -> [..., width]: each column at its place, zeros elsewhere.
at::Tensor Spread(const at::Tensor& y, const std::vector<int64_t>& places, int64_t width);
// What feeds w_o, or w_o itself, [..., output_columns] -> [..., H*D]: heads of equal width again, zeros where channels
// were cut. The same tensor when none was.
at::Tensor WholeHeads(const BlockConfig& block, int64_t D, const at::Tensor& y);

// Rotary partners in the half-split convention: the pairs of dimensions that turn together, and after them the
// dimensions that do not turn (partial RoPE) in consecutive pairs. D / 2 pairs (a, b) with a < b.
std::vector<std::pair<int64_t, int64_t>> QkPairs(const ModelConfig& config, const BlockConfig& block);

}  // namespace espalier
