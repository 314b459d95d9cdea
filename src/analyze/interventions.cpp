#include "espalier/analyze/interventions.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/random.h"
#include "espalier/model/head_layout.h"
#include "spike_edits.h"

namespace espalier {
namespace {

constexpr std::string_view kForms =
    "neuron:B.I[+B.I...], control:BxN, spike:zero, spike:mean, spike:scale=X, median:zero, super_weight:remove, "
    "super_weight:scale=X, bos:B.H[+B.H...]";

[[noreturn]] void Refuse(std::string_view text) {
  throw RecipeError(fmt::format("intervention '{}': expected one of {}", text, kForms));
}

// A whole number at the front of `text`, which moves on.
int64_t TakeInt(std::string_view& text, std::string_view whole) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) Refuse(whole);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

void Take(std::string_view& text, char expected, std::string_view whole) {
  if (text.empty() || text.front() != expected) Refuse(whole);
  text.remove_prefix(1);
}

std::vector<Place> ParsePlaces(std::string_view text, std::string_view whole) {
  std::vector<Place> places;
  while (true) {
    Place place;
    place.block = TakeInt(text, whole);
    Take(text, '.', whole);
    place.index = TakeInt(text, whole);
    places.push_back(place);
    if (text.empty()) return places;
    Take(text, '+', whole);
  }
}

double ParseFactor(std::string_view text, std::string_view whole) {
  constexpr std::string_view kScale = "scale=";
  if (!text.starts_with(kScale)) Refuse(whole);
  text.remove_prefix(kScale.size());
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) Refuse(whole);
  return value;
}

at::Tensor& WDown(Model& model, int64_t block) {
  return model.blocks[static_cast<size_t>(block)].ffn.w_down.weight;
}

void CheckPlace(const Place& place, int64_t blocks, int64_t units, const Intervention& intervention,
                std::string_view what) {
  if (place.block < blocks && place.index < units) return;
  throw RecipeError(fmt::format("intervention '{}': no {} {} in block {}; the model has {} blocks{}", intervention.text,
                                what, place.index, place.block, blocks,
                                place.block < blocks ? fmt::format(" and {} there", units) : ""));
}

void ZeroNeurons(Model& model, const std::vector<Place>& neurons, const Intervention& intervention) {
  for (const Place& neuron : neurons) {
    const int64_t F = neuron.block < model.config.L() ? model.config.blocks[static_cast<size_t>(neuron.block)].F : 0;
    CheckPlace(neuron, model.config.L(), F, intervention, "neuron");
    at::Tensor& w_down = WDown(model, neuron.block);
    w_down = w_down.index_fill(1, at::tensor({neuron.index}, at::kLong).to(w_down.device()), 0);
  }
}

// Neurons of one block that are not among those that make or unmake spikes.
std::vector<Place> OtherNeurons(const Model& model, const Intervention& intervention, const Phenomena& phenomena) {
  const int64_t l = intervention.block;
  CheckPlace({l, 0}, model.config.L(), 1, intervention, "neuron");
  std::set<int64_t> known;
  for (const SpikeNeuron& neuron : phenomena.neurons)
    if (neuron.block == l) known.insert(neuron.index);
  std::vector<Place> others;
  for (const int64_t index : RandomOrder(model.config.blocks[static_cast<size_t>(l)].F, 0, static_cast<uint64_t>(l)))
    if (static_cast<int64_t>(others.size()) < intervention.count && !known.contains(index))
      others.push_back({l, index});
  if (static_cast<int64_t>(others.size()) < intervention.count)
    throw RecipeError(
        fmt::format("intervention '{}': block {} has {} other neurons", intervention.text, l, others.size()));
  return others;
}

void ScaleSuperWeights(Model& model, const Intervention& intervention, const Phenomena& phenomena) {
  if (phenomena.super_weights.empty())
    throw RecipeError(fmt::format("intervention '{}': no super weight was found in this model", intervention.text));
  for (const SuperWeight& weight : phenomena.super_weights) {
    at::Tensor& w_down = WDown(model, weight.block);
    w_down = w_down.clone();
    w_down[weight.row][weight.column] *= intervention.factor;
  }
}

