#include "../../src/heal/gradient_exchange.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/other_rank.h"
#include "support/support.h"

namespace espalier {
namespace {

using at::Tensor;

Trainable Parameter(const std::string& name, int64_t size) {
  return {name, at::full({size}, 2.f).requires_grad_(true)};
}

TEST(GradientExchange, SendsABucketAsSoonAsItsGradientsAreThereAndTheLastParametersFirst) {
  const Trainable a = Parameter("a", 3), b = Parameter("b", 2), c = Parameter("c", 4);
  OtherRank comm;
  GradientExchange exchange(comm, {a, b, c}, /*bucket=*/4);  // c alone; b and a
  Tensor inner = a.parameter.sum() * b.parameter.sum();
  size_t sent = 0;  // when the pass comes to a and b
  inner.register_hook([&](const Tensor& gradient) {
    sent = comm.sizes.size();
    return gradient;
  });
  exchange.Begin();
  (inner * c.parameter.sum()).backward();
  EXPECT_EQ(sent, 1U);
  EXPECT_EQ(comm.sizes, (std::vector<int64_t>{4, 5}));
  exchange.Finish();
  EXPECT_EQ(comm.sizes.size(), 2U);
  // d/da = sum(b) sum(c) = 4 * 8, twice: this rank's and the other's.
  EXPECT_TRUE(at::equal(a.parameter.grad(), at::full({3}, 64.f)));
  EXPECT_TRUE(at::equal(b.parameter.grad(), at::full({2}, 96.f)));
  EXPECT_TRUE(at::equal(c.parameter.grad(), at::full({4}, 48.f)));
}

TEST(GradientExchange, AddsUpOnlyOnceWhatSeveralPassesHaveGathered) {
  const Trainable a = Parameter("a", 3);
  OtherRank comm;
  GradientExchange exchange(comm, {a}, 1);
  a.parameter.sum().backward();
  EXPECT_TRUE(comm.sizes.empty());
  exchange.Begin();
  a.parameter.sum().backward();
  exchange.Finish();
  EXPECT_EQ(comm.sizes.size(), 1U);
  EXPECT_TRUE(at::equal(a.parameter.grad(), at::full({3}, 4.f)));
}

TEST(GradientExchange, SendsAgainWhatThePassComesToTwice) {
  const Trainable a = Parameter("a", 3);
  OtherRank comm;
  GradientExchange exchange(comm, {a}, 1);
  exchange.Begin();
  a.parameter.sum().backward();
  a.parameter.sum().backward();
  exchange.Finish();
  EXPECT_EQ(comm.sizes.size(), 2U);
  EXPECT_TRUE(at::equal(a.parameter.grad(), at::full({3}, 4.f)));
}

TEST(GradientExchange, LeavesParametersWithoutGradientsWithoutThem) {
  const Trainable a = Parameter("a", 3), unused = Parameter("unused", 2);
  OtherRank comm;
  GradientExchange exchange(comm, {a, unused});
  exchange.Begin();
  a.parameter.sum().backward();
  exchange.Finish();
  EXPECT_TRUE(at::equal(a.parameter.grad(), at::full({3}, 2.f)));
  EXPECT_FALSE(unused.parameter.grad().defined());
}

}  // namespace
}  // namespace espalier
