#pragma once
// Which rows and columns of which linear layers a unit owns, and what it costs. The ledger, the cutter and the masker
// work from this and never name a family.
#include <vector>

#include "espalier/model/head_layout.h"
#include "espalier/model/model.h"
#include "espalier/model/unit.h"

namespace espalier {

enum class Axis { kRows, kColumns };  // of weight [out, in]; a bias follows the rows

struct Slice {
  Role role;
  Axis axis;
  int64_t first = 0, count = 0;  // consecutive indices
};

// The same of a tensor that is not a linear layer's: a norm, sink logits.
struct VectorSlice {
  VectorRole role;
  int64_t first = 0, count = 0;
};

// What one removed unit saves.
struct UnitCost {
  int64_t parameters = 0;      // weights and biases
  int64_t kv_width = 0;        // elements of key and value cache per token
  int64_t macs = 0;            // multiply-accumulates of linear layers per token
  int64_t attention_macs = 0;  // of the macs, those of attention
  int64_t outside_macs = 0;    // and those of the head
  int64_t outside = 0;         // of the parameters, those outside the blocks: embedding, head, final norm
};

// How many units of a kind a block has, or the model for kinds of the model as a whole.
int64_t CountUnits(const ModelConfig& config, int64_t block, UnitKind kind);

// The units of one kind in one block, numbered from 0. The index of a value channel is its row of w_v; rotary pairs are
// numbered group by group, within a group by their lower dimension's place among the pairs (QkPairs); a sublayer or
// block is unit 0 of its block. Of a kind of the model as a whole, a space of block l is what the units own there; the
// space of kWholeModel has their full cost, and owns nothing itself (embedding, head and final norm are no block's).
class UnitSpace {
 public:
  UnitSpace(const Model& model, int64_t block, UnitKind kind);

  int64_t size() const { return size_; }  // how many units there are
  std::vector<Slice> Owns(int64_t unit) const;
  std::vector<VectorSlice> OwnsOfVectors(int64_t unit) const;
  // What it saves when nothing else has gone.
  UnitCost Cost(int64_t unit) const;
  // The input columns of w_o or w_down that the unit feeds; `consumer` must be one of Consumers(kind).
  std::vector<int64_t> ConsumerColumns(Role consumer, int64_t unit) const;
  // The same for the kinds with exactly one consumer; InternalError for the others, which have none or two.
  Role consumer() const;
  std::vector<int64_t> ConsumerColumns(int64_t unit) const { return ConsumerColumns(consumer(), unit); }

 private:
  HeadLayout Layout() const { return {sizes_, config_.D}; }
  void AddHead(const HeadLayout& layout, int64_t head, std::vector<Slice>& slices) const;
  std::vector<Slice> OwnsOfAttention() const;
  std::vector<Slice> OwnsOfFfn() const;
  std::vector<Slice> OwnsOfValueChannel(int64_t row) const;
  std::vector<Slice> OwnsOfQkPair(int64_t pair) const;
  std::vector<Slice> OwnsOfResidualChannel(int64_t channel) const;
  // Rows of w_k and, for each head, of w_q that a pair owns: single rows.
  struct PairRows {
    std::vector<int64_t> keys, queries;
  };
  PairRows RowsOfPair(int64_t pair) const;

  const Model& model_;
  const ModelConfig& config_;
  const Block& weights_;
  const BlockConfig& sizes_;
  UnitKind kind_;
  bool whole_model_;
  int64_t size_;
};

}  // namespace espalier
