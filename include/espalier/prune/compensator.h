#pragma once
// Compensators refit the consumer of cut units (w_o, w_down) so that its output changes least on the calibration data.
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "espalier/calibrate/statistics.h"
#include "espalier/core/registry.h"
#include "espalier/model/model.h"
#include "espalier/plan/plan.h"

namespace espalier {

struct Repair {
  at::Tensor weight;  // [C, kept] float64
  at::Tensor bias;    // [C] float64; undefined: none
};

// The refitted output aims at the dense one plus a shift e, known by its moments with the consumer's inputs.
struct TargetShift {
  at::Tensor mean;      // [C] float64, weighted
  at::Tensor products;  // [n, C] float64, co-moment of inputs and shift: weighted sum of deviations' products
};

// What a consumer is refitted on: moments of all its inputs, in the dense numbering.
struct RefitData {
  RefitData(SiteStatistics moments = {}) : inputs(std::move(moments)) {}  // NOLINT: a site's statistics are such data
  SiteStatistics inputs;
  std::optional<TargetShift> shift;
  std::shared_ptr<const RefitData> held_out;  // other sequences, to choose the ridge by; null: none
};

// Refitting block by block on what reaches a consumer through the pruned blocks before it (sequential.h).
struct SequentialOptions {
  double feedback = 0;  // share of the residual error made so far that a target asks back, in [0, 1]
  double held_out = 0;  // share of the sequences by which the ridge is chosen, in [0, 1)
};

// Refitting w_v of later blocks as well (refit_values.h).
struct ValuesOptions {
  double ridge = 0;       // as a share of the mean square of the inputs
  int64_t sequences = 0;  // of the calibration's, evenly spread; 0: all
};

// A low-rank part beside the refit (residue.h).
struct ResidueOptions {
  int64_t rank = 0;       // linear channels of each FFN that lost some
  double ridge = 0;       // as a share of the mean variance of the inputs
  int64_t sequences = 0;  // of the calibration's, evenly spread; 0: all
};

class Compensator {
 public:
  static constexpr std::string_view kKind = "compensator";
  virtual ~Compensator() = default;
  virtual bool AddsBias() const = 0;
  // None: moments of the dense model are enough.
  virtual std::optional<SequentialOptions> Sequential() const { return std::nullopt; }
  // None: no low-rank part. With one, every w_gate gains a bias.
  virtual std::optional<ResidueOptions> Residue() const { return std::nullopt; }
  // None: w_v of later blocks stays.
  virtual std::optional<ValuesOptions> Values() const { return std::nullopt; }
  // `dense` is the consumer before the cut, `kept` its input columns that stay (sorted). NumericError when the system
  // cannot be solved.
  virtual Repair Fit(const Linear& dense, const RefitData& data, const std::vector<int64_t>& kept) const = 0;
};

// Refits every cut consumer of `cut` (made from `model` by Cut with `plan`) on the dense model's statistics. Quiet:
// without a progress bar.
void Compensate(const Model& model, const Plan& plan, const Statistics& statistics, const Compensator& compensator,
                Model& cut, bool quiet = false);

}  // namespace espalier
