#include "espalier/io/tensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/hostile.h"

namespace espalier {
namespace {

TEST(SaveTensors, RoundTripsEveryDtypeShapeAndStride) {
  const TempFolder folder;
  NamedTensors tensors;
  for (const at::ScalarType type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf,
                                    at::kBFloat16, at::kFloat, at::kDouble})
    tensors[c10::toString(type)] = at::arange(6).remainder(2).reshape({2, 3}).to(type);
  tensors["transposed"] = at::arange(6, at::kFloat).reshape({2, 3}).t();
  tensors["slice"] = at::arange(24, at::kInt).reshape({4, 6}).slice(1, 1, 6, 2);
  tensors["expanded"] = at::ones({1, 3}).expand({4, 3});
  tensors["scalar"] = at::scalar_tensor(2.5);
  tensors["empty"] = at::zeros({0, 7}, at::kHalf);
  tensors["gradient"] = at::ones({2}).requires_grad_();
  SaveTensors(folder / "x.safetensors", tensors, {{"step", "7"}});
  EXPECT_EQ(SafetensorsFile(folder / "x.safetensors").metadata().at("step"), "7");
  const NamedTensors loaded = LoadTensors(folder / "x.safetensors");
  ASSERT_EQ(loaded.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(loaded.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(loaded.at(name), tensor.detach())) << name;
  }
}

TEST(SaveTensors, RefusesWhatTheFormatCannotHold) {
  const TempFolder folder;
  const auto save = [&](const at::Tensor& tensor) {
    return MessageOf([&] { SaveTensors(folder / "x", {{"a", tensor}}); });
  };
  EXPECT_EQ(save({}), "tensor 'a' is undefined and cannot be stored");
  const std::string expected =
      ", expected a dense tensor of bool, uint8, int8 to int64, half, bfloat16, float or double";
  EXPECT_EQ(save(at::ones({2}, at::kComplexFloat)), "tensor 'a' is Strided ComplexFloat" + expected);
  EXPECT_EQ(save(at::eye(2).to_sparse()), "tensor 'a' is Sparse Float" + expected);
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

TEST(LoadTensors, RefusesABooleanThatIsNeitherZeroNorOne) {
  const TempFolder folder;
  const std::string header = R"({"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})";
  WriteFile(folder / "x", hostile::Safetensors(header, std::string_view("\0\1\2", 3)));
  // The third byte of the data, which begins after 8 bytes and the header of 55.
  ASSERT_EQ(header.size(), 55U);
  EXPECT_EQ(MessageOf([&] { LoadTensors(folder / "x"); }),
            (folder / "x").string() + ": byte 65: tensor 'a' of BOOL holds 2, expected 0 or 1");
}

}  // namespace
}  // namespace espalier
