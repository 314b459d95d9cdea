#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "espalier/evaluate/results.h"
#include "support/support.h"

namespace espalier {
namespace {

Results Small() {
  return {"perplexity-wikitext-2",
          "perplexity",
          "pruned",
          {{"preset", "gptq-2048"}, {"window", "2048"}, {"corpus", "wikitext-2"}},
          {{"perplexity", 57.3, "", 65504, 56.1, 58.6, ""}, {"perplexity_ratio", 2.12, "", 65504, {}, {}, "dense"}}};
}

TEST(ResultsJson, ReadsBackWhatItWroteInTheSameOrder) {
  const Json json = ResultsToJson(Small());
  const Results read = ResultsFromJson(ParseJson(DumpJson(json), "r.json"), "r.json");
  EXPECT_EQ(read.id, "perplexity-wikitext-2");
  EXPECT_EQ(read.suite, "perplexity");
  EXPECT_EQ(read.model, "pruned");
  EXPECT_EQ(read.protocol, Small().protocol);
  ASSERT_EQ(read.metrics.size(), 2u);
  EXPECT_EQ(read.metrics[0].low, 56.1);
  EXPECT_EQ(read.metrics[0].high, 58.6);
  EXPECT_EQ(read.metrics[0].count, 65504);
  EXPECT_EQ(read.metrics[1].low, std::nullopt);
  EXPECT_EQ(read.metrics[1].of, "dense");
}

TEST(ResultsJson, KeepsGridsRowByRow) {
  Results results = Small();
  results.grids = {{"accuracy", "", "length", "depth (%)", {"512", "1024"}, {"0", "50", "100"}, {}, ""}};
  for (int row = 0; row < 2; ++row) {
    results.grids[0].values.emplace_back();
    for (int column = 0; column < 3; ++column)
      results.grids[0].values.back().push_back({0.25 * row + 0.125 * column, 4, 0.0, std::nullopt});
  }
  const Json json = ResultsToJson(results);
  const Results read = ResultsFromJson(ParseJson(DumpJson(json), "r.json"), "r.json");
  ASSERT_EQ(read.grids.size(), 1u);
  EXPECT_EQ(read.grids[0].columns, results.grids[0].columns);
  EXPECT_EQ(read.grids[0].values.at(1).at(2).value, 0.5);
  EXPECT_EQ(read.grids[0].values.at(1).at(2).low, 0.0);
  EXPECT_EQ(read.grids[0].values.at(1).at(2).high, std::nullopt);
  Json short_of_one = json;
  short_of_one["grids"][0]["values"].erase(5);
  EXPECT_EQ(MessageOf([&] { ResultsFromJson(short_of_one, "r.json"); }),
            "r.json: grids[0].values: 5 values, expected 2 rows times 3 columns");
}

TEST(ResultsJson, KeepsThatAFigureWasNotFinite) {
  Results broken = Small();
  broken.metrics[0].value = std::numeric_limits<double>::infinity();
  const Results read = ResultsFromJson(ParseJson(DumpJson(ResultsToJson(broken)), "r.json"), "r.json");
  EXPECT_TRUE(std::isnan(read.metrics[0].value));
}

TEST(ResultsJson, NamesFileAndKeyOfAMistake) {
  const auto with = [](const std::string& pointer, const Json& value) {
    Json json = ResultsToJson(Small());
    json[Json::json_pointer(pointer)] = value;
    return MessageOf([&] { ResultsFromJson(json, "r.json"); });
  };
  EXPECT_EQ(with("/protocol/window", 2048), "r.json: protocol.window: expected a text, found 2048");
  EXPECT_EQ(with("/metrics/1/count", -1), "r.json: metrics[1].count: expected a whole number of at least 0, found -1");
  EXPECT_EQ(with("/metrics/1/count", 18446744073709551615u),
            "r.json: metrics[1].count: expected a whole number of at least 0, found 18446744073709551615");
  EXPECT_EQ(with("/metrics/1/name", "perplexity"),
            "r.json: metrics[1].name: 'perplexity' is there twice; a metric's name is unique");
  EXPECT_EQ(with("/metrics/0/hight", 1),
            "r.json: metrics[0].hight: unknown key 'hight'. Nearest: high. Known: name, value, unit, count, low, high, "
            "of.");
}

TEST(Results, FindsAMetricByItsName) {
  const Results results = Small();
  ASSERT_NE(results.Find("perplexity_ratio"), nullptr);
  EXPECT_EQ(results.Find("perplexity_ratio")->value, 2.12);
  EXPECT_EQ(results.Find("accuracy"), nullptr);
}

}  // namespace
}  // namespace espalier
