#include <gtest/gtest.h>

#include "espalier/evaluate/evaluator.h"
#include "support/letter_tokenizer.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

TEST(Speed, ReportsTheMedianBetweenItsQuartiles) {
  const Model model = TinyModel(1);
  const auto evaluator = Registry<Evaluator>::Create(
      "speed", Options(Registry<Evaluator>::Find("speed").info.options,
                       {{"length", int64_t{64}}, {"decode", int64_t{3}}, {"repeats", int64_t{7}}}, "test"));
  const Results results = evaluator->Run({model, LetterTokenizer(32), "dense", {}, {}});
  EXPECT_EQ(results.id, "speed");
  EXPECT_EQ(results.suite, "speed");
  const Metric* rate = results.Find("prefill_tokens_per_second");
  ASSERT_NE(rate, nullptr);
  EXPECT_EQ(rate->count, 7);
  EXPECT_EQ(rate->unit, "tokens/s");
  EXPECT_GT(*rate->low, 0);
  EXPECT_LE(*rate->low, rate->value);
  EXPECT_LE(rate->value, *rate->high);
  EXPECT_GT(results.Find("decode_tokens_per_second")->value, 0);
  EXPECT_EQ(results.Find("parameters")->value, static_cast<double>(CountParameters(model)));
  // Keys and values of 2, 3 and 1 groups of 4 dimensions, float32.
  EXPECT_EQ(results.Find("kv_bytes_per_token")->value, 2 * (2 + 3 + 1) * 4 * 4);
  EXPECT_GT(results.Find("peak_memory")->value, 0);
  EXPECT_FALSE(evaluator->Text());  // reads no text that could leak
}

}  // namespace
}  // namespace espalier
