#pragma once
// Per-token losses that an evaluation keeps beside its results, so that differences between models can be paired.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace espalier {

// Losses of one result, in text order.
struct TokenLosses {
  at::Tensor nll;        // [tokens] float32, nats
  at::Tensor documents;  // [documents] int64, first token of each; undefined: one text
};

// `folder`: evaluate/<model> of a run; `id`: of the results.
std::filesystem::path TokenNllPath(const std::filesystem::path& folder, const std::string& id);
void SaveTokenLosses(const std::filesystem::path& folder, const std::string& id, const TokenLosses& losses);
// IoError when there is none.
TokenLosses LoadTokenLosses(const std::filesystem::path& folder, const std::string& id);

}  // namespace espalier
