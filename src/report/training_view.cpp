#include "training_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "espalier/core/log.h"
#include "espalier/report/format.h"

namespace espalier {
namespace {

struct Figure {
  const char* head;
  double (*of)(const TrainingRun&);
  std::string (*text)(double);
};

std::string Loss(double loss) {
  return std::isfinite(loss) ? fmt::format("{:.3f}", loss) : FormatFigure(loss);
}
std::string Percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.1f}", 100 * share) : FormatFigure(share);
}

const Figure kFigures[] = {
    {"loss", [](const TrainingRun& run) { return run.loss; }, Loss},
    {"PPL", [](const TrainingRun& run) { return std::exp(run.loss); }, FormatFigure},
    {"sink %", [](const TrainingRun& run) { return run.sink_rate; }, Percent},
    {"F-Attn %", [](const TrainingRun& run) { return run.first_token_mass; }, Percent},
    {"spike", [](const TrainingRun& run) { return run.spike; }, FormatFigure},
    {"spike/median", [](const TrainingRun& run) { return run.spike_ratio; }, FormatFigure},
    {"M-Act", [](const TrainingRun& run) { return run.massive_mean; }, FormatFigure},
    {"gate", [](const TrainingRun& run) { return run.gate; }, Loss},
};
// Those that are compared: perplexity orders as the loss does, and a gate is not there to be lower.
constexpr size_t kCompared[] = {0, 2, 3, 4, 5, 6};

bool IsProbe(const TrainingReport& report) {
  return report.learning_rates.size() > 1;
}

// Without a probe a variant may have a learning rate of its own.
const TrainingCell* Find(const TrainingReport& report, const std::string& variant, int64_t seed, double rate) {
  for (const TrainingCell& cell : report.cells)
    if (cell.variant == variant && cell.seed == seed && (!IsProbe(report) || cell.learning_rate == rate)) return &cell;
  return nullptr;
}

std::vector<double> Values(const TrainingReport& report, const std::string& variant, double rate,
                           const Figure& figure) {
  std::vector<double> values;
  for (const int64_t seed : report.seeds)
    if (const TrainingCell* cell = Find(report, variant, seed, rate); cell != nullptr && cell->run)
      if (const double value = figure.of(*cell->run); std::isfinite(value)) values.push_back(value);
  return values;
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

std::string WithRange(const std::vector<double>& values, std::string (*text)(double)) {
  if (values.empty()) return "-";
  const auto [low, high] = std::ranges::minmax(values);
  return values.size() == 1 ? text(low) : fmt::format("{} ({} to {})", text(Mean(values)), text(low), text(high));
}

std::string RowName(const TrainingReport& report, const std::string& variant, double rate) {
  return IsProbe(report) ? fmt::format("{}, rate {:g}", variant, rate) : variant;
}

std::string Difference(const std::vector<double>& differences, std::string (*text)(double)) {
  if (differences.empty()) return "-";
  const auto lower = std::ranges::count_if(differences, [](double d) { return d < 0; }),
             higher = std::ranges::count_if(differences, [](double d) { return d > 0; });
  const auto all = std::ssize(differences);
  const char* order = lower == all ? "lower" : higher == all ? "higher" : "not decided";
  if (all < 2) order = "one seed";
  return fmt::format("{}, {}", WithRange(differences, text), order);
}

// Of one seed, up to the first rate at which it diverged.
std::optional<double> LargestStable(const TrainingReport& report, const std::string& variant) {
  std::vector<double> rates = report.learning_rates;
  std::ranges::sort(rates);
  std::optional<double> stable;
  for (const double rate : rates) {
    for (const int64_t seed : report.seeds) {
      const TrainingCell* cell = Find(report, variant, seed, rate);
      if (cell == nullptr || cell->state != TrainingState::kFinished) return stable;
    }
    stable = rate;
  }
  return stable;
}

}  // namespace

