#include "espalier/evaluate/token_nll.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/io/tensors.h"

namespace espalier {

std::filesystem::path TokenNllPath(const std::filesystem::path& folder, const std::string& id) {
  return folder / (id + ".nll.safetensors");
}

void SaveTokenLosses(const std::filesystem::path& folder, const std::string& id, const TokenLosses& losses) {
  NamedTensors tensors = {{"nll", losses.nll}};
  if (losses.documents.defined()) tensors["documents"] = losses.documents;
  SaveTensors(TokenNllPath(folder, id), tensors, {{"id", id}});
}

TokenLosses LoadTokenLosses(const std::filesystem::path& folder, const std::string& id) {
  const std::filesystem::path path = TokenNllPath(folder, id);
  const NamedTensors tensors = LoadTensors(path);
  const auto found = tensors.find("nll");
  if (found == tensors.end())
    throw IoError(fmt::format("{}: no tensor 'nll'; expected per-token losses of an evaluation", path.string()));
  const auto documents = tensors.find("documents");
  return {found->second, documents == tensors.end() ? at::Tensor() : documents->second};
}

}  // namespace espalier
