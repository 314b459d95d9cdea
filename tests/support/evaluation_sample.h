#pragma once
// Evaluations made up of given losses, as files too.
#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "espalier/evaluate/evaluation.h"
#include "espalier/evaluate/losses.h"

namespace espalier {

inline Results LossResults(const std::string& id, const at::Tensor& nll) {
  Results results;
  results.id = id;
  results.suite = "perplexity";
  results.model = "sample";
  results.protocol = {{"preset", "gptq-2048"},
                      {"corpus_sha256", std::string(64, 'a')},
                      {"tokenizer_sha256", std::string(64, 'b')},
                      {"dtype", "float32"}};
  results.metrics.push_back(
      {"perplexity", std::exp(nll.mean(at::kDouble).item<double>()), "", nll.numel(), std::nullopt, std::nullopt, ""});
  return results;
}

inline Evaluation SampleEvaluation(const std::string& name, const std::map<std::string, at::Tensor>& losses) {
  Evaluation evaluation;
  evaluation.name = name;
  for (const auto& [id, nll] : losses) {
    evaluation.results.push_back(LossResults(id, nll));
    evaluation.losses[id] = {nll, {}};
  }
  return evaluation;
}

// As a folder of results, like evaluate/dense of a run.
inline void WriteEvaluation(const Evaluation& evaluation, const std::filesystem::path& folder) {
  for (const Results& results : evaluation.results) {
    WriteJson(folder / (results.id + ".json"), ResultsToJson(results));
    SaveLosses(folder, results.id, evaluation.losses.at(results.id));
  }
}

}  // namespace espalier
