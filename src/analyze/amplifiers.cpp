#include "espalier/analyze/amplifiers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/log.h"
#include "quadratic_form.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kExplicit = 1024;  // up to this width S_k is formed: its eigenvalues take a second of two cores

// The neuron whose rank-one term of U_k is largest, and its share of the terms' squares.
void FindNeuron(const QuadraticForms& forms, Amplifier& amplifier) {
  const Tensor terms = forms.down[amplifier.channel].to(at::kDouble).square() *
                       forms.gate.to(at::kDouble).square().sum(1) * forms.up.to(at::kDouble).square().sum(1);  // [F]
  amplifier.neuron = terms.argmax().item<int64_t>();
  const double sum = terms.sum().item<double>();
  amplifier.neuron_share = sum > 0 ? terms[amplifier.neuron].item<double>() / sum : 0;
}

// s* of a single neuron lies between its two rows, on the side where both agree.
Tensor NeuronDirection(const QuadraticForms& forms, int64_t neuron) {
  const Tensor gate = forms.gate[neuron] / forms.gate[neuron].norm(), up = forms.up[neuron] / forms.up[neuron].norm();
  return gate.dot(up).item<double>() >= 0 ? gate + up : gate - up;
}

// Fills the eigenvalue and its share; s*, [C] float64.
Tensor FindDirection(const QuadraticForms& forms, Amplifier& amplifier) {
  const DominantPair pair = forms.gate.size(1) <= kExplicit
                                ? DominantByMatrix(forms, amplifier.channel)
                                : DominantByLanczos(forms, amplifier.channel, NeuronDirection(forms, amplifier.neuron));
  amplifier.eigenvalue = pair.value;
  amplifier.dominance = pair.norm > 0 ? pair.value * pair.value / (pair.norm * pair.norm) : 0;
  return pair.vector;
}

// Fills what the norms do not tell and keeps those that amplify one direction.
std::vector<Amplifier> Describe(const QuadraticForms& forms, std::vector<Amplifier> channels, double least_dominance) {
  std::vector<Amplifier> kept;
  Tensor strongest;
  for (Amplifier& amplifier : channels) {
    FindNeuron(forms, amplifier);
    const Tensor direction = FindDirection(forms, amplifier);
    if (amplifier.dominance < least_dominance) continue;
    if (!strongest.defined()) strongest = direction;
    amplifier.cosine = std::abs(strongest.dot(direction).item<double>());
    kept.push_back(amplifier);
  }
  return kept;
}

// |U_k|_F of every block, [C] float64 on the CPU; undefined where there is no FFN.
std::vector<Tensor> MeasureNorms(const Model& model) {
  std::vector<Tensor> norms;
  Progress progress("scan weights", model.config.L());
  for (int64_t l = 0; l < model.config.L(); ++l) {
    norms.emplace_back();
    if (model.blocks[static_cast<size_t>(l)].ffn.w_gate.defined()) {  // others are no quadratic forms
      const QuadraticForms forms = FormsOf(model, l);
      norms.back() = FormNorms(forms, FormChunk(forms)).cpu();
    }
    progress.Step(1, fmt::format("block {}", l));
  }
  return norms;
}

// The outliers of one block, strongest first.
std::vector<Amplifier> ListChannels(int64_t block, const Tensor& norms, const AnalyzeOptions& options) {
  const double median = norms.median().item<double>();
  const auto [largest, channels] = norms.topk(std::min(options.scan_channels, norms.size(0)));
  std::vector<Amplifier> listed;
  for (int64_t i = 0; i < largest.size(0) && median > 0; ++i) {
    Amplifier amplifier;
    amplifier.block = block;
    amplifier.channel = channels[i].item<int64_t>();
    amplifier.norm = largest[i].item<double>();
    amplifier.ratio = amplifier.norm / median;
    if (amplifier.ratio >= options.scan_ratio) listed.push_back(amplifier);
  }
  return listed;
}

}  // namespace

AmplifierScan FindAmplifiers(const Model& model, const AnalyzeOptions& options) {
  const at::NoGradGuard no_grad;
  AmplifierScan scan;
  scan.ratio_limit = options.scan_ratio;
  const std::vector<Tensor> norms = MeasureNorms(model);
  for (size_t l = 0; l < norms.size(); ++l) {
    const bool measured = norms[l].defined();
    scan.block_norm.push_back(measured ? norms[l].max().item<double>() : 0);
    if (!measured) continue;
    const auto block = static_cast<int64_t>(l);
    std::vector<Amplifier> listed = ListChannels(block, norms[l], options);
    if (listed.empty()) continue;
    listed = Describe(FormsOf(model, block), std::move(listed), options.scan_dominance);
    scan.amplifiers.insert(scan.amplifiers.end(), listed.begin(), listed.end());
  }
  std::stable_sort(scan.amplifiers.begin(), scan.amplifiers.end(),
                   [](const Amplifier& a, const Amplifier& b) { return a.ratio > b.ratio; });
  return scan;
}

void CompareWithCensus(const Phenomena& phenomena, AmplifierScan& scan) {
  const auto lists = [&](auto same) {
    return std::any_of(scan.amplifiers.begin(), scan.amplifiers.end(), same) ? 1 : 0;
  };
  scan.census_neurons = scan.neurons_found = scan.census_writes = scan.writes_found = 0;
  for (const SpikeNeuron& neuron : phenomena.neurons) {
    ++scan.census_neurons;
    scan.neurons_found +=
        lists([&](const Amplifier& a) { return a.block == neuron.block && a.neuron == neuron.index; });
  }
  const auto has = [](const auto& list, const auto& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  for (size_t l = 0; l < phenomena.blocks.size(); ++l) {
    const Sublayer ffn{static_cast<int64_t>(l), false};
    if (!has(phenomena.step_up, ffn) && !has(phenomena.step_down, ffn)) continue;
    const Census& census = phenomena.blocks[l].ffn;
    for (const Peak& peak : census.output_top) {
      if (std::abs(peak.value) <= phenomena.spike_ratio * census.residual_median ||
          !has(phenomena.spike_channels, peak.channel))
        continue;
      ++scan.census_writes;
      scan.writes_found += lists([&](const Amplifier& a) { return a.block == ffn.block && a.channel == peak.channel; });
    }
  }
}

}  // namespace espalier
