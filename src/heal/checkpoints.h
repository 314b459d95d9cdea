#pragma once
// The last few states of a training on disk, newest first: a damaged or bad one leads back to the one before.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "espalier/io/tensors.h"

namespace espalier {

class Checkpoints {
 public:
  // `newest` is the file; older ones stand beside it as newest.1, newest.2, ... `keep` of them in all.
  Checkpoints(std::filesystem::path newest, int64_t keep) : newest_(std::move(newest)), keep_(keep) {}

  bool Any() const;
  // Whole or not at all: on a full disk, and after a kill, what was the newest still is.
  void Save(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) const;
  // Hands the newest to `take`; where the file is damaged, or `take` throws an IoError, the one before, with a warning.
  // IoError of the newest when none is left.
  void Load(const std::function<void(const NamedTensors&, const std::string& file)>& take) const;
  // The one before becomes the newest; false when there is none, and nothing changes.
  bool DropNewest() const;

 private:
  std::filesystem::path At(int64_t age) const;

  std::filesystem::path newest_;
  int64_t keep_;
};

}  // namespace espalier
