#pragma once
// Per-token losses that an evaluation keeps beside its results, so that differences between models can be paired.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace espalier {

// `folder`: evaluate/<model> of a run; `id`: of the results.
std::filesystem::path TokenNllPath(const std::filesystem::path& folder, const std::string& id);
// [tokens] float32, in text order. IoError when there is none.
at::Tensor LoadTokenNll(const std::filesystem::path& folder, const std::string& id);

}  // namespace espalier
