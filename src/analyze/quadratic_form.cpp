#include "quadratic_form.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "espalier/model/forward.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kChunkBytes = int64_t{128} << 20;
constexpr int64_t kLanczosSteps = 48;  // the forms of interest have one dominant eigenvalue: a few would do

Tensor WeightOf(const Linear& linear) {
  const Tensor weight = linear.weight.to(at::kFloat);
  if (!linear.low_rank) return weight;
  const LowRank& added = *linear.low_rank;
  return weight + added.scale * added.b.to(at::kFloat).matmul(added.a.to(at::kFloat));
}

// S_k x without S_k.
Tensor ApplyForm(const QuadraticForms& forms, const Tensor& down, const Tensor& x) {
  const Tensor left = forms.gate.t().mv(down * forms.up.mv(x)), right = forms.up.t().mv(down * forms.gate.mv(x));
  return (left + right) * 0.5;
}

// Rows [from, from + n) of S_k.
Tensor FormRows(const QuadraticForms& forms, const Tensor& down, int64_t from, int64_t n) {
  const Tensor gate = forms.gate.narrow(1, from, n) * down.unsqueeze(1),
               up = forms.up.narrow(1, from, n) * down.unsqueeze(1);
  return (gate.t().matmul(forms.up) + up.t().matmul(forms.gate)) * 0.5;  // [n, C]
}

double SquaredNorm(const Tensor& values) {
  return values.to(at::kDouble).square().sum().item<double>();
}

// The pair of a symmetric matrix in float64; the vector in the basis of its rows.
std::pair<double, Tensor> Dominant(const Tensor& symmetric) {
  const auto [values, vectors] = at::linalg_eigh(symmetric);
  const int64_t largest = values.abs().argmax().item<int64_t>();
  return {values[largest].item<double>(), vectors.select(1, largest)};
}

}  // namespace

QuadraticForms FormsOf(const Model& model, int64_t l) {
  const Block& block = model.blocks[static_cast<size_t>(l)];
  QuadraticForms forms{WeightOf(block.ffn.w_gate), WeightOf(block.ffn.w_up), WeightOf(block.ffn.w_down)};
  if (block.ffn_norm.defined()) {
    const Tensor gain = NormGain(model.config, block.ffn_norm.to(at::kFloat));
    forms.gate = forms.gate * gain;
    forms.up = forms.up * gain;
  }
  if (block.ffn_post_norm.defined())
    forms.down = forms.down * NormGain(model.config, block.ffn_post_norm.to(at::kFloat)).unsqueeze(1);
  return forms;
}

int64_t FormChunk(const QuadraticForms& forms) {
  const int64_t row = std::max<int64_t>(1, forms.gate.size(0)) * 4;
  return std::max<int64_t>(1, kChunkBytes / row);
}

Tensor FormNorms(const QuadraticForms& forms, int64_t chunk) {
  const int64_t F = forms.gate.size(0);
  Tensor squares = at::zeros({forms.down.size(0)}, forms.down.options().dtype(at::kDouble));
  for (int64_t first = 0; first < F; first += chunk) {
    const int64_t n = std::min(chunk, F - first);
    Tensor m = forms.gate.narrow(0, first, n).matmul(forms.gate.t());  // [n, F]
    m.mul_(forms.up.narrow(0, first, n).matmul(forms.up.t()));
    const Tensor products = forms.down.matmul(m.t()).mul_(forms.down.narrow(1, first, n));  // [C, n]
    squares += products.sum(1, /*keepdim=*/false, at::kDouble);
  }
  return squares.clamp_min(0).sqrt();
}

DominantPair DominantByMatrix(const QuadraticForms& forms, int64_t channel) {
  const Tensor form = FormRows(forms, forms.down[channel], 0, forms.gate.size(1)).to(at::kDouble);
  const auto [value, vector] = Dominant((form + form.t()) * 0.5);  // rounding left it not quite symmetric
  return {value, std::sqrt(SquaredNorm(form)), vector.contiguous()};
}

DominantPair DominantByLanczos(const QuadraticForms& forms, int64_t channel, const Tensor& start) {
  const Tensor down = forms.down[channel];
  const int64_t C = forms.gate.size(1), steps = std::min(kLanczosSteps, C);
  std::vector<Tensor> basis = {start.to(at::kFloat) / start.to(at::kFloat).norm()}, images;
  for (int64_t step = 0; step < steps; ++step) {
    images.push_back(ApplyForm(forms, down, basis.back()));
    const Tensor q = at::stack(basis);  // [step + 1, C]
    Tensor next = images.back();
    for (int pass = 0; pass < 2; ++pass) next = next - q.t().mv(q.mv(next));
    const double length = next.norm().item<double>();
    if (length <= 1e-6 * images.back().norm().item<double>()) break;  // an invariant subspace
    if (step + 1 < steps) basis.push_back(next / length);
  }
  const Tensor q = at::stack(basis).to(at::kDouble), images_of = at::stack(images).to(at::kDouble);
  const Tensor small = q.matmul(images_of.t());
  const auto [value, vector] = Dominant((small + small.t()) * 0.5);
  double square = 0;
  constexpr int64_t kRows = 512;
  for (int64_t from = 0; from < C; from += kRows)
    square += SquaredNorm(FormRows(forms, down, from, std::min(kRows, C - from)));
  return {value, std::sqrt(square), q.t().mv(vector)};
}

}  // namespace espalier
