#include "shared_store.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char *kEntry = "stage.json", *kOutput = "output";
constexpr size_t kKeyDigits = 16;

void LinkFile(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  fs::create_hard_link(from, to, failed);
  if (failed) fs::copy_file(from, to, fs::copy_options::overwrite_existing, failed);
  if (failed) throw IoError(fmt::format("{}: cannot copy it to {}: {}", from.string(), to.string(), failed.message()));
}

// A file, or a folder with all in it. `to` is not there yet.
void LinkTree(const fs::path& from, const fs::path& to) {
  if (!fs::is_directory(from)) return LinkFile(from, to);
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from))  // hidden: unfinished files of a killed process
    if (!entry.path().filename().string().starts_with('.')) LinkTree(entry.path(), to / entry.path().filename());
}

}  // namespace

fs::path SharedStore::FolderOf(const std::string& stage, const std::string& key) const {
  return folder_ / fmt::format("{}-{}", stage, key.substr(0, kKeyDigits));
}

bool SharedStore::Has(const std::string& stage, const std::string& key) const {
  return fs::exists(FolderOf(stage, key) / kEntry);
}

std::optional<Json> SharedStore::Fetch(const std::string& stage, const std::string& key, const fs::path& output) const {
  if (!Has(stage, key)) return std::nullopt;
  const fs::path stored = FolderOf(stage, key);
  Json entry = ReadJson(stored / kEntry);
  if (!entry.is_object() || entry.value("key", "") != key) return std::nullopt;
  fs::create_directories(output.parent_path());
  if (fs::is_directory(stored / kOutput)) {
    AtomicFolder folder(output);
    LinkTree(stored / kOutput, folder.temporary());
    folder.Commit();
  } else {
    fs::path temporary = output;
    temporary += ".link";  // left by a kill, it is replaced by the next try
    fs::remove(temporary);
    LinkFile(stored / kOutput, temporary);
    fs::rename(temporary, output);
  }
  return entry;
}

void SharedStore::Store(const std::string& stage, const std::string& key, const fs::path& output,
                        const Json& entry) const {
  if (Has(stage, key)) return;
  AtomicFolder folder(FolderOf(stage, key));
  LinkTree(output, folder.temporary() / kOutput);
  WriteJson(folder.temporary() / kEntry, entry);
  folder.Commit();
}

void SharedStore::Drop(const std::string& stage) const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_, ignored))
    if (entry.path().filename().string().starts_with(stage + "-")) fs::remove_all(entry.path(), ignored);
}

}  // namespace espalier
