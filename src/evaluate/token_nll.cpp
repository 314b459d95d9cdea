#include "espalier/evaluate/token_nll.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/io/tensors.h"

namespace espalier {

std::filesystem::path TokenNllPath(const std::filesystem::path& folder, const std::string& id) {
  return folder / (id + ".nll.safetensors");
}

at::Tensor LoadTokenNll(const std::filesystem::path& folder, const std::string& id) {
  const std::filesystem::path path = TokenNllPath(folder, id);
  const NamedTensors tensors = LoadTensors(path);
  const auto found = tensors.find("nll");
  if (found == tensors.end())
    throw IoError(fmt::format("{}: no tensor 'nll'; expected per-token losses of an evaluation", path.string()));
  return found->second;
}

}  // namespace espalier
