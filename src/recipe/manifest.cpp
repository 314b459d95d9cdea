#include "manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/memory.h"

namespace espalier {

Manifest::Manifest(std::filesystem::path folder) : path_(folder / "manifest.json"), json_(std::make_unique<Json>()) {
  Read();
}

void Manifest::Read() {
  *json_ = Json::object();
  if (std::filesystem::exists(path_)) {
    try {
      *json_ = ReadJson(path_);
    } catch (const IoError& error) {
      LogWarning("{}; every stage runs again", error.what());
    }
  }
  if (!json_->is_object()) *json_ = Json::object();
  if (!json_->contains("stages") || !json_->at("stages").is_object()) (*json_)["stages"] = Json::object();
}

Manifest::~Manifest() = default;

bool Manifest::IsDone(const std::string& stage, const std::string& key) const {
  const Json& stages = json_->at("stages");
  return stages.contains(stage) && stages.at(stage).value("key", "") == key;
}

void Manifest::Forget(const std::string& stage) {
  if (json_->at("stages").erase(stage) > 0) Save();
}

void Manifest::Record(const std::string& stage, const std::string& key, double seconds, const Json& facts) {
  json_->at("stages")[stage] = {
      {"key", key}, {"seconds", seconds}, {"peak_memory_bytes", espalier::PeakMemory()}, {"facts", facts}};
  Save();
}

Json Manifest::Facts(const std::string& stage) const {
  const Json& stages = json_->at("stages");
  return stages.contains(stage) ? stages.at(stage).value("facts", Json()) : Json();
}

double Manifest::Seconds(const std::string& stage) const {
  const Json& stages = json_->at("stages");
  return stages.contains(stage) ? stages.at(stage).value("seconds", 0.0) : 0.0;
}

Json Manifest::Entry(const std::string& stage) const {
  const Json& stages = json_->at("stages");
  return stages.contains(stage) ? stages.at(stage) : Json();
}

void Manifest::Adopt(const std::string& stage, const Json& entry) {
  json_->at("stages")[stage] = entry;
  Save();
}

int64_t Manifest::PeakMemory() const {
  int64_t most = 0;
  for (const auto& [stage, entry] : json_->at("stages").items())
    most = std::max(most, entry.value("peak_memory_bytes", int64_t{0}));
  return most;
}

std::string Manifest::Pruned() const {
  return json_->value("pruned", "");
}

void Manifest::SetPruned(const std::string& key) {
  (*json_)["pruned"] = key;
  Save();
}

void Manifest::SetEnvironment(const Json& environment) {
  Json fresh = {{"schema", "espalier.manifest/1"}, {"environment", environment}};
  fresh["stages"] = json_->at("stages");
  if (json_->contains("pruned")) fresh["pruned"] = json_->at("pruned");
  *json_ = std::move(fresh);
  Save();
}

const Json& Manifest::environment() const {
  return json_->at("environment");
}

void Manifest::Save() const {
  WriteJson(path_, *json_);
}

}  // namespace espalier
