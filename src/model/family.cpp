#include "espalier/model/family.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/io/gguf.h"

namespace espalier {
namespace {

std::string StoredName(const Checkpoint& checkpoint) {
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
  const std::string name = StoredName(checkpoint);
  std::vector<std::string> known;
  for (const std::string& family : Registry<ModelFamily>::Names()) {
    const std::string stored = Registry<ModelFamily>::Create(family)->StoredFamily(checkpoint.format());
    if (stored == name) return Registry<ModelFamily>::Find(family);
    if (!stored.empty()) known.push_back(stored);
  }
  throw IoError(fmt::format("{}: {} '{}' is not supported; supported: {}", checkpoint.path().string(),
                            checkpoint.format() == CheckpointFormat::kGguf ? "architecture" : "model_type", name,
                            fmt::join(known, ", ")));
}

}  // namespace espalier
