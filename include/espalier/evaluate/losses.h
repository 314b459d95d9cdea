#pragma once
// Losses that an evaluation keeps beside its results, so that differences between models can be paired.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace espalier {

// Losses of one result, in the order of the text or of the items.
struct Losses {
  at::Tensor each;       // [tokens] float32: negative log-likelihood, nats; or [items]: 0 right, 1 wrong
  at::Tensor documents;  // [documents] int64, first token of each; undefined: one text, or items
};

// `folder`: evaluate/<model> of a run; `id`: of the results.
std::filesystem::path LossesPath(const std::filesystem::path& folder, const std::string& id);
void SaveLosses(const std::filesystem::path& folder, const std::string& id, const Losses& losses);
// IoError when there is none.
Losses LoadLosses(const std::filesystem::path& folder, const std::string& id);

}  // namespace espalier
