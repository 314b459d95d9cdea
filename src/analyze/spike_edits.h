#pragma once
// Edits of the residual stream at the tokens and channels that spike.
#include <memory>

#include "espalier/analyze/interventions.h"

namespace espalier {

// After each sublayer that steps up: values of the spike channels above spike_ratio medians become zero, their mean or
// a multiple; for the control, as many values of median size of the same tokens become zero.
std::shared_ptr<Edit> MakeSpikeEdit(const Model& model, const Intervention& intervention, const Phenomena& phenomena,
                                    const at::Tensor& windows);

}  // namespace espalier
