// espalier analyze: spikes, sinks and super weights of any checkpoint.
#include "espalier/analyze/analyze.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "espalier/calibrate/windows.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

void PrintPhenomena(const Phenomena& phenomena) {
  std::string text =
      fmt::format("{} windows of {} tokens\n\n{:>5}  {:>12} {:>10} {:>9}  {:>8} {:>7}  {}\n", phenomena.sequences,
                  phenomena.sequence_length, "block", "max |h|", "median", "ratio", "F-Attn", "sinks", "largest at");
  for (size_t l = 0; l < phenomena.blocks.size(); ++l) {
    const BlockPhenomena& block = phenomena.blocks[l];
    const std::string peak = block.ffn.residual_top.empty()
                                 ? ""
                                 : fmt::format("channel {}, position {}", block.ffn.residual_top[0].channel,
                                               block.ffn.residual_top[0].position);
    text +=
        fmt::format("{:>5}  {:>12.1f} {:>10.3f} {:>9.0f}  {:>8.3f} {:>6.0f}%  {}\n", l, block.ffn.residual_max,
                    block.ffn.residual_median, block.ffn.Ratio(), block.first_token_mass, 100 * block.sink_share, peak);
  }
  text += fmt::format(
      "\nspike channels: {}\nstep-up blocks: {}   step-down blocks: {}\nsink rate (Sink_1 at epsilon {}, T {}): {:.1f} "
      "%   F-Attn: {:.3f}\n",
      fmt::join(phenomena.spike_channels, ", "), SublayersText(phenomena.step_up), SublayersText(phenomena.step_down),
      phenomena.sink_epsilon, phenomena.sink_length, 100 * phenomena.sink_rate, phenomena.first_token_mass);
  for (const SpikeNeuron& neuron : phenomena.neurons)
    text += fmt::format(
        "  neuron ({}, {}) {:<9} |input of w_down| {:>8.1f} at position {}, writes {:>9.1f} to channel {}\n",
        neuron.block, neuron.index, NeuronRoleName(neuron.role), neuron.activation, neuron.position,
        neuron.contribution, neuron.channel);
  for (const SuperWeight& weight : phenomena.super_weights)
    text += fmt::format("  super weight: block {}, w_down[{}, {}] = {:.3f}\n", weight.block, weight.row, weight.column,
                        weight.weight);
  std::fputs(text.c_str(), stdout);
}

int AnalyzeCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("data", po::value<std::string>()->default_value("eval/data/c4/c4-sample.jsonl"))(
      "tokens", po::value<int64_t>()->default_value(8192))("length", po::value<int64_t>()->default_value(512))(
      "json", po::value<std::string>()->default_value(""))("device", po::value<std::string>()->default_value("cpu"));
  const po::variables_map parsed = ParseArguments("analyze", flags, arguments);
  const std::vector<std::string> positional = Positional(parsed);
  if (positional.size() != 1) throw RecipeError("analyze: expected one model; see espalier analyze --help");
  const int64_t length = parsed["length"].as<int64_t>(), tokens = parsed["tokens"].as<int64_t>();
  if (length < 64 || tokens < length)
    throw RecipeError(
        fmt::format("analyze: {} tokens in windows of {}; expected at least one window of 64", tokens, length));
  const auto tokenizer = Tokenizer::Open(positional.front());
  const Model model =
      LoadModel(positional.front(), ParseDtype("float32"), ParseDevice(parsed["device"].as<std::string>()));
  const at::Tensor windows = PackWindows(*tokenizer, ReadCorpus({parsed["data"].as<std::string>(), 0, std::nullopt}),
                                         tokens / length, length, 0);
  const Phenomena phenomena =
      Analyze(model, windows, AnalyzeOptions(), std::filesystem::path(positional.front()).filename().string());
  if (const auto& json = parsed["json"].as<std::string>(); !json.empty()) WriteJson(json, PhenomenaToJson(phenomena));
  PrintPhenomena(phenomena);
  return kExitPass;
}

const bool kRegistered =
    RegisterCommand({"analyze",
                     "Show the spikes, sinks and super weights of any checkpoint",
                     "MODEL [--data TEXT] [--tokens N] [--length T] [--json FILE] [--device D]",
                     "example:\n  espalier analyze models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf --tokens 2048",
                     {"--data", "--tokens", "--length", "--json", "--device"},
                     AnalyzeCommand});

}  // namespace
}  // namespace espalier