TrainingTable TrainingFigures(const TrainingReport& report) {
  TrainingTable table{{"variant", "parameters"}, {}};
  for (const Figure& figure : kFigures) table.head.emplace_back(figure.head);
  for (const TrainingVariant& variant : report.variants)
    for (const double rate : report.learning_rates) {
      std::vector<std::string> row = {RowName(report, variant.name, rate), FormatCount(variant.parameters)};
      for (const Figure& figure : kFigures)
        row.push_back(WithRange(Values(report, variant.name, rate, figure), figure.text));
      table.rows.push_back(std::move(row));
    }
  return table;
}

TrainingTable TrainingOrderings(const TrainingReport& report) {
  TrainingTable table{{"against " + (report.variants.empty() ? "" : report.variants.front().name)}, {}};
  for (const size_t i : kCompared) table.head.emplace_back(kFigures[i].head);
  for (size_t v = 1; v < report.variants.size(); ++v)
    for (const double rate : report.learning_rates) {
      std::vector<std::string> row = {RowName(report, report.variants[v].name, rate)};
      for (const size_t i : kCompared) {
        std::vector<double> differences;
        for (const int64_t seed : report.seeds) {
          const TrainingCell *base = Find(report, report.variants[0].name, seed, rate),
                             *other = Find(report, report.variants[v].name, seed, rate);
          if (base != nullptr && other != nullptr && base->run && other->run)
            if (const double d = kFigures[i].of(*other->run) - kFigures[i].of(*base->run); std::isfinite(d))
              differences.push_back(d);
        }
        row.push_back(Difference(differences, kFigures[i].text));
      }
      table.rows.push_back(std::move(row));
    }
  return table;
}

TrainingTable TrainingStability(const TrainingReport& report) {
  TrainingTable table{{"loss at rate"}, {}};
  if (!IsProbe(report)) return table;
  for (const double rate : report.learning_rates) table.head.push_back(fmt::format("{:g}", rate));
  table.head.emplace_back("largest stable rate");
  for (const TrainingVariant& variant : report.variants) {
    std::vector<std::string> row = {variant.name};
    for (const double rate : report.learning_rates) {
      std::vector<std::string> seeds;
      for (const int64_t seed : report.seeds) {
        const TrainingCell* cell = Find(report, variant.name, seed, rate);
        const bool finished = cell != nullptr && cell->state == TrainingState::kFinished && cell->run;
        seeds.push_back(finished                                                     ? Loss(cell->run->loss)
                        : cell != nullptr && cell->state == TrainingState::kDiverged ? "diverged"
                                                                                     : "-");
      }
      std::string text;
      for (const std::string& seed : seeds) text += (text.empty() ? "" : ", ") + seed;
      row.push_back(text);
    }
    const std::optional<double> stable = LargestStable(report, variant.name);
    row.push_back(stable ? fmt::format("{:g}", *stable) : "none");
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string TrainingSummary(const TrainingReport& report) {
  std::string text = fmt::format(
      "{}: {} tokens in windows of {}; {} seed{}. All figures are of the same held-out windows; with several seeds "
      "mean "
      "(lowest to highest). sink: share of sequences and heads whose mean attention to the first token over {} tokens "
      "exceeds {:g}; F-Attn: mean attention to the first token; spike: largest |h| of the residual stream, and over "
      "its "
      "median; M-Act: mean over blocks of the largest |h|; gate: mean score.",
      report.data, FormatCount(report.tokens), report.length, report.seeds.size(), report.seeds.size() == 1 ? "" : "s",
      report.sink_length, report.sink_epsilon);
  if (std::isfinite(report.optimal_loss))
    text += fmt::format(" No model can have a lower loss than {}.", Loss(report.optimal_loss));
  return text;
}

std::vector<std::string> TrainingFailures(const TrainingReport& report) {
  std::vector<std::string> failures;
  for (const TrainingCell& cell : report.cells)
    if (cell.state == TrainingState::kDiverged || cell.state == TrainingState::kFailed)
      failures.push_back(fmt::format("{}, seed {}, rate {:g} {}: {}", cell.variant, cell.seed, cell.learning_rate,
                                     cell.state == TrainingState::kDiverged ? "diverged" : "failed", cell.error));
  return failures;
}

}  // namespace espalier
