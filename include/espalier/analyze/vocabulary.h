#pragma once
// Which tokens of the vocabulary spike when they stand first: arXiv 2603.05498, section 3.1.3 and Table 2 (98 to 99.9
// %).
#include <ATen/core/Tensor.h>

#include "espalier/analyze/analyze.h"
#include "espalier/analyze/phenomena.h"
#include "espalier/model/model.h"

namespace espalier {

// Every id as a text of one token, measured after the step-up sublayer whose ratio of maximum to median is largest (not
// the last: the final blocks of SmolLM2-135M step other channels up while they take the spike away; where none steps
// up, after the block with the largest ratio), on the spike channels (all channels where none spikes), against
// spike_ratio times the median that `phenomena` has there. Control: vocabulary_sample ids of the vocabulary, each
// behind `prefix` [n] int64, n >= 1, the first tokens of an ordinary text. `tokenizer` spells the exceptions and bounds
// the vocabulary where the embedding is padded; may be null.
VocabularyProbe ProbeVocabulary(const Model& model, const Phenomena& phenomena, const at::Tensor& prefix,
                                const Tokenizer* tokenizer, const AnalyzeOptions& options);

}  // namespace espalier
