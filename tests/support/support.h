#pragma once
// What tests of several modules need: where the model and the texts are, a folder that vanishes, what an error says.
#include <filesystem>
#include <string>

#include "espalier/core/error.h"

namespace espalier {

// The SmolLM2 file; suites that need it have names starting with Smol and skip themselves where it is not there.
inline std::filesystem::path ModelPath() {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
}

inline std::filesystem::path DataPath(const std::string& name) {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "eval/data" / name;
}

// An empty folder of its own, removed with everything in it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// What the Error that `action` throws says; "no error" when it throws none.
template <class Action>
std::string MessageOf(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace espalier
