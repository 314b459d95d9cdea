#include "checkpoints.h"

#include <fmt/format.h>

#include <exception>

#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {

namespace fs = std::filesystem;

fs::path Checkpoints::At(int64_t age) const {
  return age == 0 ? newest_ : fs::path(fmt::format("{}.{}", newest_.string(), age));
}

bool Checkpoints::Any() const {
  for (int64_t age = 0; age < keep_; ++age)
    if (fs::exists(At(age))) return true;
  return false;
}

void Checkpoints::Save(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) const {
  for (int64_t age = keep_ - 1; age > 1; --age)
    if (fs::exists(At(age - 1))) fs::rename(At(age - 1), At(age));
  if (keep_ > 1 && fs::exists(newest_)) {
    // A second name, so that the newest is there at every moment; where the file system has none, it is away until the
    // new one is written, and Load finds it under its older name.
    fs::remove(At(1));
    std::error_code no_links;
    fs::create_hard_link(newest_, At(1), no_links);
    if (no_links) fs::rename(newest_, At(1));
  }
  SaveTensors(newest_, tensors, metadata);
}

void Checkpoints::Load(const std::function<void(const NamedTensors&, const std::string& file)>& take) const {
  std::exception_ptr first;
  for (int64_t age = 0; age < keep_; ++age) {
    if (!fs::exists(At(age))) continue;
    try {
      take(LoadTensors(At(age)), At(age).string());
      return;
    } catch (const IoError& error) {
      if (!first) first = std::current_exception();
      LogWarning("{}; looking for an older checkpoint", error.what());
    }
  }
  if (!first) throw IoError(newest_.string() + ": no checkpoint to go on from");
  std::rethrow_exception(first);
}

bool Checkpoints::DropNewest() const {
  if (keep_ < 2 || !fs::exists(At(1))) return false;
  for (int64_t age = 0; age + 1 < keep_ && fs::exists(At(age + 1)); ++age) fs::rename(At(age + 1), At(age));
  return true;
}

}  // namespace espalier
