#pragma once
// Questions put to a model: what it generates, and how likely it holds the right answer.
#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "espalier/evaluate/evaluator.h"
#include "espalier/model/kv_cache.h"
#include "haystack.h"

namespace espalier {

struct Answer {
  std::string text;  // generated greedily
  double nll = 0;    // mean over the tokens of the right answer, given before it, nats; 0 without one
};

// In the order of the questions; prompts of equal length run together. `count`: tokens to generate.
std::vector<Answer> AnswerQuestions(const Model& model, const Tokenizer& tokenizer, const CachePolicy& policy,
                                    std::span<const Question> questions, int64_t count, const std::string& title);

// The share of `expected` that stand in `text`, whatever their case: RULER's string match (Hsieh et al. 2024, arXiv
// 2404.06654).
double ShareFound(const std::vector<std::string>& expected, std::string_view text);

// The metrics that AddAccuracy adds, and `more`.
std::vector<std::string> AccuracyFigures(bool compared, std::vector<std::string> more);
// The mean of `scores` [items] float32 in [0, 1] as the metric "accuracy", with an interval (Wilson's where every score
// is 0 or 1, else over items), beside the dense model's as "accuracy_change"; keeps 1 - scores as losses.
void AddAccuracy(const EvaluationInput& input, const at::Tensor& scores, Results& results);

// A cell of a grid: the mean over a part of `values`, a share (Wilson) or any mean.
Grid::Value MeanValue(std::span<const float> values, bool share);

}  // namespace espalier
