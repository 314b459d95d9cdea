// Zeros around the heads and channels of a block.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>

#include "espalier/core/error.h"
#include "espalier/export/shapes.h"
#include "espalier/model/head_layout.h"

namespace espalier {
namespace {

using Places = std::vector<int64_t>;

Places UpTo(int64_t count) {
  Places places(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) places[static_cast<size_t>(i)] = i;
  return places;
}

// Rows of a weight [rows, C] or a vector [rows] at their places among `rows` others.
at::Tensor SpreadRows(const at::Tensor& tensor, const Places& places, int64_t rows) {
  if (tensor.dim() == 1) return Spread(tensor, places, rows);
  return Spread(tensor.t(), places, rows).t().contiguous();
}

// Where heads, and the rows of heads, of a block go among G groups of R heads.
class NewPlaces {
 public:
  NewPlaces(const BlockConfig& block, int64_t D, int64_t R) : layout_(block, D), D_(D) {
    for (int64_t group = 0; group < block.G; ++group)
      for (size_t r = 0; r < layout_.HeadsOf(group).size(); ++r)
        heads_[layout_.HeadsOf(group)[r]] = group * R + static_cast<int64_t>(r);
  }
  Places Heads() const {
    Places places;
    for (const auto& [head, place] : heads_) places.push_back(place);
    return places;
  }
  Places Query() const { return Moved(layout_.QueryPlaces()); }
  Places Output() const { return Moved(layout_.OutputPlaces()); }
  Places Key() const { return layout_.KeyPlaces(); }
  Places Value() const { return layout_.ValuePlaces(); }

 private:
  Places Moved(Places places) const {
    for (int64_t& place : places) place = heads_.at(place / D_) * D_ + place % D_;
    return places;
  }

  HeadLayout layout_;
  int64_t D_;
  std::map<int64_t, int64_t> heads_;
};

class Padder {
 public:
  Padder(Model& model, int64_t l, const PaddedSizes& sizes)
      : model_(model),
        config_(model.config),
        old_(model.config.blocks[static_cast<size_t>(l)]),
        block_(model.blocks[static_cast<size_t>(l)]),
        sizes_(sizes),
        where_(fmt::format("block {}", l)) {}

  void Pad() {
    const PaddedSizes even = EvenSizes(old_);
    const bool fits = even.G <= sizes_.G && even.heads_per_group <= sizes_.heads_per_group && even.F <= sizes_.F;
    if (!fits)
      throw ShapeError(fmt::format("{}: {} groups of {} heads and width {} do not fit {} of {} and {}", where_, even.G,
                                   even.heads_per_group, even.F, sizes_.G, sizes_.heads_per_group, sizes_.F));
    const bool same_heads = sizes_.G == 0 || (!old_.Ragged() && old_.H == sizes_.G * sizes_.heads_per_group &&
                                              old_.G == sizes_.G && old_.kv_of_head == EvenKvOfHead(old_.H, old_.G));
    if (!same_heads) PadAttention();
    if (old_.F != sizes_.F) PadFeedForward();
  }

 private:
  at::Tensor Zeros(at::IntArrayRef shape) const { return at::zeros(shape, model_.embedding.options()); }
  at::Tensor NeutralNorm(int64_t size) const { return Zeros({size}) + (config_.norm_adds_one ? 0 : 1); }

  void Rows(Linear& linear, const Places& places, int64_t rows) const {
    linear.weight = linear.defined() ? SpreadRows(linear.weight, places, rows) : Zeros({rows, config_.C});
    if (linear.bias.defined()) linear.bias = SpreadRows(linear.bias, places, rows);
  }
  void Columns(Linear& linear, const Places& places, int64_t columns) const {
    linear.weight = linear.defined() ? Spread(linear.weight, places, columns) : Zeros({config_.C, columns});
  }

  // A sublayer that comes back needs the norms that it had.
  void Norms(at::Tensor& before, at::Tensor& after, const Linear& output) const {
    const bool has_after = config_.norm_placement != NormPlacement::kPre;
    if (has_after && output.bias.defined() && !after.defined())
      throw ShapeError(
          fmt::format("{}: the constant of a removed sublayer has no place before the norm of its output; "
                      "prune without compensation, or keep the sublayer",
                      where_));
    if (config_.norm_placement != NormPlacement::kPost && !before.defined()) before = NeutralNorm(config_.C);
    if (has_after && !after.defined()) after = NeutralNorm(config_.C);
  }

  void PadAttention() {
    if (config_.qk_norm == QkNorm::kAllHeads)
      throw ShapeError(
          fmt::format("{}: one norm spans all heads, so heads of zeros would change it; export this family "
                      "with --to hf",
                      where_));
    Attention& a = block_.attention;
    const NewPlaces places(old_, config_.D, sizes_.heads_per_group);
    const int64_t H = sizes_.G * sizes_.heads_per_group, D = config_.D;
    if (!old_.HasAttention()) Norms(block_.attention_norm, block_.attention_post_norm, a.w_o);
    const GateKind gate = Gate();
    if (gate == GateKind::kElementwise) Rows(a.w_output_gate, places.Output(), H * D);
    if (gate == GateKind::kHeadwise) Rows(a.w_output_gate, places.Heads(), H);
    Rows(a.w_q, places.Query(), H * D);
    Rows(a.w_k, places.Key(), sizes_.G * D);
    Rows(a.w_v, places.Value(), sizes_.G * D);
    Columns(a.w_o, places.Output(), H * D);
    if (config_.qk_norm == QkNorm::kPerHead && !a.q_norm.defined()) a.q_norm = a.k_norm = NeutralNorm(D);
    if (old_.sink_logits)
      a.sink_logits = a.sink_logits.defined() ? SpreadRows(a.sink_logits, places.Heads(), H) : Zeros({H});
    old_.H = H, old_.G = sizes_.G, old_.gate = gate;
    old_.kv_of_head = EvenKvOfHead(H, sizes_.G);
    old_.value_channels.clear(), old_.qk_dims.clear();
  }

  // One kind for the whole model.
  GateKind Gate() const {
    for (const BlockConfig& block : config_.blocks)
      if (block.gate != GateKind::kNone) return block.gate;
    return GateKind::kNone;
  }

  void PadFeedForward() {
    FeedForward& f = block_.ffn;
    if (!old_.HasFeedForward()) Norms(block_.ffn_norm, block_.ffn_post_norm, f.w_down);
    const Places places = UpTo(old_.F);
    Rows(f.w_gate, places, sizes_.F);
    Rows(f.w_up, places, sizes_.F);
    Columns(f.w_down, places, sizes_.F);
    old_.F = sizes_.F;
  }

  Model& model_;
  const ModelConfig& config_;
  BlockConfig& old_;
  Block& block_;
  const PaddedSizes& sizes_;
  std::string where_;
};

}  // namespace

void PadBlock(Model& model, int64_t l, const PaddedSizes& sizes) {
  Padder(model, l, sizes).Pad();
}

}  // namespace espalier
