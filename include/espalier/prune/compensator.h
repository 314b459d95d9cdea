#pragma once
// Compensators refit the consumer of cut units (w_o, w_down) so that its output changes least on the calibration data.
#include <ATen/core/Tensor.h>

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

class Compensator {
 public:
  static constexpr std::string_view kKind = "compensator";
  virtual ~Compensator() = default;
  virtual bool AddsBias() const = 0;
  virtual bool NeedsProducts() const = 0;
  // `dense` is the consumer before the cut, `kept` its input columns that stay (sorted), `site` the moments of its
  // inputs. NumericError when the system cannot be solved.
  virtual Repair Fit(const Linear& dense, const SiteStatistics& site, const std::vector<int64_t>& kept) const = 0;
};

// Refits every cut consumer of `cut` (made from `model` by Cut with `plan`).
void Compensate(const Model& model, const Plan& plan, const Statistics& statistics, const Compensator& compensator,
                Model& cut);

}  // namespace espalier
