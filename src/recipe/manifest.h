#pragma once
// manifest.json of a run: what it ran with, and which stages are finished under which key.
#include <filesystem>
#include <map>
#include <string>

#include "espalier/core/json.h"

namespace espalier {

class Manifest {
 public:
  explicit Manifest(std::filesystem::path folder);  // reads manifest.json when it is there
  void Read();                                      // again: another process has written it
  ~Manifest();

  bool IsDone(const std::string& stage, const std::string& key) const;
  void Forget(const std::string& stage);  // on disk too
  void Record(const std::string& stage, const std::string& key, double seconds, const Json& facts);
  // Facts of a finished stage; null when there are none.
  Json Facts(const std::string& stage) const;
  double Seconds(const std::string& stage) const;
  // The whole entry of a finished stage (null when there is none), and one that another run has recorded.
  Json Entry(const std::string& stage) const;
  void Adopt(const std::string& stage, const Json& entry);
  // The most that any finished stage needed, bytes.
  int64_t PeakMemory() const;
  // Key of the pruned model in the folder; empty when there is none.
  std::string Pruned() const;
  void SetPruned(const std::string& key);
  void SetEnvironment(const Json& environment);
  const Json& environment() const;

 private:
  void Save() const;
  std::filesystem::path path_;
  std::unique_ptr<Json> json_;
};

}  // namespace espalier
