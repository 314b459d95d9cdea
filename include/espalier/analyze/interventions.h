#pragma once
// Interventions: a model with one thing changed, to see what it was for. Sun et al. 2024, arXiv 2402.17762 (zero, mean,
// median control), Yu et al. 2024, arXiv 2411.07191 (super weights), Guo et al. 2024, arXiv 2410.13835 (attention moved
// to the first token).
#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "espalier/analyze/phenomena.h"
#include "espalier/model/model.h"

namespace espalier {

enum class InterventionKind {
  kNeuron,       // neuron:11.1229+11.1487      columns of w_down set to zero
  kControl,      // control:11x10               ten other neurons of block 11, drawn by counter, set to zero
  kSpikeZero,    // spike:zero                  spiking values after each step-up set to zero
  kSpikeMean,    // spike:mean                  to their mean over the analysed text
  kSpikeScale,   // spike:scale=0.5             multiplied
  kMedian,       // median:zero                 as many values of median size, of the same tokens, set to zero
  kSuperWeight,  // super_weight:remove, super_weight:scale=0.5
  kToFirst       // bos:12.3                    head 3 of block 12 reads position 0 only
};

struct Place {
  int64_t block = 0, index = 0;  // neuron or query head
};

struct Intervention {
  InterventionKind kind = InterventionKind::kNeuron;
  std::string text;              // as given
  std::vector<Place> places;     // neuron, bos
  int64_t block = 0, count = 0;  // control
  double factor = 0;             // spike:scale, super_weight:scale; 0 removes
};

// One line for each form, for help texts.
std::string_view InterventionForms();
// RecipeError naming the text and the forms there are.
Intervention ParseIntervention(std::string_view text);

// A model that shares all tensors with `model` but those it changes; `model` itself is as it was, which is what
// restores a removed weight. `phenomena` must be of `model`, `windows` [S, T] the text it was measured on (means come
// from it). RecipeError when there is nothing to change: no spike, no super weight, no such neuron or head.
Model Intervene(const Model& model, const Intervention& intervention, const Phenomena& phenomena,
                const at::Tensor& windows);

}  // namespace espalier
