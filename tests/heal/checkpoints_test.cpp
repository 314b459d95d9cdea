#include "../../src/heal/checkpoints.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "support/support.h"

namespace espalier {
namespace {

NamedTensors Numbered(int64_t number) {
  return {{"number", at::full({1}, number, at::kLong)}};
}

int64_t NumberIn(const Checkpoints& checkpoints) {
  int64_t number = -1;
  checkpoints.Load(
      [&](const NamedTensors& tensors, const std::string&) { number = tensors.at("number").item<int64_t>(); });
  return number;
}

class LastThree : public testing::Test {
 protected:
  LastThree() {
    for (int64_t number = 1; number <= 5; ++number) checkpoints_.Save(Numbered(number), {});
  }
  TempFolder folder_;
  Checkpoints checkpoints_ = Checkpoints(folder_ / "state", 3);
};

TEST_F(LastThree, AreKeptAndNoMore) {
  EXPECT_EQ(NumberIn(checkpoints_), 5);
  EXPECT_EQ(LoadTensors(folder_ / "state.1").at("number").item<int64_t>(), 4);
  EXPECT_EQ(LoadTensors(folder_ / "state.2").at("number").item<int64_t>(), 3);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "state.3"));
}

TEST_F(LastThree, LeadBackFromADamagedOne) {
  std::filesystem::resize_file(folder_ / "state", 20);
  EXPECT_EQ(NumberIn(checkpoints_), 4);
  std::filesystem::remove(folder_ / "state");
  WriteFile(folder_ / "state.1", "");
  EXPECT_EQ(NumberIn(checkpoints_), 3);
  WriteFile(folder_ / "state.2", "");
  EXPECT_THROW(NumberIn(checkpoints_), IoError);
}

TEST_F(LastThree, MoveUpWhenTheNewestIsDropped) {
  EXPECT_TRUE(checkpoints_.DropNewest());
  EXPECT_EQ(NumberIn(checkpoints_), 4);
  EXPECT_TRUE(checkpoints_.DropNewest());
  EXPECT_EQ(NumberIn(checkpoints_), 3);
  EXPECT_FALSE(checkpoints_.DropNewest());  // the last one stays
  EXPECT_EQ(NumberIn(checkpoints_), 3);
}

TEST(Checkpoints, OfOneFileAreReplaced) {
  const TempFolder folder;
  const Checkpoints one(folder / "state", 1);
  EXPECT_FALSE(one.Any());
  one.Save(Numbered(1), {});
  one.Save(Numbered(2), {});
  EXPECT_TRUE(one.Any());
  EXPECT_EQ(NumberIn(one), 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "state.1"));
}

}  // namespace
}  // namespace espalier
