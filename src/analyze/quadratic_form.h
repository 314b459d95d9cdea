#pragma once
// Every output channel of a gated FFN as a quadratic form of its input, where the activation is near the identity (SiLU
// and GeLU of large pre-activations): y_k = x^T U_k x with U_k = sum_i w_down[k, i] w_gate[i] w_up[i]^T and symmetric
// part S_k. arXiv 2603.05498, eq. 15-19.
#include <ATen/core/Tensor.h>

#include "espalier/model/model.h"

namespace espalier {

// The gain of the norm before the FFN is folded into gate and up, that of the norm behind it into the rows of down; so
// x is what RMSNorm gives before its gain, |x| = sqrt(C). Biases play no part. float32.
struct QuadraticForms {
  at::Tensor gate, up;  // [F, C]
  at::Tensor down;      // [C, F]
};
QuadraticForms FormsOf(const Model& model, int64_t block);

// |U_k|_F of every channel, [C] float64, by |U_k|_F^2 = w_k^T M w_k with M = (gate gate^T) o (up up^T) and w_k row k of
// down. M [F, F] exists for at most `chunk` of its rows at a time.
at::Tensor FormNorms(const QuadraticForms& forms, int64_t chunk);
// As many rows as make 128 MB of M; its two factors are alive together.
int64_t FormChunk(const QuadraticForms& forms);

// The eigenvalue of S_k that is largest in magnitude, its unit eigenvector [C], and |S_k|_F.
struct DominantPair {
  double value = 0, norm = 0;
  at::Tensor vector;
};
DominantPair DominantByMatrix(const QuadraticForms& forms, int64_t channel);  // forms S_k [C, C]
// Lanczos with full reorthogonalisation, which never forms S_k; `start` [C] as near to the eigenvector as is known.
DominantPair DominantByLanczos(const QuadraticForms& forms, int64_t channel, const at::Tensor& start);

}  // namespace espalier
