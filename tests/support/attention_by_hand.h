#pragma once
// One head whose attention weights follow from arithmetic.
#include <ATen/core/Tensor.h>

#include <initializer_list>

#include "espalier/model/model.h"

namespace espalier {

// One block of one head without FFN, C = 16, D = 4, V = 4. Token 0 has a key that every query meets with the logit
// log(weight), the others have 0: among the keys that a query sees, token 0 weighs `weight` and the others 1. Tokens
// are one-hot, so RMSNorm makes each 4 in its own channel: its value is 4 times its column of w_v.
Model AttentionByHand(double weight);
// The columns of w_v (tokens 0 to 3 in order), such that the tokens' values are these, each of four numbers.
void SetValues(Model& model, std::initializer_list<at::Tensor> values);
at::Tensor Text(std::initializer_list<int64_t> ids);  // [1, n]

}  // namespace espalier
