#pragma once
// What many tests need: where the data is, folders that clean up after themselves, what an error says.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>

#include "espalier/core/error.h"

namespace espalier {

// May be missing: suites that need it start with Smol and skip.
inline std::filesystem::path ModelPath() {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
}

inline std::filesystem::path DataPath(const std::string& name) {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "eval/data" / name;
}

// An empty folder of this process, removed with what is in it.
class TempFolder {
 public:
  TempFolder() {
    static std::atomic<int> counter{0};
    path_ = std::filesystem::path(testing::TempDir()) /
            ("espalier-test-" + std::to_string(getpid()) + "-" + std::to_string(counter++));
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What the Error that `action` throws says; "no error" when it throws none.
template <class Action>
std::string MessageOf(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace espalier
