#include "espalier/model/family.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/io/gguf.h"

namespace espalier {
namespace {

std::string FamilyName(const Checkpoint& checkpoint) {
  if (checkpoint.format() == CheckpointFormat::kGguf) return checkpoint.Gguf().Text("general.architecture");
  const Json& config = checkpoint.Config();
  const auto found = config.find("model_type");
  if (found == config.end() || !found->is_string())
    throw IoError(fmt::format("{}/config.json: no model_type; expected the family's name, for example \"llama\"",
                              checkpoint.path().string()));
  return found->get<std::string>();
}

}  // namespace

const Registry<ModelFamily>::Entry& FamilyOf(const Checkpoint& checkpoint) {
  const std::string name = FamilyName(checkpoint);
  const std::vector<std::string> known = Registry<ModelFamily>::Names();
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw IoError(fmt::format("{}: {}", checkpoint.path().string(), UnknownName("model family", name, known)));
  return Registry<ModelFamily>::Find(name);
}

}  // namespace espalier
