#pragma once
// Gradients of several processes, added up.
#include <vector>

#include "espalier/comm/comm.h"
#include "espalier/heal/method.h"

namespace espalier {

// Replaces every parameter's gradient by its sum over ranks, in buckets that travel while the next one is packed. All
// ranks have the same parameters with gradients.
void SumGradients(Comm& comm, const std::vector<Trainable>& trainables);

}  // namespace espalier