// Makes heads read the value of position 0 alone, whatever their queries say.
class ToFirst final : public Edit {
 public:
  ToFirst(const Model& model, std::vector<Place> heads) : config_(model.config), heads_(std::move(heads)) {}

  at::Tensor Replace(int64_t block, Site site, const at::Tensor& value) override {
    if (site == Site::kV) value_ = value;
    if (site != Site::kSdpaOut) return value;
    at::Tensor changed = value;
    for (const Place& head : heads_) {
      if (head.block != block) continue;
      if (changed.is_same(value)) changed = value.clone();
      const BlockConfig& sizes = config_.blocks[static_cast<size_t>(block)];
      const HeadLayout layout(sizes, config_.D);
      const int64_t group = sizes.kv_of_head[static_cast<size_t>(head.index)];
      const Run columns = layout.Output(head.index);
      const at::Tensor kept = at::tensor(layout.ValueDimensions(group), at::kLong).to(value.device());
      const at::Tensor first = value_.select(1, group).narrow(1, 0, 1).index_select(2, kept);  // [B, 1, columns]
      changed.narrow(2, columns.first, columns.count)
          .copy_(first.expand({value.size(0), value.size(1), columns.count}));
    }
    return changed;
  }

 private:
  ModelConfig config_;
  std::vector<Place> heads_;
  at::Tensor value_;  // of the block that is running
};

}  // namespace

std::string_view InterventionForms() {
  return kForms;
}

Intervention ParseIntervention(std::string_view text) {
  Intervention intervention;
  intervention.text = text;
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) Refuse(text);
  const std::string_view kind = text.substr(0, colon);
  std::string_view rest = text.substr(colon + 1);
  if (kind == "neuron" || kind == "bos") {
    intervention.kind = kind == "bos" ? InterventionKind::kToFirst : InterventionKind::kNeuron;
    intervention.places = ParsePlaces(rest, text);
  } else if (kind == "control") {
    intervention.kind = InterventionKind::kControl;
    intervention.block = TakeInt(rest, text);
    Take(rest, 'x', text);
    intervention.count = TakeInt(rest, text);
    if (!rest.empty() || intervention.count < 1) Refuse(text);
  } else if (kind == "spike") {
    intervention.kind = rest == "zero"   ? InterventionKind::kSpikeZero
                        : rest == "mean" ? InterventionKind::kSpikeMean
                                         : InterventionKind::kSpikeScale;
    if (intervention.kind == InterventionKind::kSpikeScale) intervention.factor = ParseFactor(rest, text);
  } else if (kind == "median" && rest == "zero") {
    intervention.kind = InterventionKind::kMedian;
  } else if (kind == "super_weight") {
    intervention.kind = InterventionKind::kSuperWeight;
    intervention.factor = rest == "remove" ? 0 : ParseFactor(rest, text);
  } else {
    Refuse(text);
  }
  return intervention;
}

Model Intervene(const Model& model, const Intervention& intervention, const Phenomena& phenomena,
                const at::Tensor& windows) {
  Model changed = model;
  switch (intervention.kind) {
    case InterventionKind::kNeuron:
      ZeroNeurons(changed, intervention.places, intervention);
      break;
    case InterventionKind::kControl:
      ZeroNeurons(changed, OtherNeurons(model, intervention, phenomena), intervention);
      break;
    case InterventionKind::kSuperWeight:
      ScaleSuperWeights(changed, intervention, phenomena);
      break;
    case InterventionKind::kToFirst:
      for (const Place& head : intervention.places)
        CheckPlace(head, model.config.L(),
                   head.block < model.config.L() ? model.config.blocks[static_cast<size_t>(head.block)].H : 0,
                   intervention, "head");
      changed.edit = std::make_shared<ToFirst>(model, intervention.places);
      break;
    case InterventionKind::kSpikeZero:
    case InterventionKind::kSpikeMean:
    case InterventionKind::kSpikeScale:
    case InterventionKind::kMedian:
      changed.edit = MakeSpikeEdit(model, intervention, phenomena, windows);
      break;
  }
  return changed;
}

}  // namespace espalier
