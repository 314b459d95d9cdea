#pragma once
// Outputs of stages that the runs of a sweep have in common, by stage and key. A kill leaves an output whole or absent.
#include <filesystem>
#include <optional>
#include <string>

#include "espalier/core/json.h"

namespace espalier {

class SharedStore {
 public:
  explicit SharedStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  bool Has(const std::string& stage, const std::string& key) const;
  // Puts what is stored at `output`, a file or a folder, replacing what is there, by hard links where the file system
  // has them, else by copies. The manifest's entry of the run that computed it; none when nothing is stored.
  std::optional<Json> Fetch(const std::string& stage, const std::string& key,
                            const std::filesystem::path& output) const;
  // `entry` is the manifest's, and holds the key.
  void Store(const std::string& stage, const std::string& key, const std::filesystem::path& output,
             const Json& entry) const;
  // Everything that is stored of `stage`.
  void Drop(const std::string& stage) const;

 private:
  std::filesystem::path FolderOf(const std::string& stage, const std::string& key) const;
  std::filesystem::path folder_;
};

}  // namespace espalier
