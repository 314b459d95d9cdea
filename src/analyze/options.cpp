#include "espalier/analyze/options.h"

namespace espalier {

std::vector<OptionSpec> AnalyzeOptionSpecs() {
  const AnalyzeOptions d;
  return {
      RealOption(
          "spike_ratio", d.spike_ratio,
          "A channel spikes above this many medians of |h| (arXiv 2402.17762 asks 1000: too many for small models)")
          .AtLeast(1),
      RealOption("spike_absolute", d.spike_absolute, "And above this |h| (arXiv 2402.17762 asks 100)").AtLeast(0),
      RealOption("step_share", d.step_share, "A sublayer steps when it writes at least this share of the spike")
          .Between(0, 1),
      RealOption("neuron_share", d.neuron_share, "A neuron is responsible for at least this share of the step")
          .Between(0, 1),
      RealOption("sink_epsilon", d.sink_epsilon,
                 "Mean attention on the first token that makes a sink (Gu et al., arXiv 2410.10781)")
          .Between(0, 1),
      IntOption("sink_length", d.sink_length, "Tokens over which the sink is judged (Gu et al.)").Between(2, 1 << 16),
      RealOption("no_op_ratio", d.no_op_ratio,
                 "A sink head is a no-op when its first value is below this share of the mean value (arXiv 2606.08105)")
          .AtLeast(0),
      RealOption("super_weight_limit", d.super_weight_limit,
                 "|input| and |output| of w_down above it make a super weight (arXiv 2411.07191)")
          .AtLeast(0),
      RealOption("outlier_ratio", d.outlier_ratio,
                 "A token is an outlier when its largest |input of w_down| is this many medians (arXiv 2410.05265)")
          .AtLeast(1),
      BoolOption("scan", d.scan, "Also look for amplifiers in the weights alone (arXiv 2603.05498, eq. 16-19)"),
      RealOption("scan_ratio", d.scan_ratio, "Amplifiers are listed from this multiple of their block's median norm on")
          .AtLeast(1),
      RealOption("scan_dominance", d.scan_dominance,
                 "And when one direction has at least this share of their quadratic form")
          .Between(0, 1)};
}

AnalyzeOptions AnalyzeOptionsFrom(const Options& options) {
  AnalyzeOptions chosen;
  chosen.spike_ratio = options.Real("spike_ratio");
  chosen.spike_absolute = options.Real("spike_absolute");
  chosen.step_share = options.Real("step_share");
  chosen.neuron_share = options.Real("neuron_share");
  chosen.sink_epsilon = options.Real("sink_epsilon");
  chosen.sink_length = options.Int("sink_length");
  chosen.no_op_ratio = options.Real("no_op_ratio");
  chosen.super_weight_limit = options.Real("super_weight_limit");
  chosen.outlier_ratio = options.Real("outlier_ratio");
  chosen.scan = options.Bool("scan");
  chosen.scan_ratio = options.Real("scan_ratio");
  chosen.scan_dominance = options.Real("scan_dominance");
  return chosen;
}

}  // namespace espalier
