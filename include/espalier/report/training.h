#pragma once
// The result of `espalier train`: variants of a small model, each trained from scratch with every seed on the same
// data, measured alike. JSON first (schema espalier.training/1, docs/schemas); Markdown, HTML and the terminal's table
// are rendered from it alone.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/report/sweep.h"

namespace espalier {

struct TrainingVariant {
  std::string name;
  std::vector<std::string> set;  // overrides laid over the recipe
  int64_t parameters = 0;
};

struct TrainingCurve {
  std::vector<int64_t> tokens;  // seen before each step
  std::vector<double> loss;     // of the step's batch
  std::vector<int64_t> held_out_tokens;
  std::vector<double> held_out_loss;
};

// What a finished cell found on the held-out windows. Phenomena as in analyze/phenomena.h; NaN: there is none.
struct TrainingRun {
  double loss = 0;              // nats a token
  double initial_loss = 0;      // of the untrained model
  double sink_rate = 0;         // Sink_1^epsilon, share of (sequence, block, head)
  double first_token_mass = 0;  // F-Attn
  double spike = 0;             // largest |h| of the residual stream
  double spike_ratio = 0;       // largest max |h| over median |h| of a sublayer
  double massive_mean = 0;      // M-Act
  double gate = 0;              // mean score of the gates, of sink logits the effective gate
  double seconds = 0;           // of training
  TrainingCurve curve;
};

// Diverged: the loss was not finite, exploded, or ended above that of the untrained model.
enum class TrainingState { kOpen, kFinished, kDiverged, kFailed };

struct TrainingCell {
  std::string variant;
  int64_t seed = 0;
  double learning_rate = 0;
  std::string folder;
  TrainingState state = TrainingState::kOpen;
  std::string error;               // of a cell that diverged or failed, one line
  std::optional<TrainingRun> run;  // of a finished cell
};

struct TrainingReport {
  std::string name, question, data;
  int64_t tokens = 0, length = 0;
  double optimal_loss = 0;  // that no model can beat; NaN: not known
  double sink_epsilon = 0;
  int64_t sink_length = 0;
  std::vector<int64_t> seeds;
  std::vector<double> learning_rates;  // more than one: a probe of stability
  std::vector<TrainingVariant> variants;
  std::vector<TrainingCell> cells;
  std::vector<NameValue> provenance;
};

Json TrainingToJson(const TrainingReport& report);
TrainingReport TrainingFromJson(const Json& json, const std::string& where);  // IoError naming `where` and the key
Json TrainingCellToJson(const TrainingCell& cell);
TrainingCell TrainingCellFromJson(const Json& json, const std::string& where);

std::string RenderTrainingMarkdown(const TrainingReport& report);
std::string RenderTrainingHtml(const TrainingReport& report);   // one self-contained page with the loss curves
std::string RenderTrainingTable(const TrainingReport& report);  // at most 100 columns, for the terminal

// Held-out loss over tokens, a line a cell; empty without a finished cell.
std::string TrainingChart(const TrainingReport& report, double width);

}  // namespace espalier
