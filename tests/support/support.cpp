#include "support/support.h"

#include <gtest/gtest.h>
#include <stdlib.h>

namespace espalier {

TempFolder::TempFolder() {
  std::string name = (std::filesystem::path(testing::TempDir()) / "espalier-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw IoError(name + ": cannot make a folder for the test");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace espalier
