#pragma once
// Rendered text, byte for byte. ESPALIER_UPDATE_GOLDENS=1 rewrites the files; the review reads the difference.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "espalier/core/files.h"

namespace espalier {

// `name` below tests/goldens: "analyze/notices.txt".
inline void ExpectGolden(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/goldens" / name;
  const char* update = std::getenv("ESPALIER_UPDATE_GOLDENS");
  if (update != nullptr && std::string(update) == "1") WriteFile(path, text);
  // Not EXPECT_EQ: pages of text in a message help nobody.
  EXPECT_TRUE(ReadFile(path) == text)
      << path << " differs; write what the test got with ESPALIER_UPDATE_GOLDENS=1 and read the difference";
}

}  // namespace espalier
