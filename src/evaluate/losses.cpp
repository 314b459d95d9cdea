#include "espalier/evaluate/losses.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/io/tensors.h"

namespace espalier {
namespace {

constexpr const char* kLosses = "losses";
constexpr const char* kDocuments = "documents";

}  // namespace

std::filesystem::path LossesPath(const std::filesystem::path& folder, const std::string& id) {
  return folder / (id + ".losses.safetensors");
}

void SaveLosses(const std::filesystem::path& folder, const std::string& id, const Losses& losses) {
  NamedTensors tensors = {{kLosses, losses.each}};
  if (losses.documents.defined()) tensors[kDocuments] = losses.documents;
  SaveTensors(LossesPath(folder, id), tensors, {{"id", id}});
}

Losses LoadLosses(const std::filesystem::path& folder, const std::string& id) {
  const std::filesystem::path path = LossesPath(folder, id);
  const NamedTensors tensors = LoadTensors(path);
  const auto found = tensors.find(kLosses);
  if (found == tensors.end())
    throw IoError(fmt::format("{}: no tensor '{}'; expected the losses of an evaluation", path.string(), kLosses));
  const auto documents = tensors.find(kDocuments);
  return {found->second, documents == tensors.end() ? at::Tensor() : documents->second};
}

}  // namespace espalier
