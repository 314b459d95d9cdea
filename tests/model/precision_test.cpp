#include "espalier/model/precision.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "espalier/calibrate/calibrate.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// Thirds: not one of them is a bfloat16 number.
Tensor Thirds(int64_t rows, int64_t columns) {
  return (at::arange(rows * columns, at::kFloat).view({rows, columns}) % 7 + 1) / 3;
}

TEST(UseFasterFloat32Products, KeepsTheRoundingOfFloat32InEveryShape) {
  UseFasterFloat32Products();
  for (const int64_t n : {1, 3, 64, 300}) {
    const Tensor a = Thirds(n, 200), b = Thirds(n + 1, 200);
    const Tensor exact = a.to(at::kDouble).matmul(b.to(at::kDouble).t());
    EXPECT_LT(RelativeDifference(at::linear(a, b).to(at::kDouble), exact), 1e-6) << n;
    EXPECT_LT(RelativeDifference(a.matmul(b.t()).to(at::kDouble), exact), 1e-6) << n;
  }
}

TEST(ParseMatmul, TakesBfloatSixteenByItselfOnlyWhereTheDeviceHasIt) {
  EXPECT_EQ(ParseMatmul("float32", at::kCUDA), at::kFloat);
  EXPECT_EQ(ParseMatmul("bfloat16", at::kCPU), at::kBFloat16);
  EXPECT_EQ(ParseMatmul("auto", at::kCUDA), at::kBFloat16);
  std::ifstream file("/proc/cpuinfo");
  const std::string cpu{std::istreambuf_iterator<char>(file), {}};
  if (cpu.empty()) GTEST_SKIP() << "the kernel does not say what the CPU has";
  const bool has = cpu.find("avx512_bf16") != std::string::npos || cpu.find("amx_bf16") != std::string::npos;
  EXPECT_EQ(ParseMatmul("auto", at::kCPU), has ? at::kBFloat16 : at::kFloat);
  EXPECT_NE(MessageOf([] { ParseMatmul("float16", at::kCPU); }).find("float16"), std::string::npos);
}

TEST(ProductsIn, RoundsFactorsWhileItLivesAndNotAfterwardsOrInsideAnExactOne) {
  const Tensor a = Thirds(4, 8), b = Thirds(5, 8);
  {
    const ProductsIn rounded(at::kCPU, at::kBFloat16);
    EXPECT_EQ(at::linear(a, b).scalar_type(), at::kBFloat16);
    {
      const ProductsIn exact(at::kCPU, at::kFloat);
      EXPECT_EQ(at::linear(a, b).scalar_type(), at::kFloat);
    }
    EXPECT_EQ(at::linear(a, b).scalar_type(), at::kBFloat16);
  }
  EXPECT_EQ(at::linear(a, b).scalar_type(), at::kFloat);
}

TEST(ProductsIn, BfloatSixteenChangesStatisticsByItsRoundingAndNothingElse) {
  const Model model = TinyModel(7);
  const Tensor windows = RandomIds(7, 6, 32, model.config.V);
  CalibrateOptions options{.products = true, .gradients = true, .gradient_products = true, .gradient_tokens = 192};
  const Statistics exact = Calibrate(model, windows, options);
  options.matmul = at::kBFloat16;
  const Statistics rounded = Calibrate(model, windows, options);
  for (size_t l = 0; l < exact.blocks.size(); ++l) {
    const BlockStatistics &a = exact.blocks[l], &b = rounded.blocks[l];
    for (const Role consumer : {Role::kO, Role::kDown}) {
      const Tensor &one = a.At(consumer).counted.products, &other = b.At(consumer).counted.products;
      ASSERT_EQ(other.scalar_type(), at::kFloat);
      const double change = RelativeDifference(other, one);
      EXPECT_GT(change, 0) << "block " << l;  // the option did something
      EXPECT_LT(change, 0.02) << "block " << l;
      EXPECT_LT(RelativeDifference(b.gradient_products.at(std::string(RoleName(consumer))),
                                   a.gradient_products.at(std::string(RoleName(consumer)))),
                0.05);
    }
    EXPECT_LT(RelativeDifference(b.loss_mass.at("ffn_channel"), a.loss_mass.at("ffn_channel")), 0.05);
  }
}

}  // namespace
}  // namespace espalier
