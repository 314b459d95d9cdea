#pragma once
// What changed between two checkpoints of one model: the failures that perplexity on short text does not show.
#include <functional>
#include <string>
#include <vector>

#include "espalier/analyze/phenomena.h"

namespace espalier {

enum class FlagKind {
  kStepUpLost,            // a sublayer that stepped up does not any more
  kProtectedUnitTouched,  // a step-up neuron was removed, or writes less than half of what it wrote
  kSpikesLost,            // nothing spikes any more
  kSpikesAppeared,        // nothing spiked before
  kSinksCollapsed,        // the sink rate fell below half
  kSinksAppeared          // it more than doubled, by at least a tenth of the heads
};
std::string FlagKindName(FlagKind kind);  // "step_up_lost"

struct PhenomenonFlag {
  FlagKind kind;
  std::string text;  // one sentence with figures
};

// Whether an FFN neuron of the first checkpoint is still in the second; where that is not known, neurons are compared
// by what they write.
using NeuronStays = std::function<bool(int64_t block, int64_t index)>;

// `after` against `before`. RecipeError when the two were measured on different amounts of text or with other
// thresholds: their figures cannot be compared.
std::vector<PhenomenonFlag> ComparePhenomena(const Phenomena& before, const Phenomena& after,
                                             const NeuronStays& stays = nullptr);

}  // namespace espalier
