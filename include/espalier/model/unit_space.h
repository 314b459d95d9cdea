#pragma once
// Which rows and columns of which linear layers a unit owns, and what it costs. The cutter and the masker work from
// this and never name a family.
#include <vector>

#include "espalier/model/model.h"
#include "espalier/model/unit.h"

namespace espalier {

enum class Axis { kRows, kColumns };  // of weight [out, in]; a bias follows the rows

struct Slice {
  Role role;
  Axis axis;
  int64_t first = 0, count = 0;  // consecutive indices
};

// The same of a tensor that is not a linear layer's: a norm over all heads, sink logits.
struct VectorSlice {
  VectorRole role;
  int64_t first = 0, count = 0;
};

// What one removed unit saves.
struct UnitCost {
  int64_t parameters = 0;  // weights and biases
  int64_t kv_width = 0;    // elements of key and value cache per token
  int64_t macs = 0;        // multiply-accumulates of linear layers per token
};

// The units of one kind in one block.
class UnitSpace {
 public:
  UnitSpace(const Model& model, int64_t block, UnitKind kind);

  int64_t size() const { return size_; }  // how many units there are
  std::vector<Slice> Owns(int64_t unit) const;
  std::vector<VectorSlice> OwnsOfVectors(int64_t unit) const;
  UnitCost Cost(int64_t unit) const;
  // The linear layer whose input columns the units feed (w_o, w_down) and how many of them one unit feeds, in unit
  // order.
  Role consumer() const { return kind_ == UnitKind::kKvGroup ? Role::kO : Role::kDown; }
  std::vector<int64_t> ConsumerColumns(int64_t unit) const;

 private:
  std::vector<int64_t> HeadsOf(int64_t group) const;

  const ModelConfig& config_;
  const Block& weights_;
  const BlockConfig& sizes_;
  UnitKind kind_;
  int64_t D_, size_;
};

}  // namespace espalier
