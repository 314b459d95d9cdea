#pragma once
// Dumps of transformers under tests/model/fixtures and the comparison of every tap with them.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "espalier/io/tensors.h"
#include "espalier/model/site.h"

namespace espalier {

inline std::filesystem::path Fixture(const std::string& name) {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/model/fixtures" / name;
}

inline double LargestDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// Compares every tap that the dump has, by name; what it has and is not seen is an error too: see `compared`.
class TapComparer : public Observer {
 public:
  TapComparer(const NamedTensors& expected, double limit) : expected_(expected), limit_(limit) {}
  bool Wants(int64_t, Site) const override { return true; }
  void Observe(int64_t block, Site site, const at::Tensor& value) override {
    const std::string name = site == Site::kFinalNorm || site == Site::kLogits
                                 ? std::string(SiteName(site))
                                 : fmt::format("block{}.{}", block, SiteName(site));
    const auto found = expected_.find(name);
    if (found == expected_.end()) return;
    // The dump of a headwise gate has no last dimension of size one.
    const at::Tensor ours = value.dim() == found->second.dim() + 1 ? value.squeeze(-1) : value;
    ASSERT_EQ(ours.sizes(), found->second.sizes()) << name;
    const double difference = LargestDifference(ours, found->second);
    EXPECT_LT(difference, limit_) << name;
    largest = std::max(largest, difference);
    ++compared;
  }
  size_t compared = 0;
  double largest = 0;

 private:
  const NamedTensors& expected_;
  double limit_;
};

}  // namespace espalier
