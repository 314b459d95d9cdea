#pragma once
// Which window a training step reads, counted and not drawn: the same at any step, in any process, after any
// interruption.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "espalier/heal/trainer.h"

namespace espalier {

class Mixture {
 public:
  // Holds the last `held_out` windows of each text back. RecipeError naming the text that has no more than those.
  Mixture(const std::vector<TrainingText>& texts, int64_t held_out, uint64_t seed);

  // Windows of samples first .. first + count - 1. A text has its weight's share of the samples, as evenly spread as
  // the golden ratio's multiples are; its windows come in a new order each time it has been seen once.
  std::vector<int64_t> Rows(int64_t first, int64_t count);
  std::vector<int64_t> Training() const;                       // all windows that are not held out, text by text
  at::Tensor Windows(const std::vector<int64_t>& rows) const;  // [rows, T] int64
  int64_t size() const { return all_.size(0); }

  // The mean of `loss` over the held-out windows, each text by its weight.
  template <class Loss>
  double HeldOut(const Loss& loss) const {
    double mean = 0;
    for (const Part& part : parts_) {
      double sum = 0;
      for (int64_t row = part.first + part.training; row < part.first + part.training + held_out_; ++row)
        sum += loss(Windows({row}));
      mean += part.share * sum / static_cast<double>(held_out_);
    }
    return mean;
  }

 private:
  struct Part {
    int64_t first = 0, training = 0;  // windows: where the text's start, how many are not held out
    double share = 0;                 // of the samples
    std::pair<int64_t, std::vector<int64_t>> order = {-1, {}};  // of the pass at hand
  };

  size_t PartOf(int64_t sample) const;
  int64_t Row(size_t part, int64_t k);  // the k-th window of a text

  at::Tensor all_;  // [windows, T]
  std::vector<Part> parts_;
  int64_t held_out_;
  uint64_t seed_;
  std::vector<int64_t> drawn_;  // samples of each text before next_
  int64_t next_ = 0;
};

}  // namespace espalier
