#pragma once
// A teacher's likeliest tokens for each training window, on disk: from the second pass over the text on, and after a
// resumption, distillation costs no pass of the teacher.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <vector>

#include "espalier/model/loss.h"
#include "espalier/model/model.h"

namespace espalier {

class TeacherCache {
 public:
  // One file a window in `folder`, made when it is first asked for. Whoever names the folder answers for it being of
  // this teacher, these windows and these weights.
  TeacherCache(std::filesystem::path folder, const Model& teacher, TokenLossWeights weights, c10::ScalarType matmul);

  // Of the predicting tokens of windows `rows`, ids [B, T] int64 their tokens: [B*(T-1), top]. Each window is run
  // alone, so that its predictions are bitwise the same in whatever batch and after whatever interruption.
  // IoError when a file does not fit.
  TopPredictions Of(const std::vector<int64_t>& rows, const at::Tensor& ids) const;

 private:
  TopPredictions Window(int64_t row, const at::Tensor& ids) const;

  std::filesystem::path folder_;
  const Model& teacher_;
  TokenLossWeights weights_;
  c10::ScalarType matmul_;
};

}  // namespace espalier
