#include "teacher_cache.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/io/tensors.h"
#include "espalier/model/forward.h"
#include "espalier/model/precision.h"

namespace espalier {

using at::Tensor;

TeacherCache::TeacherCache(std::filesystem::path folder, const Model& teacher, TokenLossWeights weights,
                           c10::ScalarType matmul)
    : folder_(std::move(folder)), teacher_(teacher), weights_(weights), matmul_(matmul) {
  std::filesystem::create_directories(folder_);
}

TopPredictions TeacherCache::Of(const std::vector<int64_t>& rows, const Tensor& ids) const {
  std::vector<Tensor> top_ids, log_probs;
  for (size_t i = 0; i < rows.size(); ++i) {
    const TopPredictions window = Window(rows[i], ids.narrow(0, static_cast<int64_t>(i), 1));
    top_ids.push_back(window.ids);
    log_probs.push_back(window.log_probs);
  }
  return {at::cat(top_ids).to(ids.device()), at::cat(log_probs).to(ids.device())};
}

TopPredictions TeacherCache::Window(int64_t row, const Tensor& ids) const {
  const std::filesystem::path path = folder_ / fmt::format("{}.safetensors", row);
  const int64_t tokens = ids.size(1) - 1, top = std::min(weights_.top, teacher_.config.V);
  if (std::filesystem::exists(path)) {
    const NamedTensors tensors = LoadTensors(path);
    const auto part = [&](const char* name, at::ScalarType type) {
      const auto found = tensors.find(name);
      if (found == tensors.end() || found->second.scalar_type() != type ||
          found->second.sizes() != at::IntArrayRef({tokens, top}))
        throw IoError(
            fmt::format("{}: expected '{}' of {} tokens with the likeliest {} each; delete the folder of this "
                        "file to make it again",
                        path.string(), name, tokens, top));
      return found->second;
    };
    const Tensor read = part("ids", at::kInt).to(at::kLong);
    if (read.lt(0).logical_or_(read.ge(teacher_.config.V)).any().item<bool>())
      throw IoError(
          fmt::format("{}: a token beyond the vocabulary of {}; delete the folder of this file to make it "
                      "again",
                      path.string(), teacher_.config.V));
    return {read, part("log_probs", at::kFloat)};
  }
  const at::NoGradGuard no_grad;
  const ProductsIn rounded(teacher_.device(), matmul_);
  const Tensor hidden = HiddenStates(teacher_, ids).squeeze(0).narrow(0, 0, tokens);
  const TopPredictions made = TopOf(hidden, teacher_.Head(), top, weights_.temperature);
  const TopPredictions kept{made.ids.cpu(), made.log_probs.cpu()};
  SaveTensors(path, {{"ids", kept.ids.to(at::kInt)}, {"log_probs", kept.log_probs}},
              {{"format", "espalier.teacher/1"}});
  return kept;
}

}  // namespace espalier
