#pragma once
// Refitting one consumer of a cut model, whatever the data came from.
#include "espalier/plan/ledger.h"
#include "espalier/prune/compensator.h"

namespace espalier {

struct RefitContext {
  const Model& model;    // before the cut
  const Ledger& ledger;  // of the plan
  const Compensator& compensator;
  Model& cut;
};

// Whether input columns of the consumer went.
bool LosesInputs(const RefitContext& context, int64_t block, Role consumer);

// What the consumer becomes. ShapeError and NumericError name block and layer.
Repair FitConsumer(const RefitContext& context, int64_t block, Role consumer, const RefitData& data);
// Writes weight and bias of what is left of the consumer into `cut`.
void WriteRepair(const RefitContext& context, int64_t block, Role consumer, const Repair& repair);

}  // namespace espalier
