// What the command sets up for the whole process.
#include <gtest/gtest.h>

#include "espalier/core/log.h"
#include "espalier/model/precision.h"

namespace espalier {
namespace {

class LikeTheCommand : public testing::Environment {
 public:
  void SetUp() override {
    StartLogging(Verbosity::kQuiet);  // results only: no progress bars, no log lines
    UseFasterFloat32Products();       // in children as well: sums of another library end in other bits
  }
};

const testing::Environment* const kLikeTheCommand = testing::AddGlobalTestEnvironment(new LikeTheCommand);

}  // namespace
}  // namespace espalier
