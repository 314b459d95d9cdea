// Tests print results only: no progress bars, no log lines.
#include <gtest/gtest.h>

#include "espalier/core/log.h"

namespace espalier {
namespace {

class Quiet : public testing::Environment {
 public:
  void SetUp() override { StartLogging(Verbosity::kQuiet); }
};

const testing::Environment* const kQuiet = testing::AddGlobalTestEnvironment(new Quiet);

}  // namespace
}  // namespace espalier
