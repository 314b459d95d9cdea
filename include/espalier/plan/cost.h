#pragma once
// What a model costs in each measure that a budget can be of.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/model/model.h"
#include "espalier/plan/timing.h"

namespace espalier {

// Multiply-accumulates for one token, by what they cost in time.
struct Macs {
  int64_t attention = 0, ffn = 0, head = 0;
  void Add(Role role, int64_t macs) { (OfAttention(role) ? attention : ffn) += macs; }
  Macs& operator+=(const Macs& other) {
    attention += other.attention;
    ffn += other.ffn;
    head += other.head;
    return *this;
  }
  int64_t Total() const { return attention + ffn + head; }
  int64_t Picoseconds(const Timing& timing) const;
};

Macs MacsOf(const Block& block);

struct Cost {
  int64_t block_parameters = 0;  // everything in the blocks
  int64_t total_parameters = 0;  // with embedding, final norm, head (a tied head counts once)
  int64_t bytes = 0;             // total_parameters in the dtype of the run
  int64_t kv_bytes = 0;          // key and value cache of one token
  int64_t macs = 0;              // multiply-accumulates of the linear layers for one token
  int64_t picoseconds = 0;       // of one token in a prefill, by a measured Timing; 0 where nothing was measured

  Cost& operator+=(const Cost& other);
};

inline constexpr const char* kBlockParameters = "block_parameters";  // the measure that shares are of by default

inline constexpr std::string_view kTimeMeasure = "milliseconds";  // the one that needs a Timing
std::vector<std::string> BudgetMeasures();
// The member of that name. RecipeError with the nearest names.
int64_t Cost::*MeasureMember(std::string_view budget_of);
int64_t Measure(const Cost& cost, std::string_view budget_of);

// Counted from the tensors of a model as it is, dense or cut; shapes are enough.
Cost DenseCost(const Model& model, const Timing& timing = {});

}  // namespace espalier
