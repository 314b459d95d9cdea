#pragma once
// Is HEAD at most so much worse than BASE? Paired on the same tokens, with three answers: pass, fail, or not enough
// evidence and how much more would decide. A test of non-inferiority: a difference that is not significant is no proof
// that there is none.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/evaluate/comparison.h"
#include "espalier/evaluate/evaluation.h"

namespace espalier {

// The results that both have, in the base's order. RecipeError when there is none, when both are the same file, or when
// two results of one id are of different protocols, texts or tokenizers: such figures say nothing about each other.
PairedComparison CompareEvaluations(const Evaluation& base, const Evaluation& head, const CompareOptions& options = {});

// What the protocol of `results` says of `key`; empty: nothing.
std::string_view ProtocolEntry(const Results& results, std::string_view key);
// The protocol entries of two results that differ and must not: "window 2048 and 512". Empty: comparable.
std::vector<std::string> ProtocolDifferences(const Results& base, const Results& head);

}  // namespace espalier
