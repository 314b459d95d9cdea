#include "espalier/evaluate/ablation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>

#include "espalier/core/log.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

constexpr size_t kStrongNeurons = 4;  // tried one by one

// Nats of every token but the first of each window, in text order: [N * (T - 1)] float32.
at::Tensor Score(const Model& model, const AblationText& text, const std::string& title) {
  const at::NoGradGuard no_grad;
  Progress progress(title, text.windows.size(0));
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < text.windows.size(0); ++i) {
    const at::Tensor ids = text.windows[i].to(model.device());
    const at::Tensor hidden = HiddenStates(model, ids.unsqueeze(0)).squeeze(0);  // [T, C]
    parts.push_back(TokenNll(model, hidden.slice(0, 0, -1), ids.slice(0, 1)).cpu());
    progress.Step();
  }
  return at::cat(parts).contiguous();
}

std::span<const float> Values(const at::Tensor& nll) {
  return {nll.data_ptr<float>(), static_cast<size_t>(nll.numel())};
}

double PerplexityOf(const at::Tensor& nll) {
  const double mean = nll.mean(at::kDouble).item<double>();
  return std::isfinite(mean) ? std::exp(mean) : std::numeric_limits<double>::infinity();
}

Interval RatioOf(const at::Tensor& nll, const at::Tensor& before) {
  const at::Tensor difference = (nll - before).contiguous();
  if (difference.isfinite().all().item<bool>()) return BootstrapExpMean(Values(difference));
  const double infinity = std::numeric_limits<double>::infinity();
  return {infinity, infinity, infinity};
}

std::string NeuronText(const std::vector<SpikeNeuron>& neurons) {
  std::string text;
  for (const SpikeNeuron& neuron : neurons)
    text += fmt::format("{}{}.{}", text.empty() ? "neuron:" : "+", neuron.block, neuron.index);
  return text;
}

}  // namespace

Ablation RunAblation(const Model& model, const std::vector<Intervention>& interventions,
                     const std::vector<AblationText>& texts, const at::Tensor& analyzed, const AnalyzeOptions& options,
                     const std::string& name) {
  Ablation ablation;
  ablation.model = name;
  for (const AblationText& text : texts) ablation.texts.push_back(text.name);
  ablation.windows = texts.front().windows.size(0);
  ablation.window = texts.front().windows.size(1);
  std::vector<at::Tensor> before;
  const auto measure = [&](const Model& changed, const std::string& what) {
    AblationRow row;
    row.intervention = what;
    row.phenomena = Analyze(changed, analyzed, options, what);
    for (size_t i = 0; i < texts.size(); ++i) {
      const at::Tensor nll = Score(changed, texts[i], fmt::format("{}: {}", what, texts[i].name));
      row.perplexity.push_back(PerplexityOf(nll));
      if (ablation.rows.empty())
        before.push_back(nll);
      else
        row.ratio.push_back(RatioOf(nll, before[i]));
    }
    if (!ablation.rows.empty()) row.flags = ComparePhenomena(ablation.rows.front().phenomena, row.phenomena);
    ablation.rows.push_back(std::move(row));
  };
  measure(model, "none");
  for (const Intervention& intervention : interventions)
    measure(Intervene(model, intervention, ablation.rows.front().phenomena, analyzed), intervention.text);
  return ablation;
}

std::vector<Intervention> DefaultInterventions(const Phenomena& phenomena) {
  std::vector<SpikeNeuron> ups, downs;
  for (const SpikeNeuron& neuron : phenomena.neurons)
    (neuron.role == NeuronRole::kStepUp ? ups : downs).push_back(neuron);
  std::stable_sort(ups.begin(), ups.end(), [](const SpikeNeuron& a, const SpikeNeuron& b) {
    return std::abs(a.contribution) > std::abs(b.contribution);
  });
  std::vector<std::string> texts;
  for (size_t i = 0; i < std::min(ups.size(), kStrongNeurons); ++i) texts.push_back(NeuronText({ups[i]}));
  std::map<int64_t, std::vector<SpikeNeuron>> by_block;
  for (const SpikeNeuron& neuron : ups) by_block[neuron.block].push_back(neuron);
  for (const auto& [block, neurons] : by_block)
    if (neurons.size() > 1) texts.push_back(NeuronText(neurons));
  if (by_block.size() > 1) texts.push_back(NeuronText(ups));
  if (!downs.empty()) texts.push_back(NeuronText(downs));
  if (!ups.empty()) texts.push_back(fmt::format("control:{}x10", ups.front().block));
  if (!phenomena.spike_channels.empty() && !phenomena.step_up.empty())
    for (const char* text : {"spike:zero", "spike:mean", "median:zero"}) texts.emplace_back(text);
  if (!phenomena.super_weights.empty()) texts.emplace_back("super_weight:remove");
  std::vector<Intervention> interventions;
  for (const std::string& text : texts) interventions.push_back(ParseIntervention(text));
  return interventions;
}

}  // namespace espalier
