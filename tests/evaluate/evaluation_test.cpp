#include "espalier/evaluate/evaluation.h"

#include <gtest/gtest.h>

#include <fstream>

#include "espalier/core/files.h"
#include "support/evaluation_sample.h"
#include "support/json_schema.h"
#include "support/support.h"

namespace espalier {
namespace {

class StoredEvaluation : public testing::Test {
 protected:
  StoredEvaluation() {
    sample_ = SampleEvaluation("sample", {{"a", at::arange(20, at::kFloat)}, {"b", at::ones({30})}});
    sample_.losses["b"].documents = at::tensor({0, 10}, at::kLong);
  }

  static void ExpectSame(const Evaluation& found, const Evaluation& expected) {
    ASSERT_EQ(found.results.size(), expected.results.size());
    for (const auto& [id, losses] : expected.losses) {
      EXPECT_TRUE(at::equal(found.losses.at(id).each, losses.each)) << id;
      ASSERT_EQ(found.losses.at(id).documents.defined(), losses.documents.defined()) << id;
      if (losses.documents.defined()) {
        EXPECT_TRUE(at::equal(found.losses.at(id).documents, losses.documents)) << id;
      }
    }
  }

  TempFolder folder_;
  Evaluation sample_;
};

TEST_F(StoredEvaluation, IsReadFromAFolderOfResults) {
  WriteEvaluation(sample_, folder_ / "x");
  ExpectSame(ReadEvaluation(folder_ / "x"), sample_);
}

TEST_F(StoredEvaluation, OfARunIsThatOfItsLastModel) {
  WriteEvaluation(SampleEvaluation("dense", {{"a", at::ones({5})}}), folder_ / "run/evaluate/dense");
  WriteEvaluation(sample_, folder_ / "run/evaluate/pruned");
  const Evaluation found = ReadEvaluation(folder_ / "run");
  ExpectSame(found, sample_);
  EXPECT_TRUE(found.name.starts_with("pruned of ")) << found.name;
}

TEST_F(StoredEvaluation, AsABaselineReadsBackAndConformsToItsSchema) {
  SaveEvaluation(sample_, folder_ / "base.json");
  const Evaluation found = ReadEvaluation(folder_ / "base.json");
  ExpectSame(found, sample_);
  EXPECT_EQ(found.name, "sample");
  EXPECT_EQ(SchemaCheck::Problems(ReadJson(folder_ / "base.json"), "evaluation-1"), std::vector<std::string>{});
}

TEST_F(StoredEvaluation, IsRefusedWhenItsLossesAreOfAnotherWriting) {
  SaveEvaluation(sample_, folder_ / "base.json");
  SaveEvaluation(SampleEvaluation("other", {{"a", at::zeros({20})}}), folder_ / "other.json");
  std::filesystem::copy_file(folder_ / "other.safetensors", folder_ / "base.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_NE(MessageOf([&] { ReadEvaluation(folder_ / "base.json"); }).find("was written with another"),
            std::string::npos);
}

TEST_F(StoredEvaluation, NeverReadsLossesFromAnotherFolder) {
  SaveEvaluation(sample_, folder_ / "base.json");
  Json json = ReadJson(folder_ / "base.json");
  for (const char* name : {"../base.safetensors", "/etc/hostname", "", ".."}) {
    json["losses"] = name;
    WriteJson(folder_ / "base.json", json);
    EXPECT_THROW(ReadEvaluation(folder_ / "base.json"), IoError) << name;
  }
}

TEST_F(StoredEvaluation, IsRefusedWhenLossesAreFewerThanTheResultSays) {
  WriteEvaluation(sample_, folder_ / "x");
  SaveLosses(folder_ / "x", "a", {at::ones({19}), {}});
  EXPECT_NE(MessageOf([&] { ReadEvaluation(folder_ / "x"); }).find("19 losses of a, its result says 20"),
            std::string::npos);
}

TEST_F(StoredEvaluation, IsRefusedWhereThereIsNone) {
  std::filesystem::create_directory(folder_ / "empty");
  EXPECT_NE(MessageOf([&] { ReadEvaluation(folder_ / "empty"); }).find("no evaluation in it"), std::string::npos);
  EXPECT_NE(MessageOf([&] { ReadEvaluation(folder_ / "nothing"); }).find("no such file or folder"), std::string::npos);
  WriteFile(folder_ / "plan.json", "{\"schema\": \"espalier.plan/1\"}\n");
  EXPECT_NE(MessageOf([&] { ReadEvaluation(folder_ / "plan.json"); }).find("schema 'espalier.plan/1'; expected a"),
            std::string::npos);
  WriteFile(folder_ / "broken.json", "{\"schema\": ");
  EXPECT_THROW(ReadEvaluation(folder_ / "broken.json"), IoError);
}

}  // namespace
}  // namespace espalier
